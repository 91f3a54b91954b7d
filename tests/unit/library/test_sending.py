"""How the library sends requests: what it repeats, what it does not, and its error messages."""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import halftone
from tests.support.halftone import free_port
from tests.support.hostile import closing_after, hostile_server
from tests.support.origin import Answer, Origin

STATUS = {
    "request_id": "1",
    "status": "COMPLETED",
    "outcome": "succeeded",
    "progress": 100.0,
    "csv_filename": "products.csv",
    "created_at": "2026-01-01T00:00:00.000Z",
    "updated_at": "2026-01-01T00:00:00.000Z",
    "completed_at": "2026-01-01T00:00:00.000Z",
}
COLUMNS = {"key": "Serial Number", "name": "Product Name", "images": ["Input Image Urls"]}
ACCEPTED = {
    "message": "Taken.",
    "request_id": "1",
    "status": "PENDING",
    "profile": "native",
    "columns": COLUMNS,
}
ROWS = [{"Serial Number": 1, "Product Name": "Mug", "Input Image Urls": "http://shop.example/a"}]


def test_read_is_sent_again_while_the_service_is_away(origin: Origin) -> None:
    serve_in_turn(origin, "/api/status/1", problem(503), Answer(status=502), answer(STATUS))
    with halftone.Client(origin.url) as client:
        assert client.status("1").status is halftone.Status.COMPLETED
    assert origin.hits["/api/status/1"] == 3


def test_retries_are_given_up_with_the_last_problem(origin: Origin) -> None:
    origin.serve("/api/status/1", problem(503, code="not_ready"))
    with (
        halftone.Client(origin.url, retries=1) as client,
        pytest.raises(halftone.ServiceError, match="Away") as caught,
    ):
        client.status("1")
    assert (caught.value.code, caught.value.status) == ("not_ready", 503)
    assert origin.hits["/api/status/1"] == 2


def test_upload_is_sent_again_under_one_idempotency_key(origin: Origin) -> None:
    serve_in_turn(origin, "/api/upload", problem(503), answer(ACCEPTED, 202))
    with halftone.Client(origin.url) as client:
        request = client.upload(ROWS, quality=70, strict=True)
    assert request.id == "1"
    (_, first, body), (_, second, again) = origin.posts
    assert first["idempotency-key"] == second["idempotency-key"]
    for sent in (body, again):
        assert b'name="quality"\r\n\r\n70\r\n' in sent
        assert b'name="strict"\r\n\r\ntrue\r\n' in sent
        assert b"Serial Number,Product Name,Input Image Urls\r\n1,Mug," in sent


@pytest.mark.parametrize("call", [halftone.Client.cancel, halftone.Client.retry])
def test_call_that_changes_something_is_not_sent_twice(
    origin: Origin, call: Callable[[halftone.Client, str], Any]
) -> None:
    path = f"/api/{call.__name__}/1"
    origin.serve(path, problem(503))
    with halftone.Client(origin.url) as client, pytest.raises(halftone.ServiceError):
        call(client, "1")
    assert origin.hits[path] == 1


def test_retry_after_is_waited_for(origin: Origin) -> None:
    limited = problem(429, headers={"Retry-After": "0"})
    serve_in_turn(origin, "/api/upload", limited, answer(ACCEPTED, 202))
    with halftone.Client(origin.url) as client:
        assert client.upload(ROWS).id == "1"


def test_long_retry_after_is_an_error_at_once(origin: Origin) -> None:
    origin.serve("/api/upload", problem(429, headers={"Retry-After": "3600"}))
    with halftone.Client(origin.url) as client, pytest.raises(halftone.RateLimited) as caught:
        client.upload(ROWS)
    assert caught.value.retry_after == 3600
    assert origin.hits["/api/upload"] == 1


def test_row_errors_are_typed(origin: Origin) -> None:
    row = {"line": 2, "column": "Product Name", "code": "empty_name", "message": "m", "value": ""}
    origin.serve("/api/upload", problem(422, errors=[row], error_count=300))
    with halftone.Client(origin.url) as client, pytest.raises(halftone.Refused) as caught:
        client.upload(ROWS)
    assert [(error.line, error.code) for error in caught.value.errors] == [(2, "empty_name")]
    assert caught.value.error_count == 300


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, halftone.Unauthorized),
        (404, halftone.NotFound),
        (409, halftone.Conflict),
        (400, halftone.Refused),
        (418, halftone.ApiError),
    ],
)
def test_each_problem_has_its_error(
    origin: Origin, status: int, error: type[halftone.ApiError]
) -> None:
    origin.serve("/api/status/1", problem(status))
    with halftone.Client(origin.url) as client, pytest.raises(error) as caught:
        client.status("1")
    assert type(caught.value) is error
    assert str(caught.value) == "Away, or not yours."


def test_what_is_not_halftone_is_said(origin: Origin) -> None:
    origin.serve("/api/status/1", b"<html>")
    origin.serve("/api/status/2", answer({"status": "fine"}))
    with halftone.Client(origin.url) as client:
        for request_id in ("1", "2"):
            with pytest.raises(halftone.UnexpectedAnswer, match="Is the URL right"):
                client.status(request_id)
        with pytest.raises(halftone.ApiError, match="answered 404, and not as halftone"):
            client.status("3")


def test_unreachable_service_is_said() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with (
        halftone.Client(url, retries=0) as client,
        pytest.raises(halftone.Unreachable, match=f"No halftone answers at {url}"),
    ):
        client.status("1")


@pytest.mark.parametrize("url", ["http://[::1", "ftp://shop.example", "halftone", "http://"])
def test_url_that_cannot_be_called_is_said(url: str) -> None:
    with pytest.raises(halftone.InvalidSetting, match="URL"):
        halftone.Client(url)


def test_key_is_sent_to_the_service_alone(tmp_path: Path) -> None:
    """Output images may be on another server, which must not see the key."""
    image = closing_after(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nimage")
    with hostile_server(image) as server, halftone.Client(server.url, key="ht_secret") as client:
        assert client.image(f"{server.url}/a.jpg", tmp_path / "a.jpg") == len(b"image")
        with pytest.raises(halftone.UnexpectedAnswer):
            client.status("1")
    without_key, with_key = server.requests
    assert b"ht_secret" not in without_key
    assert b"Authorization: Bearer ht_secret" in with_key
    assert (tmp_path / "a.jpg").read_bytes() == b"image"


def test_key_with_other_characters_is_refused_without_showing_it() -> None:
    with pytest.raises(halftone.InvalidSetting, match="HALFTONE_API_KEY") as caught:
        halftone.Client(key="ht_clé")
    assert "clé" not in str(caught.value)


def test_proxy_of_the_environment_is_not_used_for_this_machine(
    origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    origin.serve("/api/status/1", answer(STATUS))
    with halftone.Client(origin.url, retries=0) as client:
        assert client.status("1").progress == 100


def test_download_that_breaks_off_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    output = tmp_path / "output.csv"
    output.write_text("yesterday's")
    broken = closing_after(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf a CSV")
    with hostile_server(broken) as server, halftone.Client(server.url, retries=1) as client:
        with pytest.raises(halftone.Unreachable, match="broke"):
            client.download("1", output)
        assert server.accepts == 2
    assert output.read_text() == "yesterday's"
    assert list(tmp_path.iterdir()) == [output]


def test_wait_gives_up_after_its_time(origin: Origin) -> None:
    running = STATUS | {"status": "PROCESSING", "completed_at": None, "progress": 10.0}
    origin.serve("/api/status/1", answer(running))
    with halftone.Client(origin.url) as client, pytest.raises(halftone.StillRunning) as caught:
        client.wait("1", timeout_seconds=0)
    assert caught.value.status.progress == 10


def test_events_go_on_after_a_broken_connection(origin: Origin) -> None:
    running = STATUS | {"status": "PROCESSING", "completed_at": None}
    serve_in_turn(origin, "/api/events/1", events("a", running), events("b", STATUS))
    with halftone.Client(origin.url) as client:
        assert [status.status for status in client.events("1")] == ["PROCESSING", "COMPLETED"]


def test_word_that_a_newer_service_sends_is_kept(origin: Origin) -> None:
    origin.serve("/api/status/1", answer(STATUS | {"outcome": "splendid", "new_member": 1}))
    with halftone.Client(origin.url) as client:
        status = client.status("1")
    assert status.outcome == "splendid"
    assert status.raw["new_member"] == 1


def test_asyncio_client_does_the_same(origin: Origin, tmp_path: Path) -> None:
    serve_in_turn(origin, "/api/upload", problem(503), answer(ACCEPTED, 202))
    origin.serve("/api/status/1", answer(STATUS))
    origin.serve("/api/events/1", events("a", STATUS))
    origin.serve("/api/download/1", b"a,b\r\n")
    origin.serve("/api/details/1?limit=100", answer({"products": [], "next_cursor": None}))

    async def run() -> None:
        async with halftone.AsyncClient(origin.url) as client:
            request = await client.upload(ROWS)
            assert (await request.wait()).progress == 100
            assert [status.progress async for status in request.events()] == [100]
            assert await request.download(tmp_path / "output.csv") == 5
            assert [image async for image in request.images()] == []

    asyncio.run(run())
    assert len(origin.posts) == 2


def answer(body: Any, status: int = 200) -> Answer:
    return Answer(json.dumps(body).encode(), status, {"Content-Type": "application/json"})


def problem(
    status: int, code: str = "away", headers: dict[str, str] | None = None, **members: Any
) -> Answer:
    body = {"detail": "Away, or not yours.", "code": code, "status": status} | members
    media_type = {"Content-Type": "application/problem+json"}
    return Answer(json.dumps(body).encode(), status, media_type | (headers or {}))


def events(event_id: str, status: dict[str, Any]) -> Answer:
    text = f"event: status\r\nid: {event_id}\r\ndata: {json.dumps(status)}\r\n\r\n"
    return Answer(text.encode(), 200, {"Content-Type": "text/event-stream"})


def serve_in_turn(origin: Origin, path: str, *answers: Answer) -> None:
    origin.serve(path, partial(next, iter(answers)))
