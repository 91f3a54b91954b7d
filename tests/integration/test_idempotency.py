"""An upload that is sent again with the same Idempotency-Key is one request."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from halftone_shared.db.engine import transaction
from halftone_shared.db.idempotency import claim_key, forget_old_keys
from tests.support.api import ONE_ROW, Api, api_settings, running_api, stored_rows
from tests.support.halftone import running_separately
from tests.support.stored import WAITING, before_statement, execute, query


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    with running_api(api_settings(database_url, tmp_path)) as running:
        yield running


def _upload(api: Api, csv: str = ONE_ROW, key: str = "evening-1", **fields: str) -> httpx.Response:
    return api.upload(csv, fields=fields, headers={"Idempotency-Key": key})


def test_same_upload_again_is_the_same_request_and_the_same_answer(api: Api) -> None:
    csv = ONE_ROW + '2,SKU2,"http://images.example/2.jpg,ftp://images.example/3.jpg"\n'
    first, second = _upload(api, csv), _upload(api, csv)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["warning_count"] == 1
    assert first.content == second.content
    assert stored_rows(api.engine)["requests"] == 1


@pytest.mark.parametrize(
    "change", [{"csv": ONE_ROW + "2,SKU2,http://images.example/2.jpg\n"}, {"quality": "40"}]
)
def test_other_upload_with_the_same_key_is_refused(api: Api, change: dict[str, Any]) -> None:
    _upload(api)
    answer = _upload(api, **change)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert stored_rows(api.engine)["requests"] == 1


def test_other_key_is_another_request(api: Api) -> None:
    assert _upload(api).json()["request_id"] != _upload(api, key="evening-2").json()["request_id"]


def test_refused_upload_leaves_its_key_free(api: Api) -> None:
    assert _upload(api, csv=ONE_ROW.replace("1,SKU1", "x,SKU1")).status_code == 422
    assert _upload(api).status_code == 202


def test_key_is_forgotten_after_a_day(api: Api) -> None:
    first = _upload(api).json()["request_id"]
    execute(api.engine, "UPDATE idempotency_keys SET created_at = now() - interval '23 hours'")
    assert _upload(api).json()["request_id"] == first
    execute(api.engine, "UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    assert _upload(api).json()["request_id"] != first
    execute(api.engine, "UPDATE idempotency_keys SET created_at = now() - interval '25 hours'")
    with api.engine.connect() as connection:
        assert forget_old_keys(connection) == 1
    assert query(api.engine, "SELECT FROM idempotency_keys") == []


def test_key_that_is_forgotten_as_it_is_looked_at_is_new(api: Api) -> None:
    first = _upload(api).json()["request_id"]
    with before_statement(
        "SELECT idempotency_keys", lambda: execute(api.engine, "DELETE FROM idempotency_keys")
    ):
        assert _upload(api).json()["request_id"] != first
    assert stored_rows(api.engine)["requests"] == 2


@pytest.mark.parametrize("key", ["", " ", "with space", "é", "x" * 256])
def test_unusable_key_is_refused(api: Api, key: str) -> None:
    answer = api.upload(ONE_ROW, headers={"Idempotency-Key": key.encode()})  # type: ignore[dict-item]
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")


def test_uploads_that_wait_hold_up_no_other_call(database_url: str, tmp_path: Path) -> None:
    settings = api_settings(database_url, tmp_path, database_pool_size=2)
    files = {"file": ("products.csv", ONE_ROW.encode(), "text/csv")}
    with running_api(settings) as api:
        earlier = api.upload(ONE_ROW).json()["request_id"]

        async def upload() -> httpx.Response:
            headers = {"Idempotency-Key": "one"}
            return await api.http.post("/api/upload", files=files, headers=headers)

        async def upload_many() -> tuple[httpx.Response, list[httpx.Response]]:
            with transaction(api.engine) as holder:
                claim_key(holder, None, "one", b"a claim that is rolled back")
                uploads = [asyncio.create_task(upload()) for _ in range(12)]
                while not query(api.engine, WAITING):  # noqa: ASYNC110 - the database has no event
                    await asyncio.sleep(0.01)
                status = await api.http.get(f"/api/status/{earlier}")
                assert not any(task.done() for task in uploads)
                holder.rollback()
            return status, await asyncio.gather(*uploads)

        status, answers = api.run(upload_many())
        assert status.status_code == 200
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["request_id"] for answer in answers}) == 1


@pytest.mark.broker
def test_uploads_with_one_key_side_by_side_are_one_request(
    database_url: str, rabbitmq_url: str, tmp_path: Path
) -> None:
    rows = "".join(f"{n},SKU{n},http://127.0.0.1:1/{n}.jpg\n" for n in range(1, 3000))
    csv = f"Serial Number,Product Name,Input Image Urls\n{rows}".encode()
    with running_separately(tmp_path, database_url, rabbitmq_url, workers=0) as service:

        def upload(_: int) -> httpx.Response:
            files = {"file": ("products.csv", csv, "text/csv")}
            url = f"{service.url}/api/upload"
            return httpx.post(
                url, files=files, headers={"Idempotency-Key": "one"}, timeout=60, trust_env=False
            )

        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(upload, range(6)))
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["request_id"] for answer in answers}) == 1
        assert len(service.http.get("/api/requests").json()["requests"]) == 1
