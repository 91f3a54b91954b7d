"""Storage of output images: a folder or an S3 bucket (HALFTONE_STORAGE_URL), through one interface
(obstore).
"""

import os
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import obstore
import structlog
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, ObjectStore, S3Store

from halftone_shared.errors import BadSettings, ImageNotStored, StorageUnavailable
from halftone_shared.marked_folder import MarkedFolder
from halftone_shared.model.image_formats import MEDIA_TYPES
from halftone_shared.model.image_names import storage_path

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult
    from obstore.store import RetryConfig

log = structlog.get_logger(__name__)

CHUNK_BYTES = 256 * 1024
DELETE_PAGE_FILES = 1000
# Failed calls are retried for this long. A bucket that does not answer then costs one time-out (30
# s) instead of obstore's default of six.
RETRY_SECONDS = 10.0
PROBE_BYTES = 1024 * 1024
# The object that a probe writes into a bucket.
_PROBE_NAME = ".halftone-probe"
# Probing a bucket takes at most this long.
_PROBE_SECONDS = 4
_FORBIDDEN = (PermissionError, PermissionDeniedError, UnauthenticatedError)
# An endpoint given as http:// is intended. Set here and not as a client option: with any client
# option, obstore reads none from the environment.
_BUCKET: Any = {"allow_http": True}


class ImageStore:
    """Output images by name (image_names.py). Writing a name again replaces the file with an
    identical one.
    """

    def __init__(self, storage_url: str) -> None:
        """Raises BadSettings if the folder neither exists nor can be created, or if the bucket's
        settings are wrong.
        """
        self._store, path = _open_store(storage_url)
        self._folder = None if path is None else MarkedFolder(path)
        self._probe_store = self._store if path else _open_probe_store(storage_url)

    @property
    def is_remote(self) -> bool:
        """Whether storing a file is mostly waiting for the network."""
        return self._folder is None

    def put(self, name: str, data: bytes | bytearray) -> None:
        """Store a file atomically and durably. Raises StorageUnavailable."""
        (failed,) = self.put_all([(name, data)])
        if failed is not None:
            raise failed

    def put_all(
        self, files: Sequence[tuple[str, bytes | bytearray]]
    ) -> list[StorageUnavailable | None]:
        """Store files as put() does, in a folder with less time for each. Returns for each file why
        it was not stored, or None.
        """
        if self._folder is None:
            return [self._put_into_bucket(name, data) for name, data in files]
        try:
            failures = self._folder.write_all([(storage_path(name), data) for name, data in files])
        except StorageUnavailable as error:
            return [error] * len(files)
        except OSError as error:
            failures = [error] * len(files)
        return [None if failure is None else _not_stored(failure) for failure in failures]

    def _put_into_bucket(self, name: str, data: bytes | bytearray) -> StorageUnavailable | None:
        attributes: dict[str, Any] = {"Content-Type": MEDIA_TYPES[name.rpartition(".")[2]]}
        try:
            obstore.put(
                self._store, storage_path(name), data, use_multipart=False, attributes=attributes
            )
        except (BaseError, OSError) as error:
            return _not_stored(error)
        return None

    def probe(self, size: int = PROBE_BYTES) -> None:
        """Write a file of this size and delete it. Raises StorageUnavailable if that fails, or if
        the folder has lost its marker (see expect_marker).
        """
        try:
            if self._folder is None:
                obstore.put(self._probe_store, _PROBE_NAME, b"halftone", use_multipart=False)
                return
            self._folder.probe(size)
        except (BaseError, OSError) as error:
            unavailable = StorageUnavailable(f"The storage cannot be written: {error}")
            is_missing = self._folder is None and isinstance(error, FileNotFoundError)
            unavailable.is_permanent = is_missing or isinstance(error, _FORBIDDEN)
            raise unavailable from error

    def read_marker(self) -> str | None:
        """The folder's marker, which an empty folder beneath a mount point does not have. None
        without a marker, and for a bucket. Raises StorageUnavailable.
        """
        if self._folder is None:
            return None
        try:
            return self._folder.read_marker()
        except OSError as error:
            raise StorageUnavailable(f"The storage cannot be read: {error}") from error

    def write_marker(self, marker: str) -> None:
        """Mark a folder. Raises StorageUnavailable."""
        if self._folder is not None:
            try:
                self._folder.write_marker(marker)
            except OSError as error:
                raise StorageUnavailable(f"The storage cannot be written: {error}") from error

    def expect_marker(self, marker: str) -> None:
        """Use the folder from now on only while it has this marker. After its volume is unmounted,
        nothing is written beneath the mount point, and no file counts as deleted.
        """
        if self._folder is not None:
            self._folder.expect_marker(marker)

    @property
    def has_folder(self) -> bool:
        return self._folder is not None

    def copy(self, name: str, copy_name: str) -> None:
        """Store a file under a second name without transferring it: by a hard link in a folder, by
        the server in a bucket. Deleting one name keeps the other. Call sync_copies() afterwards.

        Raises ImageNotStored or StorageUnavailable.
        """
        with self._reading(name):
            if self._folder is None:
                obstore.copy(self._store, storage_path(name), storage_path(copy_name))
                return
            source, target = storage_path(name), storage_path(copy_name)
            if not self._folder.link(source, target):
                self._refuse_link(name)
                self._folder.write(target, self._folder.read(source))

    def sync_copies(self, names: Iterable[str]) -> None:
        """On return these copies are on the disk. One call for many files costs little more than
        one for a single file. Raises StorageUnavailable.
        """
        if self._folder is None:
            return
        try:
            self._folder.sync({os.path.dirname(storage_path(name)) for name in names})  # noqa: PTH120
        except OSError as error:
            raise StorageUnavailable(f"The images could not be stored: {error}") from error

    def get(self, name: str) -> bytes:
        """A whole file. Raises ImageNotStored or StorageUnavailable."""
        with self._reading(name):
            self._refuse_link(name)
            return bytes(obstore.get(self._store, storage_path(name)).bytes())

    async def size(self, name: str) -> int:
        """The file's size in bytes. Raises ImageNotStored or StorageUnavailable."""
        with self._reading(name):
            self._refuse_link(name)
            return int((await obstore.head_async(self._store, storage_path(name)))["size"])

    async def read(self, name: str, start: int, end: int, *, size: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to, not including, `end`, in chunks. `size` is the file's, from
        size(). Raises as that does.
        """
        # A whole file needs no range: `rclone serve s3` answers ranges with 200, and obstore then
        # refuses the answer.
        part = None if (start, end) == (0, size) else (start, end)
        return self._chunks(await self._open(name, part), name, start, end)

    async def _open(self, name: str, part: tuple[int, int] | None) -> "GetResult":
        with self._reading(name):
            self._refuse_link(name)
            options: GetOptions = {} if part is None else {"range": part}
            return await obstore.get_async(self._store, storage_path(name), options=options)

    async def _chunks(
        self, result: "GetResult", name: str, at: int, end: int
    ) -> AsyncIterator[bytes]:
        """A bucket may close a slow download after some minutes. Then a new request continues from
        the last byte; an answer without any bytes is an error.
        """
        while True:
            began = at
            try:
                async for chunk in result.stream(min_chunk_size=CHUNK_BYTES):
                    yield bytes(chunk)
                    at += len(chunk)
            except (BaseError, OSError):
                if at == began:
                    raise
            else:
                return
            result = await self._open(name, (at, end))

    def delete_folder(self, folder: str) -> None:
        """Delete a folder with all files under it. Does nothing if the folder is gone. Raises
        StorageUnavailable.
        """
        try:
            if self._folder is not None:
                # obstore does not list the unfinished files of a killed worker.
                self._folder.delete(folder)
                return
            while page := next(
                iter(obstore.list(self._store, folder, chunk_size=DELETE_PAGE_FILES)), None
            ):
                obstore.delete(self._store, [file["path"] for file in page])
        except FileNotFoundError as error:
            # Another process is deleting the folder, and may not finish.
            if self._folder is not None and (self._folder.path / folder).exists():
                raise StorageUnavailable(
                    f"The files under {folder} are being deleted by another."
                ) from error
        except (BaseError, OSError) as error:
            raise StorageUnavailable(
                f"The files under {folder} could not be deleted: {error}"
            ) from error

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        """Raise what read calls raise. A file is missing only if its storage is not."""
        try:
            yield
        except FileNotFoundError:
            if self._folder is not None:
                self._folder.check()
            raise ImageNotStored(name) from None
        except (BaseError, OSError) as error:
            raise StorageUnavailable(f"The image could not be read: {error}") from error

    def _refuse_link(self, name: str) -> None:
        """Raise FileNotFoundError if an image's path contains a symbolic link."""
        if self._folder is not None:
            path = self._folder.path / storage_path(name)
            if os.path.realpath(path) != str(path):
                raise FileNotFoundError(path)


def _not_stored(failure: Exception) -> StorageUnavailable:
    error = StorageUnavailable(f"The image could not be stored: {failure}")
    error.__cause__ = failure
    return error


def _open_store(storage_url: str) -> tuple[ObjectStore, Path | None]:
    """The store, and its folder if the storage is one."""
    parts = urlsplit(storage_url)
    try:
        if parts.scheme == "s3":
            prefix = parts.path.strip("/") or None
            retries: RetryConfig = {"retry_timeout": timedelta(seconds=RETRY_SECONDS)}
            return S3Store(parts.netloc, prefix=prefix, config=_BUCKET, retry_config=retries), None
        folder = Path(unquote(parts.path)).resolve()
        # Not readable by other users of the machine.
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        return LocalStore(folder), folder
    except (BaseError, OSError, ValueError) as error:  # ValueError: an invalid path
        reason = str(error).splitlines()[0]
        raise BadSettings(
            [f"HALFTONE_STORAGE_URL={storage_url!r}: it cannot be used ({reason})."]
        ) from error


def _open_probe_store(storage_url: str) -> ObjectStore:
    """The bucket with short time-outs, for probes."""
    parts = urlsplit(storage_url)
    config: Any = {**_BUCKET, "timeout": f"{_PROBE_SECONDS}s", "connect_timeout": "2s"}
    return S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        config=config,
        retry_config={"retry_timeout": timedelta(seconds=1), "max_retries": 0},
    )


def refuse_unusable_storage(storage_url: str) -> None:
    """For a program's start. Raises BadSettings if the storage cannot work: no permission, or no
    such bucket. A temporary failure is only logged.
    """
    try:
        ImageStore(storage_url).probe()
    except StorageUnavailable as error:
        if error.is_permanent:
            reason = str(error).splitlines()[0]
            raise BadSettings([f"HALFTONE_STORAGE_URL={storage_url!r}: {reason}."]) from error
        log.warning("storage unavailable", reason=str(error).splitlines()[0])
