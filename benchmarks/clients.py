"""What fetching an image costs with our own connections, with httpcore, and with aiohttp.

`python -m benchmarks.clients`: processor time of this process for each image. Every client refuses
the addresses that the guard forbids, sends the same headers, and reads the body to its end. The
rounds alternate, so that other work on the machine reaches all of them.
"""

import asyncio
import socket
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, closing

import aiohttp
import httpcore
import uvloop

from benchmarks.origin import running_origin
from benchmarks.photos import LARGE, SMALL, photos
from halftone_shared.model.addresses import FetchRule, parse_networks
from halftone_workers.errors import BlockedAddress
from halftone_workers.http.client import OutgoingHttp, tls_context
from halftone_workers.http.connection import Body, request_bytes
from halftone_workers.http.deadline import Deadline
from halftone_workers.http.hosts import Hosts
from halftone_workers.http.parsed_url import parsed_url
from halftone_workers.http.pool import ConnectionPool
from halftone_workers.sharing import NOBODY

AT_ONCE, IMAGES, ROUNDS = 32, 2000, 7
HEADERS = {
    "User-Agent": "halftone",
    "Accept": "image/*, */*;q=0.5",
    "Accept-Encoding": "identity",
}
LOOPBACK = FetchRule(parse_networks(["127.0.0.0/8"]))
Fetch = Callable[[str], Awaitable[int]]
"""Fetches a URL and returns the bytes of the body."""


@asynccontextmanager
async def _whole_client() -> AsyncIterator[Fetch]:
    """The worker's client: limits for hosts and in total, in turns by owner, and a deadline."""
    http = OutgoingHttp(LOOPBACK, connections_per_host=AT_ONCE)

    async def fetch(url: str) -> int:
        async with (
            Deadline(30) as until,
            http.request("GET", url, until, headers=HEADERS) as answer,
        ):
            return await _read(answer.body)

    yield fetch
    await http.close()


@asynccontextmanager
async def _own_connections() -> AsyncIterator[Fetch]:
    """Our pool and connections without the limits above them: what a library would replace."""
    pool = ConnectionPool(
        LOOPBACK, tls_context(), max_connections=AT_ONCE, connections_per_address=AT_ONCE
    )
    hosts = Hosts(AT_ONCE)

    async def fetch(url: str) -> int:
        parsed = parsed_url(url)
        request = request_bytes("GET", parsed, {"Host": parsed.netloc, **HEADERS}, None)
        async with Deadline(30) as until:
            answer = await pool.exchange(parsed, request, hosts.of(parsed), until, NOBODY)
            with closing(answer):
                return await _read(answer.body)

    yield fetch
    await pool.close()


async def _read(body: Body) -> int:
    data = bytearray(body.declared_bytes or 0)
    await body.read_into(memoryview(data))
    return len(data)


class _GuardedBackend(httpcore.AnyIOBackend):
    """httpcore's own network, behind the guard: resolve, check, connect to the checked address."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore asks for it
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        address = str(found[0][4][0])
        if not LOOPBACK.permits(address, port):
            raise BlockedAddress(address)
        return await super().connect_tcp(address, port, timeout, local_address, socket_options)


@asynccontextmanager
async def _httpcore() -> AsyncIterator[Fetch]:
    async with httpcore.AsyncConnectionPool(
        max_connections=AT_ONCE,
        max_keepalive_connections=AT_ONCE,
        network_backend=_GuardedBackend(),
    ) as pool:

        async def fetch(url: str) -> int:
            async with pool.stream("GET", url, headers=list(HEADERS.items())) as answer:
                return len(b"".join([part async for part in answer.aiter_stream()]))

        yield fetch


@asynccontextmanager
async def _aiohttp() -> AsyncIterator[Fetch]:
    def guarded(address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, (name, port, *_) = address
        if not LOOPBACK.permits(str(name), int(port)):
            raise BlockedAddress(str(name))
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(limit=AT_ONCE, socket_factory=guarded)
    async with aiohttp.ClientSession(connector=connector, headers=HEADERS) as session:

        async def fetch(url: str) -> int:
            async with session.get(url, allow_redirects=False) as answer:
                return len(await answer.read())

        yield fetch


CLIENTS: dict[str, Callable[[], AbstractAsyncContextManager[Fetch]]] = {
    "the worker's client, with its limits": _whole_client,
    "our connections alone": _own_connections,
    "httpcore with network_backend": _httpcore,
    "aiohttp with socket_factory": _aiohttp,
}


async def _measure(urls: Sequence[str]) -> dict[str, list[float]]:
    """Milliseconds of processor time for each image, by client and round."""
    spent: dict[str, list[float]] = {name: [] for name in CLIENTS}
    async with AsyncExitStack() as stack:
        fetchers = {name: await stack.enter_async_context(make()) for name, make in CLIENTS.items()}
        for round_ in range(ROUNDS + 1):
            for name, fetch in fetchers.items():
                started = time.process_time()
                await _fetch_all(fetch, urls)
                if round_:  # the first one opens the connections
                    spent[name].append(1000 * (time.process_time() - started) / IMAGES)
    return spent


async def _fetch_all(fetch: Fetch, urls: Sequence[str]) -> None:
    waiting = iter(urls[number % len(urls)] for number in range(IMAGES))

    async def fetch_some() -> None:
        for url in waiting:
            assert await fetch(url) > 0

    await asyncio.gather(*(fetch_some() for _ in range(AT_ONCE)))


def main() -> None:
    for size in (SMALL, LARGE):
        files = photos(size)
        mean = sum(path.stat().st_size for path in files) / len(files) / 1000
        with running_origin(files) as urls:
            spent = uvloop.run(_measure(urls))
        print(f"{size[0]} x {size[1]}, {mean:.0f} kB: milliseconds of processor time an image")
        for name, rounds in spent.items():
            low, high = min(rounds), max(rounds)
            print(f"  {name:38} {statistics.median(rounds):.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
