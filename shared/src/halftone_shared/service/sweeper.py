"""Deletes requests and their images: requests that ended HALFTONE_RETENTION_DAYS ago, and requests
that their owner deleted (see halftone_shared.db.deletion for the steps).

A worker that still writes for a request while it is deleted leaves a file behind. Retention avoids
this by deleting days after the end; an owner can delete only ended requests.
"""

import time
from collections.abc import Collection, Sequence
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine, text

from halftone_shared.db.asked_pauses import forget_ended_pauses
from halftone_shared.db.deletion import (
    EXPIRED_AT_ONCE,
    delete_rows,
    expire_requests,
    expired_requests,
    image_token,
    mark_deleted,
)
from halftone_shared.db.engine import make_engine
from halftone_shared.db.known_images import forget_old_images
from halftone_shared.errors import StorageUnavailable
from halftone_shared.model.image_names import storage_folder
from halftone_shared.runtime.settings import CommonSettings
from halftone_shared.service.periodic import PeriodicThread
from halftone_shared.service.storage_check import StorageCheck
from halftone_shared.storage import ImageStore

log = structlog.get_logger(__name__)

SWEEP_EVERY_SECONDS = 30.0
HOUSEKEEPING_EVERY_SECONDS = 24 * 3600.0
# A DELETE of a request with more products is answered first; a sweeper then deletes it.
MAX_PRODUCTS_AT_ONCE = 2000
# "halftsw" in ASCII: at most one sweeper runs at a time, however many dispatchers there are.
_SWEEP_LOCK = 0x68616C66747377


class Sweeper:
    """Deletes expired requests at its start and every SWEEP_EVERY_SECONDS, in its own thread.

    With 0 days no request expires, but marked requests are still deleted.
    """

    def __init__(
        self,
        engine: Engine,
        store: ImageStore,
        *,
        retention_days: int,
        check: StorageCheck | None = None,
    ) -> None:
        self._engine = engine
        self._store = store
        self._check = check
        self._days = retention_days
        self._next_housekeeping = time.monotonic() + SWEEP_EVERY_SECONDS
        self._thread = PeriodicThread("sweeper", self._run, every_seconds=SWEEP_EVERY_SECONDS)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current request; the next sweeper deletes the rest."""
        self._thread.stop()
        self._engine.dispose()

    def sweep(self) -> int:
        """Delete all expired requests and return their number. Does nothing while another sweeper
        runs.

        A request whose files cannot be deleted stays marked and does not delay the others. After
        EXPIRED_AT_ONCE of these the sweep stops, as the storage is probably unavailable. Raises
        SQLAlchemyError.
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
                    if self._check is not None and _is_away(self._check):
                        return deleted
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
        return _delete_now(connection, self._store, request_id)

    def _run(self) -> None:
        if time.monotonic() >= self._next_housekeeping:
            self._next_housekeeping = time.monotonic() + HOUSEKEEPING_EVERY_SECONDS
            with self._engine.connect() as connection:
                forget_old_images(connection)
        with self._engine.connect() as connection:
            forget_ended_pauses(connection)
        if deleted := self.sweep():
            log.info("expired requests deleted", count=deleted, retention_days=self._days)


def _is_away(check: StorageCheck) -> bool:
    """Whether files cannot be deleted now. In the empty folder of an unmounted volume they would
    seem to be deleted already.
    """
    problem = check.problem(1)
    if problem is not None:
        log.warning("deleted requests kept", reason=problem.splitlines()[0])
    return problem is not None


def delete_request(
    engine: Engine, store: ImageStore, check: StorageCheck, request_id: UUID, total_products: int
) -> None:
    """Delete an ended request. On return it is hidden. Its files and rows are deleted too, unless
    it is large or the storage is unavailable: then a sweeper deletes them. Raises NotEnded.
    """
    with engine.connect() as connection:
        mark_deleted(connection, request_id)
    if total_products <= MAX_PRODUCTS_AT_ONCE and not _is_away(check):
        with engine.connect() as connection:
            _delete_now(connection, store, request_id)


def _delete_now(connection: Connection, store: ImageStore, request_id: UUID) -> bool:
    token = image_token(connection, request_id)
    if token is None:
        return True  # deleted meanwhile
    try:
        store.delete_folder(storage_folder(token))
    except StorageUnavailable as error:
        log.warning("deleted request kept", request_id=str(request_id), reason=str(error))
        return False
    delete_rows(connection, request_id)
    return True


def make_sweeper(settings: CommonSettings) -> Sweeper:
    """A sweeper with its own database connection and its own store."""
    engine = make_engine(settings.database_url, pool_size=2)
    store = ImageStore(settings.storage_url)
    check = StorageCheck(engine, store, settings.storage_url)
    return Sweeper(engine, store, retention_days=settings.retention_days, check=check)
