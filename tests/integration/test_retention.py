"""An expired request is deleted completely: nothing of it is served and no file remains, even when
a process dies meanwhile.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import obstore
import pytest
from obstore.store import MemoryStore
from sqlalchemy import Connection, Engine, text

from halftone_shared import storage
from halftone_shared.db import deletion
from halftone_shared.db.cancel_retry import cancel_request, retry_request
from halftone_shared.db.deletion import delete_rows, expire_requests, expired_requests
from halftone_shared.db.invariants import examine
from halftone_shared.db.requests import RequestSearch, list_status
from halftone_shared.errors import NotEnded, StorageUnavailable
from halftone_shared.model.image_names import image_name, image_token, storage_folder, storage_path
from halftone_shared.service import sweeper as sweeper_module
from halftone_shared.service.sweeper import Sweeper
from halftone_shared.storage import ImageStore
from tests.support.api import Api, api_settings, path_of, running_api, stored_rows
from tests.support.halftone import running_separately, wait_for
from tests.support.images import jpeg
from tests.support.origin import Origin
from tests.support.rabbitmq import TestRabbitmq
from tests.support.routes import problem_of
from tests.support.stored import (
    WAITING,
    claimed,
    execute,
    failed_image,
    good_image,
    query,
    settle,
    store_request,
)

DAYS = 7


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    with running_api(api_settings(database_url, tmp_path / "storage", retention_days=DAYS)) as api:
        yield api


@pytest.fixture
def sweeper(engine: Engine, api: Api) -> Sweeper:
    return Sweeper(engine, api.store, retention_days=DAYS)


def ended_request(
    api: Api, *, days_ago: float, products: int = 1, webhook_url: str | None = None
) -> UUID:
    """A request that ended that long ago. Each product has one stored image."""
    request_id = store_request(api.engine, products, webhook_url=webhook_url)
    for seq in range(1, products + 1):
        name = image_name(request_id, seq, 1, "jpg")
        api.store.put(name, b"image")
        settle(api.engine, claimed(api.engine, request_id, seq), good_image(name))
    age(api.engine, request_id, days_ago)
    return request_id


def age(engine: Engine, request_id: UUID, days: float) -> None:
    execute(
        engine,
        "UPDATE requests SET completed_at = now() - make_interval(secs => 86400 * :days) WHERE id"
        " = :id",
        id=request_id,
        days=days,
    )


def files(api: Api) -> list[Path]:
    folder = Path(api.settings.storage_url.removeprefix("file://")) / "images"
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_ended_before_the_retention_is_deleted_with_its_files(
    api: Api, sweeper: Sweeper
) -> None:
    old, young = (
        ended_request(api, days_ago=DAYS + 0.1, products=3),
        ended_request(api, days_ago=DAYS - 0.1),
    )
    running = store_request(api.engine, 2)
    execute(
        api.engine,
        "UPDATE requests SET created_at = now() - interval '99 days' WHERE id = :id",
        id=running,
    )
    assert len(files(api)) == 4
    assert sweeper.sweep() == 1
    assert api.get(f"/api/status/{old}").status_code == 404
    assert api.get(f"/api/download/{old}").status_code == 404
    assert api.get(f"/api/image/{image_name(old, 1, 1, 'jpg')}").status_code == 404
    assert api.get(f"/api/status/{young}").status_code == 200
    assert api.get(f"/api/image/{image_name(young, 1, 1, 'jpg')}").status_code == 200
    assert api.get(f"/api/status/{running}").status_code == 200
    assert [path.name for path in files(api)] == [image_name(young, 1, 1, "jpg")]
    assert stored_rows(api.engine)["products"] == 3
    assert sweeper.sweep() == 0


def test_files_that_no_row_names_go_too(api: Api, sweeper: Sweeper) -> None:
    """A product that was cancelled while a worker processed it has stored its image. A killed
    worker has stored half of one.
    """
    request_id = store_request(api.engine, 1)
    claimed(api.engine, request_id, 1)
    name = image_name(request_id, 1, 1, "jpg")
    api.store.put(name, b"image")
    half = Path(api.settings.storage_url.removeprefix("file://")) / f"{storage_path(name)}#1"
    half.write_bytes(b"half")
    cancel_request(api.engine, request_id, patience_seconds=5)
    age(api.engine, request_id, DAYS + 1)
    assert sweeper.sweep() == 1
    assert files(api) == []
    assert not (half.parents[1]).exists()


def test_marked_request_is_there_for_nobody(api: Api) -> None:
    """Between the deletion mark and the last row's deletion, its files may already be gone."""
    request_id = ended_request(api, days_ago=DAYS + 1)
    settled = ended_request(api, days_ago=0)
    with api.engine.connect() as connection:
        assert expire_requests(connection, DAYS) == 1
        assert [
            row.id
            for row in list_status(connection, RequestSearch(owner=None), before=None, limit=9)
        ] == [settled]
    for path in ("status", "details", "download", "webhooks"):
        assert api.get(f"/api/{path}/{request_id}").status_code == 404
    assert api.get(f"/api/image/{image_name(request_id, 1, 1, 'jpg')}").status_code == 404
    assert api.call("POST", f"/api/retry/{request_id}").status_code == 404
    assert api.call("POST", f"/api/cancel/{request_id}").status_code == 404


def test_retry_that_comes_with_the_mark_is_refused(api: Api) -> None:
    request_id = store_request(api.engine, 1)
    settle(api.engine, claimed(api.engine, request_id, 1), failed_image())
    age(api.engine, request_id, DAYS + 1)
    with api.engine.connect() as connection:
        expire_requests(connection, DAYS)
    with pytest.raises(NotEnded):
        retry_request(api.engine, request_id, "http://halftone")


@pytest.mark.parametrize("change", ["retry/{}", "webhooks/{}/replay"])
def test_change_that_waits_for_the_mark_finds_no_request(api: Api, change: str) -> None:
    request_id = ended_request(api, days_ago=DAYS + 1, webhook_url="http://127.0.0.1/hook")

    async def change_meanwhile(marking: Connection) -> httpx.Response:
        call = asyncio.create_task(api.http.post(f"/api/{change.format(request_id)}"))
        while not query(api.engine, WAITING):  # noqa: ASYNC110 - it is the database that tells
            await asyncio.sleep(0.01)
        marking.commit()
        return await call

    with api.engine.connect().execution_options(isolation_level="READ COMMITTED") as marking:
        marking.execute(text("UPDATE requests SET expired_at = now()"))
        problem_of(api.run(change_meanwhile(marking)), 404, "not_found")


def test_retried_request_does_not_expire(api: Api, sweeper: Sweeper) -> None:
    request_id = store_request(api.engine, 1)
    settle(api.engine, claimed(api.engine, request_id, 1), failed_image())
    age(api.engine, request_id, DAYS + 1)
    retry_request(api.engine, request_id, "http://halftone")
    assert sweeper.sweep() == 0
    assert api.get(f"/api/status/{request_id}").status_code == 200


@pytest.mark.parametrize("step", ["files", "products"])
def test_what_dies_in_between_is_carried_on(step: str, api: Api, sweeper: Sweeper) -> None:
    request_id = ended_request(api, days_ago=DAYS + 1, products=2)
    with api.engine.connect() as connection:
        expire_requests(connection, DAYS)
    if step == "products":
        api.store.delete_folder(storage_folder(image_token(request_id)))
        execute(api.engine, "DELETE FROM products WHERE seq = 1")
    assert [finding for _, finding in examine(api.engine) if finding] == []
    assert sweeper.sweep() == 1
    assert stored_rows(api.engine) == {
        "requests": 0,
        "products": 0,
        "request_shards": 0,
        "webhook_events": 0,
    }
    assert files(api) == []


def test_marked_request_is_deleted_when_retention_was_turned_off(api: Api, engine: Engine) -> None:
    ended_request(api, days_ago=DAYS + 1)
    with engine.connect() as connection:
        assert expire_requests(connection, DAYS) == 1
    ended_request(api, days_ago=DAYS + 1)
    assert Sweeper(engine, api.store, retention_days=0).sweep() == 1
    assert stored_rows(engine)["requests"] == 1


def test_files_that_cannot_be_deleted_keep_their_rows(
    api: Api, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = ended_request(api, days_ago=DAYS + 1)

    def refuse(_: ImageStore, folder: str) -> None:
        raise StorageUnavailable(folder)

    with monkeypatch.context() as patched:
        patched.setattr(ImageStore, "delete_folder", refuse)
        assert sweeper.sweep() == 0
    with api.engine.connect() as connection:
        assert expired_requests(connection) == [request_id]
    assert sweeper.sweep() == 1


def test_files_that_cannot_be_deleted_keep_no_other_request(
    api: Api, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sweeper_module, deletion):
        monkeypatch.setattr(module, "EXPIRED_AT_ONCE", 2)
    locked, *others = [ended_request(api, days_ago=DAYS + 5 - number) for number in range(5)]
    delete = ImageStore.delete_folder

    def refuse_one(store: ImageStore, folder: str) -> None:
        if folder == storage_folder(image_token(locked)):
            raise StorageUnavailable(folder)
        delete(store, folder)

    monkeypatch.setattr(ImageStore, "delete_folder", refuse_one)
    assert sweeper.sweep() == len(others)
    with api.engine.connect() as connection:
        assert expired_requests(connection) == [locked]


def test_store_that_deletes_nothing_is_not_asked_for_everything(
    api: Api, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sweeper_module, deletion):
        monkeypatch.setattr(module, "EXPIRED_AT_ONCE", 2)
    for number in range(5):
        ended_request(api, days_ago=DAYS + 1 + number)
    asked = []

    def refuse(_: ImageStore, folder: str) -> None:
        asked.append(folder)
        raise StorageUnavailable(folder)

    monkeypatch.setattr(ImageStore, "delete_folder", refuse)
    assert sweeper.sweep() == 0
    assert len(asked) == 2


def test_pending_webhook_keeps_its_request(api: Api, sweeper: Sweeper) -> None:
    request_id = ended_request(api, days_ago=DAYS + 1, webhook_url="http://127.0.0.1/hook")
    assert sweeper.sweep() == 0
    execute(api.engine, "UPDATE webhook_events SET status = 'failed', next_attempt_at = NULL")
    assert sweeper.sweep() == 1
    assert api.get(f"/api/status/{request_id}").status_code == 404


def test_bucket_is_emptied_page_by_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store without folders, such as S3, with more files than fit on a page and another request's
    files.
    """
    monkeypatch.setattr(storage, "DELETE_PAGE_FILES", 3)
    bucket = ImageStore(tmp_path.as_uri())
    bucket._store, bucket._folder = MemoryStore(), None
    gone, stays = uuid4(), uuid4()
    for request_id, count in ((gone, 8), (stays, 1)):
        for seq in range(1, count + 1):
            obstore.put(
                bucket._store, storage_path(image_name(request_id, seq, 1, "jpg")), b"image"
            )
    for _ in range(2):
        bucket.delete_folder(storage_folder(image_token(gone)))
        left = [file["path"] for page in obstore.list(bucket._store) for file in page]
        assert left == [storage_path(image_name(stays, 1, 1, "jpg"))]


def test_only_marked_requests_can_be_deleted(api: Api) -> None:
    request_id = ended_request(api, days_ago=DAYS + 1)
    with api.engine.connect() as connection:
        delete_rows(connection, request_id)
    assert query(api.engine, "SELECT id FROM requests") == [(request_id,)]


def test_two_sweepers_do_not_meet(api: Api, engine: Engine, sweeper: Sweeper) -> None:
    ended_request(api, days_ago=DAYS + 1)
    with engine.connect() as other:
        other.exec_driver_sql(f"SELECT pg_advisory_lock({0x68616C66747377})")
        assert sweeper.sweep() == 0
        other.exec_driver_sql(f"SELECT pg_advisory_unlock({0x68616C66747377})")
    assert sweeper.sweep() == 1


def test_large_request_is_deleted_in_steps(api: Api, sweeper: Sweeper) -> None:
    request_id = store_request(api.engine, 12_000)
    cancel_request(api.engine, request_id, patience_seconds=30)
    age(api.engine, request_id, DAYS + 1)
    assert sweeper.sweep() == 1
    assert stored_rows(api.engine)["products"] == 0


def test_status_says_until_when_it_is_kept(api: Api) -> None:
    request_id = ended_request(api, days_ago=0)
    execute(
        api.engine,
        "UPDATE requests SET completed_at = '2026-03-01T12:00:00Z' WHERE id = :id",
        id=request_id,
    )
    status = api.get(f"/api/status/{request_id}").json()
    assert status["expires_at"] == "2026-03-08T12:00:00.000Z"
    assert api.get(f"/api/details/{request_id}").json()["expires_at"] == status["expires_at"]
    assert api.get("/api/requests").json()["requests"] == [status]
    running = store_request(api.engine, 1)
    assert api.get(f"/api/status/{running}").json()["expires_at"] is None


def test_status_names_no_end_where_everything_is_kept(database_url: str, tmp_path: Path) -> None:
    with running_api(api_settings(database_url, tmp_path / "storage")) as api:
        request_id = ended_request(api, days_ago=99)
        assert api.get(f"/api/status/{request_id}").json()["expires_at"] is None


@pytest.mark.broker
def test_running_service_sweeps(
    broker: TestRabbitmq, engine: Engine, database_url: str, tmp_path: Path, origin: Origin
) -> None:
    csv = f"Serial Number,Product Name,Input Image Urls\n1,SKU1,{origin.serve('/a.jpg', jpeg())}\n"
    hook = origin.serve("/hook", b"")
    rabbitmq_url = broker.new_vhost()
    with running_separately(tmp_path, database_url, rabbitmq_url, retention_days="1") as service:
        request_id = service.accepted(csv, webhook_url=hook)
        told = service.ended(request_id)["expires_at"]
        wait_for(lambda: origin.posts, what="webhook")
        assert f'"expires_at":"{told}"'.encode() in origin.posts[0][2]
        wait_for(
            lambda: service.status(request_id)["webhook"]["status"] == "delivered", what="delivery"
        )
        image = path_of(service.products(request_id)[0]["output_image_urls"][0])
        assert service.http.get(image).status_code == 200
    age(engine, UUID(request_id), 1.1)
    with running_separately(tmp_path, database_url, rabbitmq_url, retention_days="1") as service:
        wait_for(lambda: query(engine, "SELECT count(*) FROM requests") == [(0,)], what="sweep")
        assert service.http.get(image).status_code == 404
        assert service.http.get(f"/api/status/{request_id}").status_code == 404
        # A worker that is stopped before it handles signals would not exit with 0.
        wait_for(lambda: service.log.read_text().count("worker started") == 2, what="second worker")
    files = [path.name for path in (tmp_path / "storage").rglob("*") if path.is_file()]
    assert files == [".halftone-storage"]  # its marker only
