"""Queries on origins: owners' settings for the hosts that their images come from.

Credentials are sealed (model/secret_box.py). Limits on rate and connections apply to all workers
together. The rate uses a timestamp in a row (GCRA, like the upload limit). Each open connection has
a row that expires if its worker dies.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from halftone_shared.db.tables import origins
from halftone_shared.model.origins import OriginSettings
from halftone_shared.model.secret_box import SecretBox

# Requests are sent 10 % further apart than the rate requires: network delays can bring them closer
# together at the host.
SPACING = 1.1


@dataclass(frozen=True)
class OriginRow:
    """The settings of a host. The credentials are `sealed`; only `header_names` and `has_password`
    are shown.
    """

    host: str
    sealed: str
    header_names: list[str]
    has_password: bool
    requests_per_second: float | None
    connections: int | None
    updated_at: datetime


def set_origin(
    connection: Connection,
    owner_id: UUID | None,
    host: str,
    settings: OriginSettings,
    box: SecretBox,
) -> None:
    """Set an owner's settings for a host, replacing earlier ones."""
    values = {
        "sealed": box.seal(settings.credentials.to_json()),
        "header_names": list(settings.credentials.headers),
        "has_password": settings.credentials.username is not None,
        "requests_per_second": settings.requests_per_second,
        "connections": settings.connections,
        "updated_at": func.now(),
    }
    statement = insert(origins).values(owner_id=owner_id, host=host, **values)
    connection.execute(
        statement.on_conflict_do_update(constraint="uq_origins_owner_id_host", set_=values)
    )


def list_origins(connection: Connection, owner_id: UUID | None) -> list[OriginRow]:
    """An owner's origins, by host."""
    columns = [origins.c[name] for name in OriginRow.__dataclass_fields__]
    query = select(*columns).where(origins.c.owner_id.is_not_distinct_from(owner_id))
    rows = connection.execute(query.order_by(origins.c.host)).mappings()
    return [OriginRow(**row) for row in rows]


def get_origin(connection: Connection, owner_id: UUID | None, host: str) -> OriginRow | None:
    found = [row for row in list_origins(connection, owner_id) if row.host == host]
    return found[0] if found else None


def remove_origin(connection: Connection, owner_id: UUID | None, host: str) -> bool:
    """Delete the settings of a host; False if there were none."""
    removed = connection.execute(
        delete(origins).where(
            origins.c.owner_id.is_not_distinct_from(owner_id), origins.c.host == host
        )
    )
    return removed.rowcount == 1


# clock_timestamp(), not now(): a call that waited for a row lock needs the time after the wait.
_TAKE_TURN = text(
    """
    INSERT INTO rate_limits AS known (caller, free_at)
    VALUES (:name, clock_timestamp() + make_interval(secs => :interval))
    ON CONFLICT (caller) DO UPDATE
    SET free_at = greatest(known.free_at, clock_timestamp()) + make_interval(secs => :interval)
    WHERE known.free_at <= clock_timestamp() + make_interval(secs => :patience)
    RETURNING extract(epoch FROM free_at - clock_timestamp())::float - :interval
    """
)


def take_turn(
    connection: Connection, name: str, requests_per_second: float, *, patience_seconds: float
) -> float | None:
    """Reserve the next turn and return the seconds until it. Returns None and reserves nothing if
    that is longer than the caller's patience. Turns are evenly spaced.
    """
    wait = connection.execute(
        _TAKE_TURN,
        {
            "name": name,
            "interval": SPACING / requests_per_second,
            "patience": patience_seconds,
        },
    ).scalar()
    return None if wait is None else max(float(wait), 0.0)


_TAKE_SLOT = text(
    """
    INSERT INTO origin_connections AS known (name, slot, holder, until)
    SELECT :name, slot, :holder, clock_timestamp() + make_interval(secs => :seconds)
    FROM generate_series(1, :connections) AS slot
    WHERE NOT EXISTS (
        SELECT FROM origin_connections AS taken
        WHERE taken.name = :name AND taken.slot = slot.slot AND taken.until > clock_timestamp())
    LIMIT 1
    ON CONFLICT (name, slot) DO UPDATE SET holder = excluded.holder, until = excluded.until
    WHERE known.until <= clock_timestamp()
    RETURNING slot
    """
)


def take_connection(
    connection: Connection, name: str, holder: UUID, connections: int, *, seconds: float
) -> bool:
    """Take one of the host's connections for a limited time; False if all are in use."""
    taken = connection.execute(
        _TAKE_SLOT,
        {"name": name, "holder": holder, "connections": connections, "seconds": seconds},
    )
    return taken.scalar() is not None


def leave_connection(connection: Connection, name: str, holder: UUID) -> None:
    """Release a connection."""
    connection.execute(
        text("DELETE FROM origin_connections WHERE name = :name AND holder = :holder"),
        {"name": name, "holder": holder},
    )
