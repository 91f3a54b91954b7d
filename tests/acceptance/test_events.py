"""Progress as server-sent events, from the first state to the last. Then the stream ends."""

import itertools
import json
from typing import Any

import httpx

from tests.support.csv_files import HEADER
from tests.support.halftone import Service
from tests.support.images import jpeg
from tests.support.origin import Answer, Origin


def _events(service: Service, request_id: str) -> list[dict[str, Any]]:
    """The status objects of the stream. The server must end it."""
    with service.http.stream("GET", f"/api/events/{request_id}") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        names, data = [], []
        for line in answer.iter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                names.append(value)
            if field == "data":
                data.append(json.loads(value))
    assert set(names) == {"status"}
    return data


def test_every_change_is_told_until_the_end(service: Service, origin: Origin) -> None:
    urls = [
        origin.serve(f"/{n}.jpg", Answer(jpeg(seed=n), delay_seconds=n * 0.7)) for n in range(4)
    ]
    rows = "".join(f"{n},SKU{n},{url}\n" for n, url in enumerate(urls))
    request_id = service.accepted(HEADER + rows)
    seen = _events(service, request_id)
    assert seen[0]["completed_at"] is None
    assert len(seen) >= 3
    progress = [status["progress"] for status in seen]
    assert progress == sorted(progress)
    assert all(before != after for before, after in itertools.pairwise(seen))
    assert (seen[-1]["status"], seen[-1]["progress"]) == ("COMPLETED", 100)
    assert seen[-1] == service.status(request_id)


def test_ended_request_is_told_once(service: Service, origin: Origin) -> None:
    request_id = service.accepted(f"{HEADER}1,SKU1,{origin.serve('/a.jpg', jpeg())}\n")
    service.ended(request_id)
    assert _events(service, request_id) == [service.status(request_id)]


def test_unknown_request_has_no_events(service: Service) -> None:
    assert service.http.get("/api/events/8243ff57-4d97-4733-bd91-3bb51286b55e").status_code == 404


def test_reconnecting_browser_is_told_nothing_twice_and_stops_at_the_end(
    service: Service, origin: Origin
) -> None:
    """A browser's EventSource reconnects with the ID of its last event until the answer is 204."""
    request_id = service.accepted(
        f"{HEADER}1,SKU1,{origin.serve('/a.jpg', Answer(jpeg(), delay_seconds=1.5))}\n"
    )
    with service.http.stream("GET", f"/api/events/{request_id}") as answer:
        seen = _first_id(answer)
    with service.http.stream(
        "GET", f"/api/events/{request_id}", headers={"Last-Event-ID": seen}
    ) as answer:
        assert _first_id(answer) != seen
    service.ended(request_id)
    with service.http.stream("GET", f"/api/events/{request_id}") as answer:
        last = _first_id(answer)
    again = service.http.get(f"/api/events/{request_id}", headers={"Last-Event-ID": last})
    assert (again.status_code, again.content) == (204, b"")
    assert (
        service.http.get(f"/api/events/{request_id}", headers={"Last-Event-ID": seen}).status_code
        == 200
    )


def _first_id(answer: httpx.Response) -> str:
    return next(
        line.removeprefix("id: ") for line in answer.iter_lines() if line.startswith("id: ")
    )
