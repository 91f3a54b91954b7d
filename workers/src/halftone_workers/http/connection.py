"""One HTTP/1.1 connection: an exchange at a time, read only when somebody asks for more.

h11 reads and writes what has a grammar. A body of a told length has none, and goes from the socket
to where it is wanted without passing through anything: with httpcore, anyio and h11 in between it
was half of a worker's work.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import h11
import httpx

# A head is refused beyond this size.
MAX_HEAD_BYTES = 100 * 1024
# Room for what uvloop decrypts at once, 256 KiB and a record: what did not fit would be lost where
# the connection ends.
SCRATCH_BYTES = 320 * 1024
# As much goes on its way before others have their turn: a hostile server's chunks of a byte each
# take h11 half a second for it. Without TLS no more is read at once: what of a body comes with its
# head is copied twice.
TURN_BYTES = 64 * 1024
_WITHOUT_BODY = frozenset({204, 304})


class HttpConnection(asyncio.BufferedProtocol):
    """A connection over an open socket. `scratch` is what it reads into; connections of one event
    loop may share it.
    """

    def __init__(self, scratch: memoryview) -> None:
        self._scratch = scratch
        self._target: memoryview | None = None
        self._received: deque[bytes] = deque()
        self._has_ended = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_paused = False
        self.has_answered = False
        self.on_end: Callable[[], None] | None = None

    async def open(self, connected: socket.socket, tls: ssl.SSLContext | None, host: str) -> None:
        """Take over a connected socket. Raises httpx.ConnectError, from what TLS had to say."""
        loop = asyncio.get_running_loop()
        if tls is None:
            self._scratch = self._scratch[:TURN_BYTES]
        name = (
            host.rstrip(".") if tls else None
        )  # no certificate has the dot that may end a name (RFC 6066, 3)
        try:
            await loop.create_connection(
                lambda: self, sock=connected, ssl=tls, server_hostname=name
            )
            if tls:
                # While we read nothing, uvloop is not to see the connection's end: it throws away
                # what came before.
                cast("Any", self._transport).set_read_buffer_limits(high=1)
        except OSError as error:
            connected.close()
            raise httpx.ConnectError(str(error)) from error
        except BaseException:
            connected.close()
            raise

    async def exchange(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and its answer's head. The body is the response's stream, a Body. Raises
        httpx.HTTPError; `has_answered` then tells whether any byte of an answer had come.
        """
        self.has_answered = False
        protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        try:
            self._send(protocol, request)
            head = await self._head(protocol)
        except h11.LocalProtocolError as error:
            raise httpx.LocalProtocolError(str(error)) from error
        except h11.RemoteProtocolError as error:
            raise httpx.RemoteProtocolError(str(error)) from error
        body = Body(self, protocol, head)
        return httpx.Response(
            head.status_code, headers=head.headers.raw_items(), stream=body, request=request
        )

    def _send(self, protocol: h11.Connection, request: httpx.Request) -> None:
        content = request.content
        parts = [
            protocol.send(
                h11.Request(
                    method=request.method, target=request.url.raw_path, headers=request.headers.raw
                )
            ),
            protocol.send(h11.Data(data=content)) if content else b"",
            protocol.send(h11.EndOfMessage()),
        ]
        self._transport.write(b"".join(part for part in parts if part))

    async def _head(self, protocol: h11.Connection) -> h11.Response:
        while not isinstance(event := protocol.next_event(), h11.Response):
            if event is h11.NEED_DATA:
                protocol.receive_data(await self.receive())
            elif not isinstance(event, h11.InformationalResponse):
                raise httpx.RemoteProtocolError(
                    "The server closed the connection without an answer."
                )
        return event

    async def receive(self) -> bytes:
        """The next bytes; empty at the end. Raises httpx.ReadError."""
        if self._received:
            await asyncio.sleep(0)
        elif not self._has_ended:
            await self._wait()
        if self._received:
            return self._received.popleft()
        self._check()
        return b""

    async def receive_into(self, target: memoryview) -> None:
        """Fill all of it. Raises httpx.HTTPError."""
        while target and self._received:
            part = self._received.popleft()
            target[: len(part)] = part[: len(target)]
            if len(part) > len(target):
                self._received.appendleft(part[len(target) :])
            target = target[len(part) :]
        if not target:
            return
        self._target = target
        try:
            if not self._has_ended:
                await self._wait()
            if self._target:
                self._check()
                raise httpx.RemoteProtocolError(
                    "The connection was closed before the body was whole."
                )
        finally:
            self._target = None

    def close(self) -> None:
        self.on_end = None
        self._transport.abort()

    def is_quiet(self) -> bool:
        """Whether it is open and has nothing to say: what comes between two exchanges belongs to
        neither.
        """
        return not self._has_ended and not self._received

    def wait_for_end(self, on_end: Callable[[], None]) -> None:
        """Between two exchanges: notice when the server hangs up, or says something."""
        self.on_end = on_end
        self._resume()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        self._resume()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _check(self) -> None:
        if self._error is not None:
            raise httpx.ReadError(str(self._error)) from self._error

    def _resume(self) -> None:
        if self._is_paused and not self._has_ended and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()

    def _pause(self) -> None:
        if not self._is_paused and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        elif self.on_end is not None:
            self.on_end()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._target or self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        self.has_answered = True
        if self._target:
            self._target = self._target[nbytes:]
            if self._target:
                return
        else:
            self._received += (
                bytes(self._scratch[at : min(at + TURN_BYTES, nbytes)])
                for at in range(0, nbytes, TURN_BYTES)
            )
        self._pause()
        self._wake()

    def eof_received(self) -> None:
        self._has_ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_ended, self._error = True, exc
        self._wake()


class Body(httpx.AsyncByteStream):
    """An answer's body. `told_bytes` is its length where the head tells it; then `read_into` is the
    quick way.
    """

    def __init__(
        self, connection: HttpConnection, protocol: h11.Connection, head: h11.Response
    ) -> None:
        self._connection = connection
        self._protocol = protocol
        headers = dict(head.headers)
        self.told_bytes: int | None = None
        if b"transfer-encoding" not in headers and b"content-length" in headers:
            self.told_bytes = (
                0 if head.status_code in _WITHOUT_BODY else int(headers[b"content-length"])
            )
        self._keeps_alive = (
            head.http_version == b"1.1" and b"close" not in headers.get(b"connection", b"").lower()
        )
        self._is_whole = False
        self.on_close: Callable[[bool], None] = lambda _: connection.close()

    async def read_into(self, target: memoryview) -> None:
        """Read all of a body of told length. Raises httpx.HTTPError."""
        early, _ = self._protocol.trailing_data
        target[: len(early)] = early[: len(target)]
        await self._connection.receive_into(target[len(early) :])
        self._is_whole = len(early) <= len(target)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while not isinstance(event := self._protocol.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Data):
                    yield bytes(event.data)
                else:
                    self._protocol.receive_data(await self._connection.receive())
        except h11.RemoteProtocolError as error:
            raise httpx.RemoteProtocolError(str(error)) from error
        self._is_whole = (
            self._protocol.their_state is h11.DONE and not self._protocol.trailing_data[0]
        )

    async def aclose(self) -> None:
        """Give the connection back: to be used again where nothing of this exchange is left in it."""
        on_close, self.on_close = self.on_close, lambda _: None
        on_close(self._is_whole and self._keeps_alive and self._connection.is_quiet())
