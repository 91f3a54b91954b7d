"""Cancelling a request, and retrying what failed in it."""

import time
from collections.abc import Sequence
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine, func, select, text, update

from halftone_shared.db.barrier import cancel_products, reopen_request
from halftone_shared.db.engine import transaction
from halftone_shared.db.requests import WORK_CHANNEL
from halftone_shared.db.tables import FINAL, requests, webhook_events
from halftone_shared.db.webhook_events import freeze_event
from halftone_shared.errors import AlreadyEnded, NotEnded, NothingToRetry

log = structlog.get_logger(__name__)

# Products cancelled in one transaction, so that transactions stay short for requests of any size.
CANCEL_STEP_PRODUCTS = 5000


def cancel_request(engine: Engine, request_id: UUID, *, patience_seconds: float) -> None:
    """Mark a running request as cancelled, then cancel its products for up to `patience_seconds`.

    A dispatcher cancels the rest. Once the mark is committed, no more products of the request are
    handed out. Raises AlreadyEnded. Cancelling a cancelled request again has no effect.
    """
    with engine.connect() as connection:
        # Waits for a dispatcher that has locked the row, so that none leases products of this
        # request afterwards.
        marked = connection.execute(
            update(requests)
            .where(requests.c.id == request_id, requests.c.completed_at.is_(None))
            .values(
                cancel_requested_at=func.coalesce(requests.c.cancel_requested_at, func.now()),
                updated_at=func.now(),
            )
        )
        if marked.rowcount == 0:
            status = connection.execute(
                select(requests.c.status).where(requests.c.id == request_id)
            ).scalar()
            if status == "CANCELLED":
                return
            raise AlreadyEnded
    carry_out_cancel(engine, request_id, patience_seconds=patience_seconds)


# The condition on status matches the index of running requests; ended requests are many.
_CANCELS_UNDER_WAY = text(
    f"""
    SELECT id FROM requests WHERE status NOT IN {FINAL} AND cancel_requested_at IS NOT NULL
    """  # noqa: S608 - a constant
)


def cancels_under_way(connection: Connection) -> Sequence[UUID]:
    """Running requests that are being cancelled."""
    return connection.execute(_CANCELS_UNDER_WAY).scalars().all()


def carry_out_cancel(engine: Engine, request_id: UUID, *, patience_seconds: float) -> None:
    """Cancel the unfinished products, in steps, until none is left or `patience_seconds` have
    passed.
    """
    deadline = time.monotonic() + patience_seconds
    after_seq: int | None = 0
    while after_seq is not None and time.monotonic() < deadline:
        with engine.connect() as connection:
            cancelled = cancel_products(
                connection, request_id, after_seq=after_seq, limit=CANCEL_STEP_PRODUCTS
            )
        if cancelled.ended:
            log.info(
                "request ended",
                request_id=str(request_id),
                x_request_id=cancelled.trace_id,
                cancelled=True,
            )
        after_seq = cancelled.last_seq


def retry_request(
    engine: Engine,
    request_id: UUID,
    public_url: str,
    retention_days: int = 0,
    *,
    code: str | None = None,
) -> None:
    """Start an ended request again with its failed and cancelled products, under the same ID.

    With `code`, only products with an image that failed with this error code. The webhook event of
    the previous run keeps its body. Raises NotEnded or NothingToRetry.
    """
    with transaction(engine) as connection:
        unexpired = (requests.c.id == request_id, requests.c.expired_at.is_(None))
        ended = select(requests.c.completed_at).where(*unexpired).with_for_update()
        if connection.execute(ended).scalar() is None:
            raise NotEnded
        events = select(webhook_events.c.id).where(webhook_events.c.request_id == request_id)
        for event_id in connection.execute(events).scalars().all():
            freeze_event(connection, event_id, public_url, retention_days)
        if not reopen_request(connection, request_id, code):
            raise NothingToRetry
        connection.execute(text(f"NOTIFY {WORK_CHANNEL}"))


_FAILED_WITH = text(
    """
    SELECT id FROM requests
    WHERE completed_at > now() - make_interval(secs => :since_seconds) AND expired_at IS NULL
      AND failed_images > 0 AND (CAST(:code AS text) IS NULL OR jsonb_exists(errors, :code))
    ORDER BY completed_at
    """
)


def ended_with_failures(
    connection: Connection, *, code: str | None, since_seconds: float
) -> Sequence[UUID]:
    """Requests that ended in the last `since_seconds` with a failed image, in the order in which
    they ended.

    With `code`, only requests with an image that failed with this error code.
    """
    parameters = {"code": code, "since_seconds": since_seconds}
    return connection.execute(_FAILED_WITH, parameters).scalars().all()
