"""Whether the storage can be written now, for /readyz and for the workers.

A folder is marked by a file, and the database knows the marker by the storage's URL. So the empty
folder beneath a mount point is not taken for the storage, whether its volume vanished while the
service ran or before it started.
"""

import threading
import time
from uuid import uuid4

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from halftone_shared.errors import StorageUnavailable
from halftone_shared.storage import MARKER_NAME, PROBE_BYTES, ImageStore

# An answer is given again for this long: /readyz may be asked often.
FRESH_SECONDS = 3.0


class StorageCheck:
    """Tries a storage. Calls from several threads take turns."""

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
        """Why a file of this size cannot be stored now; None where it can. With `fresh` it is tried
        in any case. Without `has_database`, the database is not asked which storage it is.
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
        """Mark a new storage; find out whether it is the known one. Raises StorageUnavailable."""
        found = self._store.read_marker()
        try:
            with self._engine.connect() as connection:
                known = known_marker(connection, self._storage_url)
                if known is None:
                    self._store.probe()
                    if found is None:
                        found = str(uuid4())
                        self._store.write_marker(found)
                    known = register_marker(connection, self._storage_url, found)
        except SQLAlchemyError:
            return  # the next time
        if found != known:
            raise StorageUnavailable(
                f"The storage is not the one that the images are in: its {MARKER_NAME} should say"
                f" {known}. Is its volume mounted? If the old images are gone for good, write that"
                " into the file."
            )
        self._store.expect_marker()
        self._is_identified = True


def known_marker(connection: Connection, storage_url: str) -> str | None:
    """The marker of the storage at this URL; None before it was used."""
    found = connection.execute(
        text("SELECT marker FROM storages WHERE url = :url"), {"url": storage_url}
    )
    return found.scalar()


def register_marker(connection: Connection, storage_url: str, marker: str) -> str:
    """Keep the marker of a storage that is used from now on; the marker that is kept, which may be
    another process's.
    """
    connection.execute(
        text("INSERT INTO storages VALUES (:url, :marker) ON CONFLICT DO NOTHING"),
        {"url": storage_url, "marker": marker},
    )
    return known_marker(connection, storage_url) or marker
