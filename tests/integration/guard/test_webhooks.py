"""Webhooks pass the same guard, and no receiver can hold up a worker."""

import time
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from halftone_shared.db.webhook_events import Delivery, DueEvent
from halftone_shared.model.addresses import FetchRule, parse_networks
from halftone_shared.model.signing import new_secret
from halftone_workers.http.client import OutgoingHttp
from halftone_workers.jobs import webhook
from tests.support.fetching import run
from tests.support.guarded import NO_EXCEPTIONS, PUBLIC, TLS, World, guarded
from tests.support.hostile import HostileServer, Visitor, answering, hostile_server, response


def _event(url: str) -> DueEvent:
    now = datetime.now(UTC)
    return DueEvent(
        uuid4(), uuid4(), 1, 0, due_at=now, claimed_at=now, url=url, sealed_secret=None, body="{}"
    )


def _deliver(
    world: World, url: str, rule: FetchRule = NO_EXCEPTIONS
) -> tuple[Delivery, float | None]:
    event = _event(url)

    async def work() -> tuple[Delivery, float | None]:
        async with guarded(world, rule) as http:
            return await webhook.post_event(http, event, new_secret())

    return run(work())


def test_webhook_reaches_a_public_receiver(world: World) -> None:
    delivery, _ = _deliver(world, "http://shop.test/hook")
    assert (delivery.status_code, delivery.error) == (200, None)
    assert world.internet.shop.requests[0].startswith(b"POST /hook HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "localhost", "169.254.169.254", "[::1]", "[::ffff:7f00:1]"]
)
def test_webhook_to_inside_is_blocked(world: World, host: str) -> None:
    delivery, _ = _deliver(world, f"http://{host}/hook")
    assert delivery.status_code is None
    assert delivery.error is not None
    assert world.internet.connects == []
    assert world.hits == 0


@pytest.mark.parametrize("host", ["xn--i-7iq.test", "xn--a.test", "xn--.test"])
def test_webhook_to_a_name_that_cannot_be_read_has_failed(world: World, host: str) -> None:
    delivery, _ = _deliver(world, f"http://{host}/hook")
    assert delivery.error == f"{host} cannot be resolved."


@pytest.mark.parametrize("answers", [[PUBLIC, "127.0.0.1"], ["10.0.0.1"]])
def test_webhook_to_a_name_with_a_bad_answer_is_blocked(world: World, answers: list[str]) -> None:
    world.names.names["hook.test"] = answers
    delivery, _ = _deliver(world, "http://hook.test/")
    assert delivery.error is not None
    assert world.internet.connects == []


@pytest.mark.parametrize(
    "location", [b"http://127.0.0.1/", b"http://shop.test/elsewhere", b"http://[::1/"]
)
def test_webhook_that_is_redirected_has_failed_and_is_not_followed(
    world: World, location: bytes
) -> None:
    world.locations[b"/hook"] = location
    delivery, _ = _deliver(world, "http://shop.test/hook")
    assert delivery.status_code == 302
    assert delivery.error is not None
    assert world.internet.connects == [(PUBLIC, 80)]
    assert world.hits == 0


_LOOPBACK = FetchRule(parse_networks(["127.0.0.0/8"]))


def _deliver_to(server: HostileServer) -> tuple[Delivery, float | None]:
    event = _event(server.url)

    async def work() -> tuple[Delivery, float | None]:
        http = OutgoingHttp(_LOOPBACK, connections_per_host=4, tls=TLS)
        try:
            return await webhook.post_event(http, event, new_secret())
        finally:
            await http.close()

    return run(work())


@pytest.mark.parametrize(
    ("status", "error"),
    [("200 OK", None), ("500 Oops", "The receiver answered 500.")],
    ids=["of success", "of failure"],
)
def test_endless_answer_of_a_webhook_is_not_read_to_its_end(status: str, error: str | None) -> None:
    def endless(visitor: Visitor) -> None:
        visitor.read_request()
        visitor.send(f"HTTP/1.1 {status}\r\nConnection: close\r\n\r\n".encode())
        while True:
            visitor.send(bytes(65536))

    with hostile_server(endless) as server:
        delivery, _ = _deliver_to(server)
        assert delivery.error == error
        assert server.bytes_sent < 20_000_000


def test_slow_answer_of_a_webhook_counts_when_its_status_came_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook, "ATTEMPT_TIMEOUT_SECONDS", 0.4)

    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"

    def trickling(visitor: Visitor) -> None:
        visitor.read_request()
        visitor.send(head)
        while True:
            visitor.send(b"x")
            visitor.pause(0.05)

    with hostile_server(trickling) as server:
        delivery, _ = _deliver_to(server)
        assert server.bytes_sent < len(head) + 100, "its end, five seconds later, was waited for"
        assert (delivery.status_code, delivery.error) == (200, None)


def test_silent_receiver_of_a_webhook_is_given_up_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook, "ATTEMPT_TIMEOUT_SECONDS", 0.4)
    with hostile_server(Visitor.wait_until_gone) as server:
        started = time.monotonic()
        delivery, _ = _deliver_to(server)
        assert 0.4 <= time.monotonic() - started < 5
        assert delivery.status_code is None
        assert delivery.error is not None


def test_retry_after_of_a_webhook_is_handed_on() -> None:
    with hostile_server(
        answering(response("429 Slow down", headers={"Retry-After": "77"}))
    ) as server:
        delivery, asked = _deliver_to(server)
    assert (delivery.status_code, asked) == (429, 77)


def test_time_zone_that_cannot_be_does_not_lose_the_delivery() -> None:
    header = {"Retry-After": "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"}
    with hostile_server(answering(response("503 Busy", headers=header))) as server:
        delivery, asked = _deliver_to(server)
    assert (delivery.status_code, asked) == (503, None)
