"""What fetches share: connections to a host, and memory."""

import asyncio
import threading

import pytest

from halftone_workers.errors import FetchFailed
from halftone_workers.http import client as http_client
from halftone_workers.http.fetching import ImageFetcher
from tests.support.fetching import BODY, fetch_all, fetched, fetcher_of, run
from tests.support.halftone import wait_for
from tests.support.hostile import HostileServer, Visitor, answering, hostile_server, response


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
            for _ in range(3):
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
