"""While the storage cannot be written, products wait and no attempt counts. Then work resumes."""

import os
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import Engine, text

from halftone_shared.db.deletion import mark_deleted
from halftone_shared.db.engine import make_engine, transaction
from halftone_shared.errors import BadSettings, StorageUnavailable
from halftone_shared.marked_folder import MARKER_NAME
from halftone_shared.model.image_names import image_name, storage_path
from halftone_shared.model.results import ProductKey
from halftone_shared.service import storage_check
from halftone_shared.service.storage_check import StorageCheck
from halftone_shared.service.sweeper import Sweeper
from halftone_shared.storage import ImageStore, refuse_unusable_storage
from halftone_workers.jobs.product import ProductJobs
from halftone_workers.runtime import Runtime
from tests.support.api import api_settings, running_api
from tests.support.halftone import wait_for
from tests.support.http_server import serving
from tests.support.images import jpeg
from tests.support.origin import Origin
from tests.support.runtime import running_runtime
from tests.support.stored import execute, finish, query, store_request


@contextmanager
def mounted(folder: Path, size: str = "4m") -> Iterator[None]:
    """Mount a small file system at this folder."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True, capture_output=True)


@contextmanager
def _storing_on_a_volume(database_url: str, folder: Path) -> Iterator[Runtime]:
    """A runtime whose storage is a mounted file system and can be written."""
    with (
        mounted(folder),
        running_runtime(database_url, folder, fetch_allow="127.0.0.0/8") as runtime,
    ):
        wait_for(lambda: runtime.storage_gate.is_open, 20, "storage")
        yield runtime


def _fill(file: Path) -> None:
    """Write until the disk is full."""
    with suppress(OSError), file.open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))


def _product(engine: Engine, *urls: str) -> ProductKey:
    return ProductKey(store_request(engine, urls=urls), 1)


def _state(engine: Engine, request_id: UUID) -> tuple[str, int]:
    (row,) = query(
        engine, "SELECT status, attempts FROM products WHERE request_id = :id", id=request_id
    )
    return row.status, row.attempts


def _goes_on(runtime: Runtime, engine: Engine, key: ProductKey) -> None:
    """The product ends without help, in its first attempt."""
    wait_for(lambda: runtime.storage_gate.is_open, 20, "storage")
    execute(engine, "UPDATE products SET next_attempt_at = now() WHERE status = 'PENDING'")
    ProductJobs(runtime).process(key)
    assert _state(engine, key.request_id) == ("COMPLETED", 1)


def test_full_disk_counts_no_attempt_and_ends_by_itself(
    database_url: str, engine: Engine, tmp_path: Path, origin: Origin
) -> None:
    folder = tmp_path / "storage"
    url = origin.serve("/a.jpg", jpeg())
    with _storing_on_a_volume(database_url, folder) as runtime:
        filler = folder / "filler"
        _fill(filler)
        key = _product(engine, url)
        ProductJobs(runtime).process(key)
        assert _state(engine, key.request_id) == ("PENDING", 0)
        assert not runtime.storage_gate.is_open
        filler.unlink()
        _goes_on(runtime, engine, key)


def test_nothing_is_written_beneath_the_mount_point_of_a_volume_that_is_gone(
    database_url: str, engine: Engine, tmp_path: Path, origin: Origin
) -> None:
    folder = tmp_path / "storage"
    url = origin.serve("/a.jpg", jpeg())
    with _storing_on_a_volume(database_url, folder) as runtime:
        subprocess.run(["umount", str(folder)], check=True)
        key = _product(engine, url)
        ProductJobs(runtime).process(key)
        assert _state(engine, key.request_id) == ("PENDING", 0)
        assert list(folder.iterdir()) == []
        with mounted(folder):
            pass  # another volume, without the images
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], check=True)
        marker = query(engine, "SELECT marker FROM storages")[0].marker
        (folder / MARKER_NAME).write_text(marker)
        _goes_on(runtime, engine, key)


def test_volume_that_is_unmounted_in_the_middle_of_a_write_gets_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, name = tmp_path / "storage", image_name(uuid4(), 1, 1, "jpg")
    kept = tmp_path / "kept"
    kept.mkdir()
    with mounted(folder):
        store = ImageStore(folder.as_uri())
        store.write_marker("marker")
        store.expect_marker("marker")
        store.put(name, b"first")
        open_file, was_unmounted = os.open, False

        def unmount_before_the_file(path: str, flags: int, *how: int, **rest: int) -> int:
            nonlocal was_unmounted
            if flags & os.O_CREAT and not was_unmounted:
                was_unmounted = True
                subprocess.run(["mount", "--bind", folder, kept], check=True)
                subprocess.run(["umount", "--lazy", folder], check=True)
            return open_file(path, flags, *how, **rest)

        monkeypatch.setattr(os, "open", unmount_before_the_file)
        try:
            store.put(name, b"second")
            assert was_unmounted
            assert list(folder.iterdir()) == []
            assert (kept / storage_path(name)).read_bytes() == b"second"
            for refused in (lambda: store.put(name, b"third"), lambda: store.get(name)):
                with pytest.raises(StorageUnavailable, match="volume mounted"):
                    refused()
            assert list(folder.iterdir()) == []
        finally:
            subprocess.run(["mount", "--bind", kept, folder], check=True)
            subprocess.run(["umount", kept], check=True)
        store.put(name, b"fourth")
        assert store.get(name) == b"fourth"


def test_request_is_not_deleted_while_the_volume_with_its_files_is_unmounted(
    engine: Engine, tmp_path: Path
) -> None:
    url = (tmp_path / "storage").as_uri()
    store = ImageStore(url)
    sweeper = Sweeper(engine, store, retention_days=0, check=StorageCheck(engine, store, url))
    assert StorageCheck(engine, ImageStore(url), url).problem() is None
    request_id = store_request(engine)
    finish(engine, request_id, 1)
    (tmp_path / "storage" / MARKER_NAME).rename(tmp_path / "marker")
    with engine.connect() as connection:
        mark_deleted(connection, request_id)
    assert sweeper.sweep() == 0
    assert query(engine, "SELECT id FROM requests") == [(request_id,)]

    (tmp_path / "marker").rename(tmp_path / "storage" / MARKER_NAME)
    wait_for(lambda: sweeper.sweep() == 1, what="the sweep")


def test_products_wait_before_their_claim(
    database_url: str, engine: Engine, tmp_path: Path, origin: Origin
) -> None:
    folder = tmp_path / "storage"
    with running_runtime(database_url, folder, fetch_allow="127.0.0.0/8") as runtime:
        wait_for(lambda: runtime.storage_gate.is_open, 20, "storage")
        (folder / MARKER_NAME).rename(tmp_path / "marker")
        assert runtime.storage_gate.is_away(1)
        key = _product(engine, origin.serve("/a.jpg", jpeg()))
        waiting = threading.Thread(target=ProductJobs(runtime).process, args=(key,))
        waiting.start()
        assert _state(engine, key.request_id) == ("PENDING", 0)
        assert REGISTRY.get_sample_value("halftone_storage_away") == 1
        (tmp_path / "marker").rename(folder / MARKER_NAME)
        waiting.join(20)
        assert _state(engine, key.request_id) == ("COMPLETED", 1)
        assert REGISTRY.get_sample_value("halftone_storage_away") == 0


def test_image_that_alone_cannot_be_stored_fails_as_before(
    database_url: str, engine: Engine, tmp_path: Path, origin: Origin
) -> None:
    folder = tmp_path / "storage"
    with running_runtime(
        database_url, folder, fetch_allow="127.0.0.0/8", max_attempts=1
    ) as runtime:
        wait_for(lambda: runtime.storage_gate.is_open, 20, "storage")
        (folder / "images").write_bytes(b"in the way")
        key = _product(engine, origin.serve("/a.jpg", jpeg()))
        ProductJobs(runtime).process(key)
        assert _state(engine, key.request_id) == ("FAILED", 1)
        assert runtime.storage_gate.is_open


def test_programs_that_start_at_once_agree_on_the_marker_of_a_new_storage(
    engine: Engine, tmp_path: Path
) -> None:
    for number in range(10):
        url = (tmp_path / str(number)).as_uri()
        together = threading.Barrier(4)

        def problem(url: str = url, together: threading.Barrier = together) -> str | None:
            check = StorageCheck(engine, ImageStore(url), url)
            together.wait()
            return check.problem()

        with ThreadPoolExecutor(4) as threads:
            found = [threads.submit(problem) for _ in range(4)]
            assert [each.result() for each in found] == [None] * 4


def test_folder_without_its_marker_is_not_taken_for_the_storage_at_a_start(
    engine: Engine, tmp_path: Path
) -> None:
    url = (tmp_path / "storage").as_uri()
    assert StorageCheck(engine, ImageStore(url), url).problem() is None
    (tmp_path / "storage" / MARKER_NAME).unlink()
    store = ImageStore(url)
    assert "volume mounted" in (StorageCheck(engine, store, url).problem() or "")
    other = (tmp_path / "other").as_uri()
    assert StorageCheck(engine, ImageStore(other), other).problem() is None


def test_storage_is_not_used_before_the_database_has_told_its_marker(
    engine: Engine, database_url: str, tmp_path: Path
) -> None:
    """A worker that started while PostgreSQL restarted wrote beneath an unmounted volume."""
    url, folder = (tmp_path / "storage").as_uri(), tmp_path / "storage"
    assert StorageCheck(engine, ImageStore(url), url).problem() is None
    store = ImageStore(url)
    hurried = make_engine(f"{database_url}&options=-c%20lock_timeout%3D100", pool_size=1)
    check = StorageCheck(hurried, store, url)
    with transaction(engine) as connection:
        connection.execute(text("LOCK storages IN ACCESS EXCLUSIVE MODE"))
        assert "PostgreSQL" in (check.problem(fresh=True) or "")
    assert check.problem(fresh=True) is None
    (folder / MARKER_NAME).unlink()
    assert "marker" in (check.problem(fresh=True) or "")
    with pytest.raises(StorageUnavailable, match="marker"):
        store.put(image_name(uuid4(), 1, 1, "jpg"), b"image")
    hurried.dispose()


def test_api_is_not_ready_while_the_storage_cannot_be_written(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_check, "FRESH_SECONDS", 0)
    folder = tmp_path / "storage"
    with running_api(api_settings(database_url, folder)) as api:
        assert api.get("/readyz").status_code == 200
        (folder / MARKER_NAME).unlink()
        answer = api.get("/readyz")
        assert (answer.status_code, answer.json()["failing"]) == (503, ["storage"])
        assert str(folder) not in answer.text


def test_api_that_has_checked_no_storage_yet_takes_no_missing_volume_for_deleted_images(
    database_url: str, engine: Engine, tmp_path: Path
) -> None:
    url, folder = (tmp_path / "storage").as_uri(), tmp_path / "storage"
    assert StorageCheck(engine, ImageStore(url), url).problem() is None
    request_id = store_request(engine)
    finish(engine, request_id, 1)
    name = image_name(request_id, 1, 1, "jpg")
    execute(engine, "UPDATE products SET output_files = ARRAY[:name]", name=name)
    (folder / MARKER_NAME).rename(tmp_path / "marker")
    with running_api(api_settings(database_url, folder)) as api:
        assert api.get(f"/api/image/{name}").status_code == 503
        assert api.call("DELETE", f"/api/requests/{request_id}").status_code == 204
    assert query(engine, "SELECT id FROM requests") == [(request_id,)]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission_refuses_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "storage"
    folder.mkdir(mode=0o500)
    with pytest.raises(BadSettings, match="HALFTONE_STORAGE_URL"):
        refuse_unusable_storage(folder.as_uri())


def test_folder_is_made_for_its_owner_and_group_alone(tmp_path: Path) -> None:
    ImageStore((tmp_path / "storage").as_uri())
    assert (tmp_path / "storage").stat().st_mode & 0o007 == 0


class _Refusing(BaseHTTPRequestHandler):
    """An S3 server that has no such bucket, or denies access."""

    status, code = 404, "NoSuchBucket"

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = f"<Error><Code>{self.code}</Code></Error>".encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


class _Forbidding(_Refusing):
    status, code = 403, "AccessDenied"


@pytest.fixture
def s3_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")


@pytest.mark.usefixtures("s3_keys")
@pytest.mark.parametrize("handler", [_Refusing, _Forbidding])
def test_bucket_that_can_never_work_refuses_the_start(
    monkeypatch: pytest.MonkeyPatch, handler: type[BaseHTTPRequestHandler]
) -> None:
    with serving(handler) as url:
        monkeypatch.setenv("AWS_ENDPOINT", url)
        with pytest.raises(BadSettings, match=r"HALFTONE_STORAGE_URL=.s3://shop/halftone"):
            refuse_unusable_storage("s3://shop/halftone")


@pytest.mark.usefixtures("s3_keys")
def test_bucket_that_is_away_does_not_refuse_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:9")
    refuse_unusable_storage("s3://shop/halftone")
    with pytest.raises(StorageUnavailable) as error:
        ImageStore("s3://shop/halftone").probe()
    assert not error.value.is_permanent
