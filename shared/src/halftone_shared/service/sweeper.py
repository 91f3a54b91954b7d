"""Deleting requests that ended HALFTONE_RETENTION_DAYS ago, with their images.

In three steps, each of which can be repeated. A request is marked (`expired_at`): from then on it
is there for nobody, and can neither be retried nor read. Then its files are deleted, all of its
folder, so that those of cancelled products go with it, which no row names. Then its rows. Whatever
dies between two steps, the mark says that there is still something to do; were the rows to go
first, nothing would know of the files any more. A worker that still writes for a request when its
days are over would leave a file behind; it has at least one whole day for that.
"""

from collections.abc import Collection, Sequence
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine, delete, exists, select, text

from halftone_shared.db.engine import make_engine
from halftone_shared.db.tables import products, requests
from halftone_shared.errors import StorageUnavailable
from halftone_shared.model.image_names import storage_folder
from halftone_shared.runtime.settings import CommonSettings
from halftone_shared.service.periodic import PeriodicThread
from halftone_shared.storage import ImageStore

log = structlog.get_logger(__name__)

SWEEP_EVERY_SECONDS = 600.0
# As many requests are marked at once, and as many products deleted in one statement.
EXPIRED_AT_ONCE = 100
PRODUCTS_A_STEP = 5000
# "halftsw" in ASCII: one sweeper is enough, however many dispatchers there are.
_SWEEP_LOCK = 0x68616C66747377


# An event that is still to be delivered keeps its request: the receiver may want to read it.
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
    total = connection.execute(
        select(requests.c.total_products).where(requests.c.id == request_id)
    ).scalar_one()
    marked = exists().where(requests.c.id == request_id, requests.c.expired_at.isnot(None))
    # By ranges, not by a join with what a LIMIT found: PostgreSQL knows nothing yet of a request
    # that came since its last ANALYZE, takes it for a row or two, and may then read all of it for
    # each of the 5,000.
    for first in range(1, total + 1, PRODUCTS_A_STEP):
        step = products.c.seq.between(first, first + PRODUCTS_A_STEP - 1)
        connection.execute(
            delete(products).where(products.c.request_id == request_id, step, marked)
        )
    # Its shards, events and attempts go with it.
    connection.execute(
        delete(requests).where(requests.c.id == request_id, requests.c.expired_at.isnot(None))
    )


class Sweeper:
    """Deletes what has expired, at its start and every SWEEP_EVERY_SECONDS, in a thread of its own.

    With 0 days nothing expires, but what is marked already is deleted.
    """

    def __init__(self, engine: Engine, store: ImageStore, *, retention_days: int) -> None:
        self._engine = engine
        self._store = store
        self._days = retention_days
        self._thread = PeriodicThread("sweeper", self._run, every_seconds=SWEEP_EVERY_SECONDS)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop after the request that is being deleted; the next sweeper deletes the rest."""
        self._thread.stop()
        self._engine.dispose()

    def sweep(self) -> int:
        """Delete all that has expired; how many requests. Nothing while another sweeper is at it.

        What the store does not delete stays marked, and costs the others nothing; where that is
        much, the store is away, and the rest waits for the next time. Raises SQLAlchemyError.
        """
        deleted, kept = 0, set[UUID]()
        with self._engine.connect() as connection:
            if not connection.execute(
                text("SELECT pg_try_advisory_lock(:key)"), {"key": _SWEEP_LOCK}
            ).scalar():
                return 0
            try:
                while len(kept) < EXPIRED_AT_ONCE and (
                    found := self._next_expired(connection, kept)
                ):
                    for request_id in found:
                        if self._thread.stopping.is_set():
                            return deleted
                        if self._delete(connection, request_id):
                            deleted += 1
                        else:
                            kept.add(request_id)
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _SWEEP_LOCK})
        return deleted

    def _next_expired(self, connection: Connection, kept: Collection[UUID]) -> Sequence[UUID]:
        if self._days:
            expire_requests(connection, self._days)
        return expired_requests(connection, kept)

    def _delete(self, connection: Connection, request_id: UUID) -> bool:
        token = connection.execute(
            select(requests.c.image_token).where(requests.c.id == request_id)
        ).scalar_one()
        try:
            self._store.delete_folder(storage_folder(token))
        except StorageUnavailable as error:
            log.warning("expired request kept", request_id=str(request_id), reason=str(error))
            return False
        delete_rows(connection, request_id)
        return True

    def _run(self) -> None:
        if deleted := self.sweep():
            log.info("expired requests deleted", count=deleted, retention_days=self._days)


def make_sweeper(settings: CommonSettings) -> Sweeper:
    """A sweeper with a connection and a way to the store of its own."""
    engine = make_engine(settings.database_url, pool_size=1)
    return Sweeper(engine, ImageStore(settings.storage_url), retention_days=settings.retention_days)
