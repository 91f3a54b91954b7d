"""Queries on pauses that hosts asked for (Retry-After), so that they hold in all workers.

A pause applies to one payer: the owner whose fetch was answered, or the request if the service
knows no owners. A host that answers one client's fetches with Retry-After delays no other client.
"""

from uuid import UUID

from sqlalchemy import Connection, text

# Workers read at most this many pauses, the longest first.
MAX_PAUSES = 10_000

_RECORD = text(
    """
    INSERT INTO asked_pauses AS known (payer, host, until)
    VALUES (:payer, :host, clock_timestamp() + make_interval(secs => :seconds))
    ON CONFLICT (payer, host) DO UPDATE SET until = greatest(known.until, excluded.until)
    """
)
_LIST = text(
    """
    SELECT payer, host, extract(epoch FROM until - clock_timestamp())::float AS seconds
    FROM asked_pauses WHERE until > clock_timestamp()
    ORDER BY until DESC LIMIT :limit
    """
)


def record_pause(connection: Connection, payer: UUID, host: str, seconds: float) -> None:
    """Record that a host asked a payer's fetches to pause. A pause that ends later is kept."""
    connection.execute(_RECORD, {"payer": payer, "host": host, "seconds": seconds})


def list_asked_pauses(connection: Connection) -> dict[tuple[UUID, str], float]:
    """The seconds until each pause ends, by payer and host."""
    rows = connection.execute(_LIST, {"limit": MAX_PAUSES})
    return {(row.payer, row.host): row.seconds for row in rows}


def forget_ended_pauses(connection: Connection) -> None:
    connection.execute(text("DELETE FROM asked_pauses WHERE until < now()"))
