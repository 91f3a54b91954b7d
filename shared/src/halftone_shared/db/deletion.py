"""Queries that delete requests, in three steps that can each be repeated.

A request is marked (`expired_at`): from then on nobody can read or retry it. Then its files are
deleted: the whole folder, since no row names the files of cancelled products. Then its rows. The
mark says that there is something left to do, whatever dies in between; if the rows went first,
nothing would know of the files.
"""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import Connection, delete, exists, select, text

from halftone_shared.db.known_images import forget_images_of
from halftone_shared.db.tables import products, requests
from halftone_shared.errors import NotEnded

# As many requests are marked at once, and as many products deleted in one statement.
EXPIRED_AT_ONCE = 100
PRODUCTS_A_STEP = 5000

_MARK_DELETED = text(
    """
    UPDATE requests SET expired_at = coalesce(expired_at, now())
    WHERE id = :request_id AND completed_at IS NOT NULL
    """
)


def mark_deleted(connection: Connection, request_id: UUID) -> None:
    """Hide an ended request from now on; the sweeper deletes what is left of it. Raises NotEnded
    for a request that runs or does not exist.
    """
    if connection.execute(_MARK_DELETED, {"request_id": request_id}).rowcount == 0:
        raise NotEnded(f"The request {request_id} still runs.")


# A request whose event is still to be delivered is kept: the receiver may want to read it.
_EXPIRE = text(
    """
    UPDATE requests SET expired_at = now()
    WHERE id IN (
        SELECT id FROM requests AS r
        WHERE r.completed_at < now() - make_interval(days => :days) AND r.expired_at IS NULL
          AND NOT EXISTS (SELECT FROM webhook_events WHERE request_id = r.id AND status = 'pending')
        ORDER BY r.completed_at LIMIT :limit FOR UPDATE SKIP LOCKED)
    """
)


def expire_requests(connection: Connection, days: int) -> int:
    """Mark up to EXPIRED_AT_ONCE requests that ended more than `days` ago, the oldest first; how
    many.
    """
    return connection.execute(_EXPIRE, {"days": days, "limit": EXPIRED_AT_ONCE}).rowcount


def expired_requests(connection: Connection, kept: Collection[UUID] = ()) -> Sequence[UUID]:
    """Up to EXPIRED_AT_ONCE requests that are marked and not deleted yet, without those that are
    `kept`.
    """
    marked = select(requests.c.id).where(
        requests.c.expired_at.isnot(None), requests.c.id.not_in(kept)
    )
    return (
        connection.execute(marked.order_by(requests.c.expired_at).limit(EXPIRED_AT_ONCE))
        .scalars()
        .all()
    )


def delete_rows(connection: Connection, request_id: UUID) -> None:
    """Delete an expired request, its products step by step, so that no transaction gets long."""
    total = (
        connection.execute(
            select(requests.c.total_products).where(requests.c.id == request_id)
        ).scalar()
        or 0
    )
    marked = exists().where(requests.c.id == request_id, requests.c.expired_at.isnot(None))
    # By ranges, not by a join with what a LIMIT found: PostgreSQL knows nothing yet of a request
    # that came since its last ANALYZE, takes it for a row or two, and may then read all of it for
    # each of the 5,000.
    for first in range(1, total + 1, PRODUCTS_A_STEP):
        step = products.c.seq.between(first, first + PRODUCTS_A_STEP - 1)
        connection.execute(
            delete(products).where(products.c.request_id == request_id, step, marked)
        )
    forget_images_of(connection, request_id)
    # Its shards, events and attempts go with it.
    connection.execute(
        delete(requests).where(requests.c.id == request_id, requests.c.expired_at.isnot(None))
    )


def image_token(connection: Connection, request_id: UUID) -> str | None:
    """What the names and the folder of a request's images begin with; None where it is gone."""
    token = select(requests.c.image_token).where(requests.c.id == request_id)
    return connection.execute(token).scalar()
