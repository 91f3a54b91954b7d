"""What fetches share: the connections to a host, and memory."""

import asyncio
import threading
from uuid import uuid4

import httpx
import pytest

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_workers.errors import FetchFailed, HostBusy
from halftone_workers.http import client as http_client
from halftone_workers.http import hosts
from halftone_workers.http.fetching import ImageFetcher
from halftone_workers.sharing import Who
from tests.support.fetching import BODY, fetch_all, fetched, fetcher_of, run
from tests.support.halftone import wait_for
from tests.support.hostile import (
    HostileServer,
    StubResolver,
    Visitor,
    answering,
    hostile_server,
    response,
)


@pytest.mark.parametrize("keep_alive", [True, False], ids=["kept alive", "closed each time"])
def test_connections_to_a_host_never_exceed_the_cap(keep_alive: bool) -> None:
    lock, running, most = threading.Lock(), [0], [0]

    def counting(visitor: Visitor) -> None:
        while True:
            visitor.read_request()
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            visitor.pause(0.02)
            with lock:
                running[0] -= 1
            visitor.send(response(body=BODY, headers={} if keep_alive else {"Connection": "close"}))
            if not keep_alive:
                return

    async def work(url: str) -> list[bytes | bytearray]:
        async with fetcher_of(per_host=3) as fetcher:
            return await fetch_all(fetcher, [f"{url}/{number}" for number in range(40)])

    with hostile_server(counting) as server:
        assert run(work(server.url)) == [BODY] * 40
        assert most[0] == 3
        if keep_alive:
            assert server.most_open == server.accepts == 3


def test_kept_connections_make_room_for_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "MAX_CONNECTIONS", 4)

    def pausing(visitor: Visitor) -> None:
        while True:
            visitor.read_request()
            visitor.pause(0.05)
            visitor.send(response(body=BODY))

    async def opened(
        fetcher: ImageFetcher, server: HostileServer, images: int, open_in_each: tuple[int, int]
    ) -> int:
        assert await fetch_all(fetcher, [server.url] * images) == [BODY] * images
        await asyncio.to_thread(
            wait_for, lambda: (first.open_now, second.open_now) == open_in_each, seconds=2
        )
        return first.accepts + second.accepts

    async def work() -> None:
        async with fetcher_of(per_host=3) as fetcher:
            assert await opened(fetcher, first, 3, (3, 0)) == 3
            assert await opened(fetcher, second, 1, (3, 1)) == 4
            assert await opened(fetcher, second, 3, (1, 3)) == 6
            assert await opened(fetcher, first, 1, (1, 3)) == 6
            assert await opened(fetcher, first, 2, (2, 2)) == 7

    with hostile_server(pausing) as first, hostile_server(pausing) as second:
        run(work())


def test_hosts_do_not_wait_for_each_other() -> None:
    async def work(slow: str, quick: str) -> None:
        async with fetcher_of(per_host=1, timeout=2) as fetcher:
            stuck = asyncio.ensure_future(fetch_all(fetcher, [slow, slow]))
            await asyncio.sleep(0.05)
            async with asyncio.timeout(1):
                assert await fetch_all(fetcher, [quick]) == [BODY]
            stuck.cancel()
            await asyncio.gather(stuck, return_exceptions=True)

    with (
        hostile_server(Visitor.wait_until_gone) as slow,
        hostile_server(answering(response(body=BODY))) as quick,
    ):
        run(work(slow.url, quick.url))


@pytest.mark.parametrize(
    "broken", ["timeout", "status", "redirect", "too large", "cancelled", "hung up"]
)
def test_failure_gives_its_slot_and_its_memory_back(broken: str) -> None:
    def script(visitor: Visitor) -> None:
        while True:
            if b"/good" in visitor.read_request():
                visitor.send(response(body=BODY))
            elif broken == "status":
                visitor.send(response("404 Not Found"))
            elif broken == "redirect":
                visitor.send(response("302 Found", headers={"Location": "ftp://x/"}))
            elif broken == "too large":
                visitor.send(
                    response(body=bytes(20_000), headers={"Connection": "close"}, told=False)
                )
                return
            elif broken == "hung up":
                visitor.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
                return
            else:
                visitor.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10240\r\n\r\nabc")
                visitor.wait_until_gone()

    async def work(url: str) -> None:
        async with fetcher_of(
            per_host=1, budget_bytes=len(BODY), max_bytes=len(BODY), timeout=0.3
        ) as fetcher:
            for _ in range(hosts.OPEN_AFTER - 1):
                job = asyncio.ensure_future(fetch_all(fetcher, [f"{url}/bad"]))
                if broken == "cancelled":
                    await asyncio.sleep(0.1)
                    job.cancel()
                (failure,) = await asyncio.gather(job, return_exceptions=True)
                assert isinstance(failure, FetchFailed | asyncio.CancelledError)
            async with asyncio.timeout(2):
                assert await fetch_all(fetcher, [f"{url}/good"]) == [BODY]

    with hostile_server(script) as server:
        run(work(server.url))


@pytest.mark.parametrize("told", [True, False], ids=["told lengths", "chunked"])
def test_images_in_memory_never_exceed_the_budget(told: bool) -> None:
    body = bytes(9_000_000)
    if told:
        answer = response(body=body)
    else:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    held, most = 0, 0

    async def one(fetcher: ImageFetcher, url: str) -> None:
        nonlocal held, most
        async with fetched(fetcher, url) as image:
            held += len(image)
            most = max(most, held)
            await asyncio.sleep(0.05)
            held -= len(image)

    async def work(url: str) -> None:
        async with fetcher_of(max_bytes=10_000_000, budget_bytes=17_000_000) as fetcher:
            await asyncio.gather(*(one(fetcher, url) for _ in range(4)))

    with hostile_server(answering(answer)) as server:
        run(work(server.url))
    assert most <= 17_000_000


def _who() -> Who:
    return Who(uuid4(), uuid4())


def test_address_has_a_cap_whatever_the_number_of_its_names(resolver: StubResolver) -> None:
    """Otherwise one upload with wildcard names could open 700 connections to one server."""
    names = [f"{number}.shop.test" for number in range(60)]
    resolver.names |= {name: ["127.0.0.1"] for name in names}

    def slow(visitor: Visitor) -> None:
        while True:
            visitor.read_request()
            visitor.pause(0.05)
            visitor.send(response(body=BODY))

    async def work(port: int) -> list[bytes | bytearray]:
        async with fetcher_of(per_host=2) as fetcher:
            return await fetch_all(fetcher, [f"http://{name}:{port}/" for name in names])

    with hostile_server(slow) as server:
        assert run(work(server.port)) == [BODY] * 60
        # The server may notice a closed connection a moment late.
        assert server.most_open <= 2 * http_client.NAMES_PER_ADDRESS + 2


def test_image_that_gets_no_place_at_its_host_is_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hosts, "PATIENCE_SECONDS", 0.1)

    async def work(url: str) -> float:
        async with fetcher_of(per_host=1) as fetcher:
            stuck = asyncio.ensure_future(fetcher.fetch(url))
            await asyncio.sleep(0.05)
            with pytest.raises(HostBusy):
                await fetcher.fetch(url)
            stuck.cancel()
            await asyncio.gather(stuck, return_exceptions=True)
            host: hosts.Host = fetcher._http.hosts.of(httpx.URL(url))
            appointments = [host.appointment_seconds(1) for _ in range(2)]
            assert 0 < appointments[0] < appointments[1] + 0.3
            return appointments[0]

    with hostile_server(Visitor.wait_until_gone) as server:
        assert run(work(server.url)) < 2


def test_host_gives_its_places_by_owner_then_by_request() -> None:
    order: list[bytes] = []

    def script(visitor: Visitor) -> None:
        while True:
            order.append(visitor.read_request().split(b" ")[1])
            visitor.pause(0.02)
            visitor.send(response(body=BODY))

    async def work(url: str) -> None:
        first, second = _who(), _who()
        other_request = Who(first.owner, uuid4())
        async with fetcher_of(per_host=1) as fetcher:
            wanted = [(f"/a{n}", first) for n in range(6)]
            wanted += [("/b0", other_request), ("/c0", second), ("/c1", second)]
            jobs = [asyncio.ensure_future(fetcher.fetch(url + path, who)) for path, who in wanted]
            await asyncio.sleep(0.01)
            for image in await asyncio.gather(*jobs):
                image.reserved.give_back()

    with hostile_server(script) as server:
        run(work(server.url))
    assert order[0] == b"/a0"
    assert order.index(b"/c0") < order.index(b"/a2")
    assert order.index(b"/b0") < order.index(b"/a3")
    assert order.index(b"/c1") < order.index(b"/a3")


def test_silent_host_is_left_alone_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "FIRST_PAUSE_SECONDS", 0.6)
    silent = [True]

    def script(visitor: Visitor) -> None:
        visitor.read_request()
        if silent[0]:
            visitor.wait_until_gone()
        visitor.send(response(body=BODY, headers={"Connection": "close"}))

    async def failed(fetcher: ImageFetcher, url: str, who: Who) -> FetchFailed:
        with pytest.raises(FetchFailed) as failure:
            await fetcher.fetch(url, who)
        assert failure.value.error.code is ImageErrorCode.TIMEOUT
        assert failure.value.error.retryable
        return failure.value

    async def work(url: str) -> None:
        who, another = _who(), _who()
        async with fetcher_of(timeout=0.15) as fetcher:
            for _ in range(hosts.OPEN_AFTER):
                assert (await failed(fetcher, url, who)).silent_host is None
            asked = len(server.requests)
            down = await failed(fetcher, url, who)
            assert down.silent_host == f"127.0.0.1:{server.port}"
            assert 0 < (down.retry_after_seconds or 0) < 1
            assert len(server.requests) == asked
            await failed(fetcher, url, another)  # one owner's failures do not count for others
            assert len(server.requests) == asked + 1
            silent[0] = False
            await asyncio.sleep(down.retry_after_seconds or 0)
            assert await fetch_all(fetcher, [url]) == [BODY]
            image = await fetcher.fetch(url, who)
            image.reserved.give_back()

    with hostile_server(script) as server:
        run(work(server.url))


def test_memory_is_taken_by_what_arrives_not_by_what_is_announced() -> None:
    """Otherwise slow images that announce 50 MB would hold all memory for 30 s."""

    def dripping(visitor: Visitor) -> None:
        visitor.read_request()
        visitor.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
        while True:
            visitor.send(b"x")
            visitor.pause(0.02)

    async def work(drip: str, good: str) -> None:
        async with fetcher_of(
            max_bytes=60_000_000, budget_bytes=100_000_000, per_host=20
        ) as fetcher:
            dripping = [asyncio.ensure_future(fetcher.fetch(drip, _who())) for _ in range(20)]
            await asyncio.sleep(0.1)
            async with asyncio.timeout(1):
                assert await fetch_all(fetcher, [good] * 4) == [BODY] * 4
            for job in dripping:
                job.cancel()
            await asyncio.gather(*dripping, return_exceptions=True)

    with (
        hostile_server(dripping) as drip,
        hostile_server(answering(response(body=BODY))) as good,
    ):
        run(work(drip.url, good.url))


def test_owner_leaves_memory_and_connections_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "MAX_CONNECTIONS", 20)

    async def work(silent: str, good: str) -> None:
        async with fetcher_of(per_host=50, timeout=5) as fetcher:
            hog = _who()
            stuck = [asyncio.ensure_future(fetcher.fetch(silent, hog)) for _ in range(50)]
            await asyncio.sleep(0.1)
            async with asyncio.timeout(1):
                image = await fetcher.fetch(good, _who())
                image.reserved.give_back()
            for job in stuck:
                job.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)

    with (
        hostile_server(Visitor.wait_until_gone) as silent,
        hostile_server(answering(response(body=BODY))) as good,
    ):
        run(work(silent.url, good.url))
        assert silent.most_open == 14  # more than twice as many as are free then
