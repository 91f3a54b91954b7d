"""The folder of output images: a file is there completely or not at all, with several writers
too.
"""

import asyncio
import errno
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import obstore
import pytest
from obstore.exceptions import BaseError
from obstore.store import MemoryStore

from halftone_shared import storage
from halftone_shared.errors import BadSettings, ImageNotStored, StorageUnavailable
from halftone_shared.marked_folder import FILES_AT_ONCE
from halftone_shared.model.image_names import image_name, image_token, storage_folder, storage_path
from halftone_shared.storage import ImageStore
from tests.support.bucket import Bucket, running_bucket

REQUEST_ID = uuid4()
NAME = image_name(REQUEST_ID, 1, 1, "jpg")


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_same_image_written_by_many_at_once_is_one_whole_file(tmp_path: Path) -> None:
    data = bytes(range(256)) * 400
    stores = [ImageStore(tmp_path.as_uri()) for _ in range(3)]

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda store: store.put(NAME, data), stores * 10))
    assert _files(tmp_path) == [tmp_path / storage_path(NAME)]
    assert (tmp_path / storage_path(NAME)).read_bytes() == data


def test_image_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    # A folder already has the file's name: the data is written, but cannot be renamed to it.
    (tmp_path / storage_path(NAME)).mkdir(parents=True)
    with pytest.raises(StorageUnavailable, match="could not be stored"):
        ImageStore(tmp_path.as_uri()).put(NAME, b"image")
    assert _files(tmp_path) == []


def test_image_is_on_the_disk_with_its_name_when_it_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, synced = tmp_path / storage_path(NAME), []

    def fsync(file: int) -> None:
        synced.append(os.path.samestat(os.fstat(file), path.stat()) and path.read_bytes())

    monkeypatch.setattr(os, "fsync", fsync)
    ImageStore(tmp_path.as_uri()).put(NAME, b"image")
    assert synced == [b"image"]


def test_image_that_the_disk_does_not_take_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageUnavailable, match="could not be stored"):
        ImageStore(tmp_path.as_uri()).put(NAME, b"image")


def _many(count: int) -> list[tuple[str, bytes | bytearray]]:
    return [(image_name(REQUEST_ID, 1, n, "jpg"), b"image %d" % n) for n in range(1, count + 1)]


def test_images_stored_together_are_all_on_the_disk_with_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = _many(2 * FILES_AT_ONCE + 1)
    synced: list[Path] = []
    paths = {name: tmp_path / storage_path(name) for name, _ in files}

    def fsync(file: int) -> None:
        there = [path for path in paths.values() if path.exists()]
        synced.extend(path for path in there if os.path.samestat(os.fstat(file), path.stat()))

    monkeypatch.setattr(os, "fsync", fsync)
    assert ImageStore(tmp_path.as_uri()).put_all(files) == [None] * len(files)
    assert synced == list(paths.values())
    assert [path.read_bytes() for path in synced] == [data for _, data in files]


def test_image_that_fails_leaves_those_stored_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, sync, opened = _many(3), os.fsync, len(list(Path("/dev/fd").iterdir()))
    broken = tmp_path / storage_path(files[1][0])
    (tmp_path / storage_path(files[2][0])).mkdir(parents=True)

    def fsync(file: int) -> None:
        if os.path.samestat(os.fstat(file), broken.stat()):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(file)

    monkeypatch.setattr(os, "fsync", fsync)
    stored, not_on_disk, without_name = ImageStore(tmp_path.as_uri()).put_all(files)
    assert stored is None
    assert os.strerror(errno.EIO) in str(not_on_disk)
    assert "could not be stored" in str(without_name)
    assert len(list(Path("/dev/fd").iterdir())) == opened


def test_images_of_a_volume_that_is_unmounted_are_all_refused(tmp_path: Path) -> None:
    store = ImageStore(tmp_path.as_uri())
    store.expect_marker("marker")
    failures = store.put_all(_many(2))
    assert ["volume mounted" in str(failure) for failure in failures] == [True, True]
    assert _files(tmp_path) == []


def test_folder_that_cannot_be_made_is_an_unavailable_storage(tmp_path: Path) -> None:
    (tmp_path / "images").write_bytes(b"a file where a folder is wanted")
    with pytest.raises(StorageUnavailable):
        ImageStore(tmp_path.as_uri()).put(NAME, b"image")


def test_folder_that_another_deletes_too_is_not_gone_before_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example one sweeper loses its database in the middle and the next one has begun: neither
    may report success.
    """
    store, delete = ImageStore(tmp_path.as_uri()), shutil.rmtree

    def meet_the_other(folder: str, *, dir_fd: int) -> None:
        raise FileNotFoundError(f"{folder}/a file that was there when the folder was listed")

    store.put(NAME, b"image")
    monkeypatch.setattr(shutil, "rmtree", meet_the_other)
    with pytest.raises(StorageUnavailable, match="by another"):
        store.delete_folder(storage_folder(image_token(REQUEST_ID)))
    delete(tmp_path / storage_folder(image_token(REQUEST_ID)))
    store.delete_folder(storage_folder(image_token(REQUEST_ID)))


@pytest.mark.parametrize(
    "url", ["file:///images%00", "s3://bucket/a//b", "s3://bucket/../b", "s3://bucket/."]
)
def test_path_that_is_none_is_a_bad_setting(url: str) -> None:
    with pytest.raises(BadSettings, match="it cannot be used"):
        ImageStore(url)


def test_bucket_takes_an_image_with_its_media_type(tmp_path: Path) -> None:
    bucket = ImageStore(tmp_path.as_uri())
    bucket._store, bucket._folder = MemoryStore(), None
    assert bucket.is_remote
    bucket.put(NAME, bytearray(b"image"))
    stored = obstore.get(bucket._store, storage_path(NAME))
    assert (bytes(stored.bytes()), stored.attributes["Content-Type"]) == (b"image", "image/jpeg")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Configured by the usual AWS variables, over plain HTTP, like an S3 server in a private
    network.
    """
    with running_bucket() as running:
        for name, value in (
            ("ENDPOINT_URL", running.url),
            ("ACCESS_KEY_ID", "key"),
            ("SECRET_ACCESS_KEY", "sesame"),
        ):
            monkeypatch.setenv(f"AWS_{name}", value)
        yield running


async def _read(store: ImageStore, start: int) -> bytes:
    size = await store.size(NAME)
    return b"".join([chunk async for chunk in await store.read(NAME, start, size, size=size)])


def test_bucket_takes_gives_and_forgets_an_image(bucket: Bucket) -> None:
    store = ImageStore("s3://bucket/a prefix/")
    store.put(NAME, b"an image")
    assert bucket.files == {f"a prefix/{storage_path(NAME)}": (b"an image", "image/jpeg")}
    assert asyncio.run(_read(store, 3)) == b"image"
    assert asyncio.run(_read(store, 0)) == b"an image"
    store.delete_folder(storage_folder(image_token(REQUEST_ID)))
    assert bucket.files == {}
    with pytest.raises(ImageNotStored):
        asyncio.run(store.size(NAME))


def test_image_is_read_on_where_the_bucket_broke_off(bucket: Bucket) -> None:
    """Buckets cut off clients that read for several minutes. obstore itself retries ten times."""
    store, data = ImageStore("s3://bucket"), bytes(range(256)) * 6000
    store.put(NAME, data)
    bucket.breaks_off_at = 100_000
    assert asyncio.run(_read(store, 0)) == data


def test_bucket_that_does_not_answer_is_asked_once(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a caller waits for minutes, and a worker does not stop."""
    monkeypatch.setattr(storage, "RETRY_SECONDS", 0.1)
    monkeypatch.setenv("AWS_TIMEOUT", "0.5s")
    bucket.delay_seconds = 1.0
    with pytest.raises(StorageUnavailable):
        ImageStore("s3://bucket").put(NAME, b"an image")
    assert bucket.calls == 1


def test_bucket_that_gives_nothing_more_is_not_asked_for_ever(bucket: Bucket) -> None:
    store = ImageStore("s3://bucket")
    store.put(NAME, b"an image")
    bucket.breaks_off_at = 0
    with pytest.raises(BaseError):
        asyncio.run(_read(store, 0))
