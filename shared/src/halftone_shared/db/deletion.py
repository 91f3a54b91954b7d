"""Queries that delete requests, in three steps. Each step can be repeated.

First the request is marked (`expired_at`): from then on nobody can read or retry it. Then its whole
folder is deleted, since no row names the files of cancelled products. Its rows go last: while they
exist, the mark lets any later sweep finish the deletion after a crash. Without them, nothing would
refer to the files.
"""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import Connection, delete, exists, select, text

from halftone_shared.db.known_images import forget_images_of
from halftone_shared.db.tables import products, requests
from halftone_shared.errors import NotEnded

# Requests marked by one statement, and products deleted by one statement.
EXPIRED_AT_ONCE = 100
PRODUCTS_A_STEP = 5000

_MARK_DELETED = text(
    """
    UPDATE requests SET expired_at = coalesce(expired_at, now())
    WHERE id = :request_id AND completed_at IS NOT NULL
    """
)


def mark_deleted(connection: Connection, request_id: UUID) -> None:
    """Hide an ended request; the sweeper deletes its files and rows. Raises NotEnded for a request
    that is running or does not exist.
    """
    if connection.execute(_MARK_DELETED, {"request_id": request_id}).rowcount == 0:
        raise NotEnded(f"The request {request_id} still runs.")


# Requests with an undelivered event are kept: the receiver may want to read them.
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
    """Mark up to EXPIRED_AT_ONCE requests that ended more than `days` ago, the oldest first, and
    return their number.
    """
    return connection.execute(_EXPIRE, {"days": days, "limit": EXPIRED_AT_ONCE}).rowcount


def expired_requests(connection: Connection, kept: Collection[UUID] = ()) -> Sequence[UUID]:
    """Up to EXPIRED_AT_ONCE requests that are marked but not yet deleted, except `kept`."""
    marked = select(requests.c.id).where(
        requests.c.expired_at.isnot(None), requests.c.id.not_in(kept)
    )
    return (
        connection.execute(marked.order_by(requests.c.expired_at).limit(EXPIRED_AT_ONCE))
        .scalars()
        .all()
    )


def delete_rows(connection: Connection, request_id: UUID) -> None:
    """Delete the rows of an expired request. Products go in steps, so that transactions stay
    short.
    """
    total = (
        connection.execute(
            select(requests.c.total_products).where(requests.c.id == request_id)
        ).scalar()
        or 0
    )
    marked = exists().where(requests.c.id == request_id, requests.c.expired_at.isnot(None))
    # Deletes by ranges of seq, not by a join with a LIMIT query. For a request newer than the last
    # ANALYZE, PostgreSQL expects a row or two, and a join may read the whole request for each of
    # the 5,000 products.
    for first in range(1, total + 1, PRODUCTS_A_STEP):
        step = products.c.seq.between(first, first + PRODUCTS_A_STEP - 1)
        connection.execute(
            delete(products).where(products.c.request_id == request_id, step, marked)
        )
    forget_images_of(connection, request_id)
    # Foreign keys delete its shards, events and attempts.
    connection.execute(
        delete(requests).where(requests.c.id == request_id, requests.c.expired_at.isnot(None))
    )


def image_token(connection: Connection, request_id: UUID) -> str | None:
    """The prefix of a request's image names and of its folder; None if the request is gone."""
    token = select(requests.c.image_token).where(requests.c.id == request_id)
    return connection.execute(token).scalar()
