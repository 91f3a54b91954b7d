"""All HTTP that leaves halftone, for images and webhooks alike: one client, behind one guard.

The guard sits where connections are opened: a host is resolved once, every answer is judged
(halftone_shared.model.addresses), any bad one refuses the host, and the connection goes to a judged
address, so that a name that answers differently the next time has nothing to win. Redirects are
followed by the caller, hop by hop, through the same guard. Proxies from the environment are not
used: a proxy would resolve and connect for itself.
"""

import asyncio
import base64
import socket
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from functools import partial
from itertools import zip_longest
from typing import Any, Self, cast
from weakref import WeakValueDictionary

import certifi
import httpx

from halftone_shared.model.addresses import FetchRule
from halftone_workers.errors import BlockedAddress, HostNotFound
from halftone_workers.http.connection import SCRATCH_BYTES, Body, HttpConnection

# Of one worker process, in use or kept. At 300 ms an answer so many bring 3,300 images a second:
# more than two cores compress.
MAX_CONNECTIONS = 1000
KEEPALIVE_SECONDS = 15.0
# getaddrinfo ignores deadlines (20 s against a silent server), so it runs in threads that are
# waited for with what is left.
RESOLVER_THREADS = 16
# An address that is silent this long has another one tried. One lost packet is sent again after a
# second.
NEXT_ADDRESS_SECONDS = 2.0
# Where a request carries its Deadline, which the opening of its connection may put off.
_UNTIL = "until"


class Deadline:
    """One limit over everything in its block. Raises TimeoutError. Waiting that is our own puts it
    off, unless `counts_all`.
    """

    def __init__(self, seconds: float, *, counts_all: bool = False) -> None:
        self._timeout = asyncio.timeout(seconds)
        self._counts_all = counts_all

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self._timeout.__aexit__(*raised)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time spent in this block does not count: nobody's server is slow because we wait for a
        free slot.
        """
        if self._counts_all:
            yield
            return
        loop = asyncio.get_running_loop()
        when = self._timeout.when()
        left = None if when is None else when - loop.time()
        self._timeout.reschedule(None)
        try:
            yield
        finally:
            self._timeout.reschedule(None if left is None else loop.time() + left)


class _Place:
    """One of a semaphore's places, for a block. Waiting for it does not count against the deadline."""

    def __init__(self, places: asyncio.Semaphore, until: Deadline) -> None:
        self._places = places
        self._until = until

    async def __aenter__(self) -> None:
        if self._places.locked():
            with self._until.paused():
                await self._places.acquire()
        else:
            await self._places.acquire()

    async def __aexit__(self, *raised: object) -> None:
        self._places.release()


class OutgoingHttp:
    """The way out. Open it on the event loop that uses it."""

    def __init__(
        self,
        rule: FetchRule,
        *,
        connections_per_host: int,
        user_agent: str = "halftone",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._user_agent = user_agent
        self._connections_per_host = connections_per_host
        self._hosts: WeakValueDictionary[tuple[bytes, int | None], asyncio.Semaphore] = (
            WeakValueDictionary()
        )
        self._connections = asyncio.Semaphore(MAX_CONNECTIONS)
        # The transport alone: a client would keep cookies between strangers, and prepare redirects
        # by itself.
        self._transport = _Transport(GuardedNetwork(rule), tls or tls_context())

    async def close(self) -> None:
        await self._transport.aclose()

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        until: Deadline,
        *,
        headers: dict[str, str],
        content: bytes | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """One exchange, without following a redirect and without reading the body.

        Use `response.aiter_raw()`: httpx would undo any encoding that the answer claims, without
        bound. Waiting for a free connection, of the host's or of all, does not count against the
        deadline. Raises httpx.HTTPError, httpx.InvalidURL, BlockedAddress, HostNotFound.
        """
        parsed, extensions = httpx.URL(url), {_UNTIL: until}
        headers = _headers(parsed, self._user_agent) | headers
        request = httpx.Request(
            method, parsed, headers=headers, content=content, extensions=extensions
        )
        host = (request.url.raw_host, request.url.port)
        slots = self._hosts.setdefault(host, asyncio.Semaphore(self._connections_per_host))
        async with (
            _Place(slots, until),
            _Place(self._connections, until),
            aclosing(await self._transport.handle_async_request(request)) as response,
        ):
            yield response


def _headers(url: httpx.URL, user_agent: str) -> dict[str, str]:
    # httpx would read a host's name to write this, and raise what it raises where the name is none
    # by IDNA 2008.
    host = url.netloc.decode("ascii")
    common = {"Host": host, "User-Agent": user_agent, "Accept-Encoding": "identity"}
    if url.username or url.password:
        common["Authorization"] = (
            "Basic " + base64.b64encode(f"{url.username}:{url.password}".encode()).decode()
        )
    return common


def tls_context() -> ssl.SSLContext:
    """The machine's certificate authorities, and Mozilla's for machines that have none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class _Transport(httpx.AsyncBaseTransport):
    """Connections kept for the next request to the same origin.

    How many are in use at once is bounded outside, where waiting for one costs nobody's deadline;
    those that are kept make room for them.
    """

    def __init__(self, network: "GuardedNetwork", tls: ssl.SSLContext) -> None:
        self.network = network
        self._tls = tls
        self._scratch = memoryview(bytearray(SCRATCH_BYTES))
        # Each with its origin and the time of its coming back, in that order: the oldest is the
        # first to go.
        self._idle: dict[HttpConnection, tuple[_Origin, float]] = {}
        # In the order of their coming back too: there may be a thousand of an origin, and one
        # leaves from anywhere.
        self._by_origin: defaultdict[_Origin, dict[HttpConnection, None]] = defaultdict(dict)
        self._in_use = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        origin = (url.scheme, url.raw_host, url.port or (443 if url.scheme == "https" else 80))
        self._in_use += 1
        try:
            while kept := self._take(origin):
                try:
                    return await self._exchange(kept, origin, request)
                except (httpx.NetworkError, httpx.RemoteProtocolError):
                    # A server may close what it keeps at any time, as this request is on its way to
                    # it (RFC 9112, 9.5).
                    if kept.has_answered:
                        raise
            opened = await self._open(origin, request.extensions[_UNTIL])
            return await self._exchange(opened, origin, request)
        except BaseException:
            self._in_use -= 1
            raise

    async def _exchange(
        self, connection: HttpConnection, origin: "_Origin", request: httpx.Request
    ) -> httpx.Response:
        try:
            response = await connection.exchange(request)
        except BaseException:
            connection.close()
            raise
        cast("Body", response.stream).on_close = partial(self._give_back, connection, origin)
        return response

    async def aclose(self) -> None:
        while self._idle:
            self._drop(next(iter(self._idle)))

    async def _open(self, origin: "_Origin", until: Deadline) -> HttpConnection:
        if self._idle and len(self._idle) + self._in_use > MAX_CONNECTIONS:
            self._drop(next(iter(self._idle)))
        scheme, raw_host, port = origin
        host = raw_host.decode("ascii")
        connection = HttpConnection(self._scratch)
        connected = await self.network.connect(host, port, until)
        await connection.open(connected, self._tls if scheme == "https" else None, host)
        return connection

    def _take(self, origin: "_Origin") -> HttpConnection | None:
        """The one that came back last: where it is too old, all are."""
        self._drop_expired()
        if not (idle := self._by_origin.get(origin)):
            return None
        connection = next(reversed(idle))
        self._forget(connection)
        return connection

    def _give_back(self, connection: HttpConnection, origin: "_Origin", reusable: bool) -> None:
        self._in_use -= 1
        if not reusable:
            connection.close()
            return
        self._idle[connection] = origin, time.monotonic()
        self._by_origin[origin][connection] = None
        connection.wait_for_end(partial(self._drop, connection))
        self._drop_expired()

    def _drop_expired(self) -> None:
        expired = time.monotonic() - KEEPALIVE_SECONDS
        while self._idle and next(iter(self._idle.values()))[1] < expired:
            self._drop(next(iter(self._idle)))

    def _forget(self, connection: HttpConnection) -> None:
        connection.on_end = None
        origin, _ = self._idle.pop(connection)
        del self._by_origin[origin][connection]
        if not self._by_origin[origin]:
            del self._by_origin[origin]

    def _drop(self, connection: HttpConnection) -> None:
        self._forget(connection)
        connection.close()


_Origin = tuple[str, bytes, int]


class GuardedNetwork:
    """Opens connections to judged addresses only. The host's name stays, for Host, SNI and the
    certificate.
    """

    def __init__(self, rule: FetchRule) -> None:
        self._rule = rule
        self._free_resolvers = asyncio.Semaphore(RESOLVER_THREADS)
        self._open = _open_socket

    async def connect(self, host: str, port: int, until: Deadline) -> socket.socket:
        """A socket that is connected to one of the host's addresses. Raises BlockedAddress,
        HostNotFound, httpx.ConnectError.
        """
        addresses = await self._resolve(host, port, until)
        for address in addresses:
            if not self._rule.permits(address, port):
                raise BlockedAddress(
                    f"{host} port {port} is not on the public internet, or not on port 80 or 443."
                    " The operator can allow its network with HALFTONE_FETCH_ALLOW."
                )
        for last, address in enumerate(_by_turns(addresses), start=1 - len(addresses)):
            try:
                async with asyncio.timeout(NEXT_ADDRESS_SECONDS if last else None):
                    return await self._open(address, port)
            except OSError as error:
                if last == 0:
                    raise httpx.ConnectError(str(error)) from error
        raise HostNotFound(f"{host} has no address.", temporary=False)

    async def _resolve(self, host: str, port: int, until: Deadline) -> list[str]:
        with until.paused():
            await self._free_resolvers.acquire()
        # The thread stays busy with a silent name server long after we have stopped waiting for it.
        # A daemon, so that the program's end does not wait for it either.
        loop = asyncio.get_running_loop()
        looked_up: Future[list[str]] = Future()
        looked_up.set_running_or_notify_cancel()
        looked_up.add_done_callback(lambda _: _call_if_open(loop, self._free_resolvers.release))
        thread = threading.Thread(
            target=_look_up_for, args=(looked_up, host, port), name="resolver", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the machine has no room for another one
            looked_up.set_exception(
                HostNotFound(f"{host} cannot be looked up now.", temporary=True)
            )
        try:
            return await asyncio.wrap_future(looked_up)
        except socket.gaierror as error:
            temporary = error.errno == socket.EAI_AGAIN
            raise HostNotFound(f"{host} cannot be resolved.", temporary=temporary) from None
        except UnicodeError:
            raise HostNotFound(f"{host} is no host name.", temporary=False) from None


def _call_if_open(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop was closed meanwhile
        loop.call_soon_threadsafe(callback)


def _by_turns(addresses: list[str]) -> list[str]:
    """IPv4 and IPv6 by turns, the preferred one first (RFC 8305, 4): one of them may not work at
    all.
    """
    by_family: dict[bool, list[str]] = {}
    for address in addresses:
        by_family.setdefault(":" in address, []).append(address)
    return [address for turn in zip_longest(*by_family.values()) for address in turn if address]


async def _open_socket(address: str, port: int) -> socket.socket:
    opened = socket.socket(
        socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM
    )
    opened.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(opened, (address, port))
    except BaseException:
        opened.close()
        raise
    return opened


def _look_up_for(waiting: "Future[list[str]]", host: str, port: int) -> None:
    try:
        waiting.set_result(_look_up(host, port))
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
        waiting.set_exception(error)


def _look_up(host: str, port: int) -> list[str]:
    """Every address of a host, IPv4 and IPv6, each once, in the order of preference."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in answers))
