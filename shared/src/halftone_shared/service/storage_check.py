"""Checks whether the storage can be written now, for /readyz and for the workers.

A storage folder has a marker file, and the database records the marker for the storage's URL. So
the empty folder beneath a mount point is never mistaken for the storage, whether its volume was
unmounted before the service started or while it ran.
"""

import threading
import time
from uuid import uuid4

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from halftone_shared.db.engine import transaction
from halftone_shared.errors import StorageUnavailable
from halftone_shared.marked_folder import MARKER_NAME
from halftone_shared.storage import PROBE_BYTES, ImageStore

# A result is reused for this long, since /readyz may be called often.
FRESH_SECONDS = 3.0
# Any number that no other advisory lock of this database has.
_LOCK_MARKER = text("SELECT pg_advisory_xact_lock(7230944)")


class StorageCheck:
    """Tests a storage. Calls from several threads take turns."""

    def __init__(self, engine: Engine, store: ImageStore, storage_url: str) -> None:
        self._engine = engine
        self._store = store
        self._storage_url = storage_url
        self._is_identified = not store.has_folder
        self._problem: str | None = None
        self._fresh_until = 0.0
        self._lock = threading.Lock()

    def problem(
        self, size: int = PROBE_BYTES, *, fresh: bool = False, has_database: bool = True
    ) -> str | None:
        """Why a file of this size cannot be stored now; None if it can. `fresh` ignores the last
        result. Without `has_database`, the marker is not compared with the database's.
        """
        with self._lock:
            if fresh or time.monotonic() >= self._fresh_until:
                self._problem = self._try(size, has_database=has_database)
                self._fresh_until = time.monotonic() + FRESH_SECONDS
            return self._problem

    def _try(self, size: int, *, has_database: bool) -> str | None:
        try:
            if has_database and not self._is_identified:
                self._identify()
            self._store.probe(size)
        except StorageUnavailable as error:
            return str(error)
        return None

    def _identify(self) -> None:
        """Mark a new storage, or compare its marker with the database's. Raises
        StorageUnavailable, also if the database does not answer: without its marker, the storage
        cannot be told from the empty folder of an unmounted volume.
        """
        try:
            with transaction(self._engine) as connection:
                known = known_marker(connection, self._storage_url)
                if known is None:
                    # API and workers start at once: one of them marks a new storage.
                    connection.execute(_LOCK_MARKER)
                    known = known_marker(connection, self._storage_url)
                found = self._store.read_marker()
                if known is None:
                    self._store.probe()
                    if found is None:
                        found = str(uuid4())
                        self._store.write_marker(found)
                    known = register_marker(connection, self._storage_url, found)
        except SQLAlchemyError as error:
            raise StorageUnavailable(
                "PostgreSQL does not answer, so it is not known whether this is the storage that"
                " the images are in."
            ) from error
        if found != known:
            raise StorageUnavailable(
                f"The storage is not the one that the images are in: its {MARKER_NAME} should say"
                f" {known}. Is its volume mounted? If the old images are gone for good, write that"
                " into the file."
            )
        self._store.expect_marker(known)
        self._is_identified = True


def known_marker(connection: Connection, storage_url: str) -> str | None:
    """The marker of the storage at this URL; None before its first use."""
    found = connection.execute(
        text("SELECT marker FROM storages WHERE url = :url"), {"url": storage_url}
    )
    return found.scalar()


def register_marker(connection: Connection, storage_url: str, marker: str) -> str:
    """Record the marker of a new storage. Returns the recorded marker, which may be another
    process's.
    """
    connection.execute(
        text("INSERT INTO storages VALUES (:url, :marker) ON CONFLICT DO NOTHING"),
        {"url": storage_url, "marker": marker},
    )
    return known_marker(connection, storage_url) or marker
