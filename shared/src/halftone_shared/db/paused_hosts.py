"""Queries on hosts that an operator has paused: no worker fetches images from them.

A product that meets a paused host waits for PAUSED_SECONDS, which is long: a million such products
must not be handed out over and over. Resuming the host makes them due at once.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, delete, select, text
from sqlalchemy.dialects.postgresql import insert

from halftone_shared.db.requests import WORK_CHANNEL
from halftone_shared.db.tables import FINAL, paused_hosts
from halftone_shared.model.states import WaitReason

# A product that waits for a paused host looks again after this time.
PAUSED_SECONDS = 3600.0
# Products made due in one transaction, so that transactions stay short.
RESUME_STEP_PRODUCTS = 5000


@dataclass(frozen=True)
class PausedHost:
    """A host as in URLs; without a port, all its ports are paused."""

    host: str
    paused_at: datetime


def list_paused_hosts(connection: Connection) -> list[PausedHost]:
    """The paused hosts, by name."""
    rows = connection.execute(select(paused_hosts).order_by(paused_hosts.c.host)).mappings()
    return [PausedHost(**row) for row in rows]


def pause_host(connection: Connection, host: str) -> PausedHost:
    """Pause a host. Pausing it again changes nothing."""
    connection.execute(insert(paused_hosts).values(host=host).on_conflict_do_nothing())
    row = connection.execute(select(paused_hosts).where(paused_hosts.c.host == host)).mappings()
    return PausedHost(**row.one())


_MAKE_DUE = text(
    f"""
    UPDATE products SET next_attempt_at = now() FROM (
        SELECT p.request_id, p.seq FROM requests AS r JOIN products AS p ON p.request_id = r.id
        WHERE r.status NOT IN {FINAL} AND p.waiting_host = :host AND p.waiting_reason = :reason
          AND p.status = 'PENDING' AND p.next_attempt_at > now()
        ORDER BY p.request_id, p.seq LIMIT :limit FOR NO KEY UPDATE OF p
    ) AS waiting
    WHERE products.request_id = waiting.request_id AND products.seq = waiting.seq
    """  # noqa: S608 - a constant
)


def resume_host(engine: Engine, host: str) -> bool:
    """Resume a host and make its products due now; False if it was not paused.

    A product that a worker puts off at this moment is not missed: postpone_product() locks the
    paused host's row, so it either commits before the row is deleted here, or does not find it.
    """
    with engine.connect() as connection:
        found = connection.execute(delete(paused_hosts).where(paused_hosts.c.host == host))
    if found.rowcount == 0:
        return False
    parameters = {"host": host, "reason": WaitReason.PAUSED, "limit": RESUME_STEP_PRODUCTS}
    changed = RESUME_STEP_PRODUCTS
    while changed == RESUME_STEP_PRODUCTS:
        with engine.connect() as connection:
            changed = connection.execute(_MAKE_DUE, parameters).rowcount
    with engine.connect() as connection:
        connection.execute(text(f"NOTIFY {WORK_CHANNEL}"))
    return True


def paused_name(paused: Collection[str], host_and_port: str) -> str | None:
    """The entry in `paused` that covers a host, which is written with its port unless that is the
    scheme's default; None if none does.
    """
    if host_and_port in paused:
        return host_and_port
    host, colon, port = host_and_port.rpartition(":")
    return host if colon and port.isdigit() and host in paused else None
