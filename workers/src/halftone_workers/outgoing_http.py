"""All HTTP that leaves halftone, for images and webhooks alike: one client, behind one guard.

The guard sits where connections are opened: a host is resolved once, every answer is judged
(halftone_shared.addresses), any bad one refuses the host, and the connection goes to a judged address, so that a name
that answers differently the next time has nothing to win. Redirects are followed by the caller, hop by hop, through the
same guard. Proxies from the environment are not used: a proxy would resolve and connect for itself.
"""

import asyncio
import base64
import socket
import ssl
from collections import defaultdict
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import Any, cast
from weakref import WeakValueDictionary

import certifi
import httpcore
import httpx

from halftone_shared.addresses import FetchRule

MAX_CONNECTIONS = 200
MAX_IDLE_CONNECTIONS = 100
KEEPALIVE_SECONDS = 15.0
# getaddrinfo ignores deadlines (20 s against a silent server), so it runs in threads that are waited for with what is
# left.
RESOLVER_THREADS = 16
USER_AGENT = "halftone/0.1"


class BlockedAddress(Exception):
    """A host whose address, or a port which, may not be fetched from. No subclass of a connection error, and never
    retried.
    """


class HostNotFound(Exception):
    """The name does not resolve. `temporary`: the resolver failed, not the name."""

    def __init__(self, message: str, *, temporary: bool) -> None:
        super().__init__(message)
        self.temporary = temporary


class Deadline:
    """A moment after which everything inside `deadline()` is cancelled, which can be put off by waiting that is our
    own.
    """

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self._timeout = timeout

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time spent in this block does not count: nobody's server is slow because we wait for a free slot."""
        loop = asyncio.get_running_loop()
        when = self._timeout.when()
        left = None if when is None else when - loop.time()
        self._timeout.reschedule(None)
        try:
            yield
        finally:
            self._timeout.reschedule(None if left is None else loop.time() + left)


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[Deadline]:
    """One limit over everything in the block. Raises TimeoutError."""
    async with asyncio.timeout(seconds) as timeout:
        yield Deadline(timeout)


# The deadline of the exchange under way, for what the connection's opening waits for.
_until: ContextVar[Deadline] = ContextVar("until")


class OutgoingHttp:
    """The way out. Open it on the event loop that uses it."""

    def __init__(self, rule: FetchRule, *, connections_per_host: int, tls: ssl.SSLContext | None = None) -> None:
        self._connections_per_host = connections_per_host
        self._hosts: WeakValueDictionary[tuple[str, int | None], asyncio.Semaphore] = WeakValueDictionary()
        self._connections = asyncio.Semaphore(MAX_CONNECTIONS)
        # The transport alone: a client would keep cookies between strangers, and prepare redirects by itself.
        self._transport = _GuardedTransport(rule, tls or _tls_context())

    async def close(self) -> None:
        await self._transport.aclose()

    @asynccontextmanager
    async def request(
        self, method: str, url: str, until: Deadline, *, headers: dict[str, str], content: bytes | None = None
    ) -> AsyncIterator[httpx.Response]:
        """One exchange, without following a redirect and without reading the body.

        Use `response.aiter_raw()`: httpx would undo any encoding that the answer claims, without bound. Waiting for a
        free connection, of the host's or of all, does not count against the deadline. Raises httpx.HTTPError,
        httpx.InvalidURL, BlockedAddress, HostNotFound.
        """
        request = httpx.Request(method, url, headers=_headers(url, headers), content=content)
        host = (request.url.host, request.url.port)
        slots = self._hosts.setdefault(host, asyncio.Semaphore(self._connections_per_host))
        async with AsyncExitStack() as held:
            with until.paused():
                await held.enter_async_context(slots)
                await held.enter_async_context(self._connections)
            _until.set(until)
            response = await self._transport.handle_async_request(request)
            response.request = request
            held.push_async_callback(response.aclose)
            yield response


def _headers(url: str, headers: dict[str, str]) -> dict[str, str]:
    common = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    name, password = httpx.URL(url).username, httpx.URL(url).password
    if name or password:
        common["Authorization"] = "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
    return common | headers


def _tls_context() -> ssl.SSLContext:
    """The machine's certificate authorities, and Mozilla's for machines that have none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class _GuardedTransport(httpx.AsyncHTTPTransport):
    def __init__(self, rule: FetchRule, tls: ssl.SSLContext) -> None:
        super().__init__(verify=tls, trust_env=False)
        # httpx takes no network backend, so its pool, a private attribute, is replaced by one that has ours; tests see
        # whether the guard was asked.
        self._pool = _Connections(GuardedBackend(rule), tls)  # type: ignore[assignment]


class _Connections:
    """Connections kept for the next request to the same origin.

    In place of httpcore's pool, which looks at every connection on every request: that was a third of a worker's time.
    How many there are at once is bounded outside, where waiting for one costs nobody's deadline.
    """

    def __init__(self, backend: "GuardedBackend", tls: ssl.SSLContext) -> None:
        self._network_backend = backend
        self._tls = tls
        # In the order in which they came back: the oldest is the first to go.
        self._idle: dict[httpcore.AsyncHTTPConnection, _OriginKey] = {}
        self._by_origin: defaultdict[_OriginKey, list[httpcore.AsyncHTTPConnection]] = defaultdict(list)

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        origin = request.url.origin
        key = (origin.scheme, origin.host, origin.port)
        connection = await self._take(key) or httpcore.AsyncHTTPConnection(
            origin, ssl_context=self._tls, keepalive_expiry=KEEPALIVE_SECONDS, network_backend=self._network_backend
        )
        try:
            response = await connection.handle_async_request(request)
        except BaseException:
            await asyncio.shield(connection.aclose())
            raise
        body = _Body(cast("AsyncIterable[bytes]", response.stream), partial(self._give_back, connection, key))
        return httpcore.Response(
            response.status, headers=response.headers, content=body, extensions=response.extensions
        )

    async def aclose(self) -> None:
        while self._idle:
            await self._drop(next(iter(self._idle)))

    async def _take(self, key: "_OriginKey") -> httpcore.AsyncHTTPConnection | None:
        while idle := self._by_origin.get(key):
            connection = idle[-1]
            if not connection.has_expired():
                self._forget(connection)
                return connection
            await self._drop(connection)
        return None

    async def _give_back(self, connection: httpcore.AsyncHTTPConnection, key: "_OriginKey") -> None:
        if not connection.is_idle():
            await connection.aclose()
            return
        self._idle[connection] = key
        self._by_origin[key].append(connection)
        oldest = next(iter(self._idle))
        if len(self._idle) > MAX_IDLE_CONNECTIONS or oldest.has_expired():
            await self._drop(oldest)

    def _forget(self, connection: httpcore.AsyncHTTPConnection) -> None:
        key = self._idle.pop(connection)
        self._by_origin[key].remove(connection)
        if not self._by_origin[key]:
            del self._by_origin[key]

    async def _drop(self, connection: httpcore.AsyncHTTPConnection) -> None:
        self._forget(connection)
        await connection.aclose()


_OriginKey = tuple[bytes, bytes, int]


class _Body:
    """A response's body, which gives its connection back when it is closed, read to its end or not."""

    def __init__(self, stream: AsyncIterable[bytes], give_back: Callable[[], Awaitable[None]]) -> None:
        self._stream = stream
        self._give_back = give_back
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            await asyncio.shield(self._close())

    async def _close(self) -> None:
        await cast("Any", self._stream).aclose()
        await self._give_back()


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to judged addresses only. The host's name stays, for Host, SNI and the certificate."""

    def __init__(self, rule: FetchRule) -> None:
        self._rule = rule
        self._network = httpcore.AnyIOBackend()
        self._resolvers = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolver")
        self._free_resolvers = asyncio.Semaphore(RESOLVER_THREADS)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._resolve(host, port)
        for address in addresses:
            if not self._rule.permits(address, port):
                raise BlockedAddress(f"{host} port {port} is not on the public internet, or not on port 80 or 443.")
        for last, address in enumerate(addresses, start=1 - len(addresses)):
            try:
                return _Stream(await self._network.connect_tcp(address, port, timeout, local_address, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if last == 0:
                    raise
        raise HostNotFound(f"{host} has no address.", temporary=False)

    async def _resolve(self, host: str, port: int) -> list[str]:
        with _until.get().paused():
            await self._free_resolvers.acquire()
        # The thread stays busy with a silent name server long after we have stopped waiting for it.
        loop = asyncio.get_running_loop()
        looked_up = self._resolvers.submit(_look_up, host, port)
        looked_up.add_done_callback(lambda _: _call_if_open(loop, self._free_resolvers.release))
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


class _Stream(httpcore.AsyncNetworkStream):
    """A connection that mends what the network layer below leaves to chance.

    It is closed when its handshake is cancelled, and TLS that breaks later is a broken connection.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        try:
            return await self._stream.read(max_bytes, timeout)
        except ssl.SSLError as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        try:
            await self._stream.write(buffer, timeout)
        except ssl.SSLError as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        try:
            return _Stream(await self._stream.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:
            await asyncio.shield(self._stream.aclose())
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _look_up(host: str, port: int) -> list[str]:
    """Every address of a host, IPv4 and IPv6, each once, in the order of preference."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in answers))
