"""Callbacks of the image processing service: who may call, with which body, and the responses."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from standardwebhooks import Webhook

from halftone_api.endpoints.callbacks import MAX_BODY_BYTES
from halftone_shared.db.engine import transaction
from halftone_shared.db.processor_jobs import add_job, send_away
from tests.support.api import Api, forget_requests, running_api
from tests.support.routes import problem_of
from tests.support.stored import claimed, query, store_request

SECRET = "whsec_" + "B" * 40
URL = "https://processor.example/out.jpg"


@pytest.fixture(scope="module")
def signed_api(open_api: Api) -> Iterator[Api]:
    with running_api(open_api.settings.model_copy(update={"processor_secret": SECRET})) as api:
        yield api


@pytest.fixture
def api(signed_api: Api) -> Iterator[Api]:
    yield signed_api
    forget_requests(signed_api.engine)


@pytest.fixture
def job_id(api: Api) -> UUID:
    """The job ID of a product that the processing service has."""
    claim = claimed(api.engine, store_request(api.engine), 1)
    job_id = uuid4()
    with transaction(api.engine) as connection:
        add_job(connection, claim, job_id, position=1, variant="", timeout_seconds=60)
        send_away(connection, claim, [None])
    return job_id


def call(
    api: Api,
    job_id: UUID,
    body: dict[str, Any] | str | None = None,
    *,
    secret: str = SECRET,
    seconds_ago: float = 0,
) -> httpx.Response:
    headers, content = signed(job_id, body, secret, seconds_ago)
    return api.call("POST", f"/api/callbacks/{job_id}", headers=headers, content=content)


def signed(
    job_id: UUID,
    body: dict[str, Any] | str | None = None,
    secret: str = SECRET,
    seconds_ago: float = 0,
) -> tuple[dict[str, str], bytes]:
    """The headers and the body of a callback."""
    given = {"job_id": str(job_id), "status": "completed", "output_url": URL}
    content = body if isinstance(body, str) else json.dumps(given if body is None else body)
    at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg_1", at, content),
    }
    return headers, content.encode()


def test_callback_is_recorded_once(api: Api, job_id: UUID) -> None:
    assert call(api, job_id).status_code == 204
    assert call(api, job_id).status_code == 204
    assert [row.status for row in query(api.engine, "SELECT status FROM products")] == ["PENDING"]
    other = {"job_id": str(job_id), "status": "failed", "error": "no"}
    problem_of(call(api, job_id, other), 409, "job_ended")


def test_callbacks_at_once_are_each_answered(api: Api) -> None:
    claim = claimed(api.engine, store_request(api.engine, images=12), 1)
    jobs = [uuid4() for _ in claim.input_image_urls]
    with transaction(api.engine) as connection:
        for position, job_id in enumerate(jobs, 1):
            add_job(connection, claim, job_id, position=position, variant="", timeout_seconds=60)
        send_away(connection, claim, [None] * len(jobs))
    unknown = [uuid4() for _ in jobs]

    async def all_at_once() -> list[httpx.Response]:
        calls = []
        for job_id in [*jobs, *unknown]:
            headers, content = signed(job_id)
            path = f"/api/callbacks/{job_id}"
            calls.append(api.http.post(path, headers=headers, content=content))
        return await asyncio.gather(*calls)

    answers = api.run(all_at_once())

    assert [answer.status_code for answer in answers] == [204] * 12 + [404] * 12
    assert [row.status for row in query(api.engine, "SELECT status FROM products")] == ["PENDING"]


@pytest.mark.parametrize("error", ["nul \0 inside", "half a pair \ud800"])
def test_error_that_postgresql_cannot_store_is_stored_without_it(
    api: Api, job_id: UUID, error: str
) -> None:
    body = {"job_id": str(job_id), "status": "failed", "error": error}
    assert call(api, job_id, body).status_code == 204
    assert call(api, job_id, body).status_code == 204
    [row] = query(api.engine, "SELECT error FROM processor_jobs")
    assert row.error.startswith(error[:3])


def test_trailing_slash_is_accepted(api: Api, job_id: UUID) -> None:
    assert api.call("POST", f"/api/callbacks/{job_id}/").status_code == 401


@pytest.mark.parametrize("seconds_ago", [301, -302])
def test_old_or_future_signature_is_refused(api: Api, job_id: UUID, seconds_ago: int) -> None:
    problem_of(call(api, job_id, seconds_ago=seconds_ago), 401, "bad_signature")
    [row] = query(api.engine, "SELECT status FROM processor_jobs")
    assert row.status == "sent"


def test_signature_of_another_secret_is_refused(api: Api, job_id: UUID) -> None:
    problem_of(call(api, job_id, secret="whsec_" + "C" * 40), 401, "bad_signature")


def test_call_without_signature_is_refused(api: Api, job_id: UUID) -> None:
    response = api.call("POST", f"/api/callbacks/{job_id}", content=b"{}")
    problem_of(response, 401, "bad_signature")


def test_unknown_job_is_404(api: Api) -> None:
    problem_of(call(api, uuid4()), 404, "not_found")
    problem_of(api.call("POST", "/api/callbacks/none", content=b"{}"), 404, "not_found")


@pytest.mark.parametrize(
    "body",
    [
        "no JSON",
        "[]",
        {"status": "completed", "output_url": URL},
        {"job_id": str(uuid4()), "status": "completed", "output_url": URL},
        {"status": "completed"},
        {"status": "completed", "output_url": "file:///etc/passwd"},
        {"status": "completed", "output_url": 7},
        {"status": "done"},
        {"status": "failed", "error": "x" * MAX_BODY_BYTES},
    ],
)
def test_body_that_cannot_be_used_is_refused(
    api: Api, job_id: UUID, body: dict[str, Any] | str
) -> None:
    if isinstance(body, dict) and body.get("output_url") != URL:
        body = {"job_id": str(job_id)} | body
    problem_of(call(api, job_id, body), 400, "malformed_callback")


def test_without_a_secret_there_are_no_jobs(open_api: Api) -> None:
    problem_of(call(open_api, uuid4()), 404, "not_found")
