"""One HTTP/1.1 connection: one exchange at a time, and reading only on demand.

A body of known length is read from the socket straight into the target buffer. A connection handles
a limited number of bytes before other connections have their turn.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import httpx

from halftone_workers.errors import BadHttp
from halftone_workers.http.chunked_body import ChunkedBody
from halftone_workers.http.parsed_url import ParsedUrl
from halftone_workers.http.response_head import Headers, ResponseHead, head_length, parse_head

# uvloop decrypts up to 256 KiB and one TLS record at once. Data that does not fit in the buffer
# would be lost if the connection ends.
SCRATCH_BYTES = 320 * 1024
# Bytes read from one connection before others have their turn. It also limits one read without TLS:
# the part of a body that arrives with its head is copied twice.
TURN_BYTES = 64 * 1024
# Informational answers (100, 103) before the final one. Few servers send more than one.
MAX_INFORMATIONAL = 32


class HttpConnection(asyncio.BufferedProtocol):
    """A connection over an open socket. `scratch` is its read buffer, which connections of the same
    event loop may share. `on_closed` is called once.
    """

    def __init__(self, scratch: memoryview, address: str, on_closed: Callable[[], None]) -> None:
        self._scratch = scratch
        self.address = address
        self._on_closed = on_closed
        self._target: memoryview | None = None
        self._received: deque[bytes] = deque()
        self._has_ended = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_paused = False
        self.has_answered = False
        self.on_end: Callable[[], None] | None = None

    async def open(self, connected: socket.socket, tls: ssl.SSLContext | None, host: str) -> None:
        """Take over a connected socket. Raises httpx.ConnectError, with the TLS error as cause."""
        loop = asyncio.get_running_loop()
        if tls is None:
            self._scratch = self._scratch[:TURN_BYTES]
        name = (
            host.rstrip(".") if tls else None
        )  # certificates omit the trailing dot of a name (RFC 6066, 3)
        try:
            await loop.create_connection(
                lambda: self, sock=connected, ssl=tls, server_hostname=name
            )
            if tls:
                # While we do not read, uvloop must not notice the connection's end: it would
                # discard data that arrived before.
                cast("Any", self._transport).set_read_buffer_limits(high=1)
        except BaseException as error:
            connected.close()
            self._has_closed()
            if isinstance(error, OSError):
                raise httpx.ConnectError(str(error)) from error
            raise

    async def exchange(self, request: bytes) -> "Response":
        """Send a request and read the answer's head.

        Raises httpx.HTTPError and BadHttp; `has_answered` then tells whether any byte of an answer
        arrived.
        """
        self.has_answered = False
        self._transport.write(request)
        head, early = await self._head()
        return Response(head.status_code, head.headers, Body(self, head, early))

    async def _head(self) -> tuple[ResponseHead, bytes]:
        """Read the answer's head, and the part of the body that arrived with it."""
        received = bytearray()
        searched = informational = 0
        while True:
            if (length := head_length(received, searched)) is None:
                searched = len(received)
                received += await self._more_of_head(received)
                continue
            head = parse_head(bytes(received[:length]))
            del received[:length]
            searched = 0
            if not head.is_informational:
                return head, bytes(received)
            informational += 1
            if head.status_code == 101 or informational > MAX_INFORMATIONAL:
                raise BadHttp("The server answers with preliminary answers (1xx) only.")

    async def _more_of_head(self, received: bytearray) -> bytes:
        begun = received.lstrip(b"\r\n")[:5]
        if begun != b"HTTP/"[: len(begun)]:
            parse_head(bytes(received))  # raises if this cannot be a head
        if not (more := await self.receive()):
            raise httpx.RemoteProtocolError("The server closed the connection without an answer.")
        return more

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
                raise _broken_off()
        finally:
            self._target = None

    def close(self) -> None:
        self.on_end = None
        self._transport.abort()
        self._has_closed()

    def _has_closed(self) -> None:
        on_closed, self._on_closed = self._on_closed, lambda: None
        on_closed()

    def is_quiet(self) -> bool:
        """Whether it is open and has received nothing since the last exchange. Data that arrives
        between two exchanges belongs to neither.
        """
        return not self._has_ended and not self._received

    def wait_for_end(self, on_end: Callable[[], None]) -> None:
        """Between two exchanges: notice when the server closes the connection or sends data."""
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

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(
            "asyncio.Transport", transport
        )  # uvloop's class does not derive from it

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


@dataclass(frozen=True)
class Response:
    """An answer whose body has not been read."""

    status_code: int
    headers: Headers
    body: "Body"

    @property
    def is_success(self) -> bool:
        return 200 <= self.status_code <= 299

    def close(self) -> None:
        """Return the connection."""
        self.body.close()


class Body:
    """An answer's body. `declared_bytes`: its length, if the head declares one. `read_into` is then
    the fast way to read it.
    """

    def __init__(self, connection: HttpConnection, head: ResponseHead, early: bytes) -> None:
        self._connection = connection
        self._head = head
        self._early = early  # arrived with the head
        self._is_whole = False
        self.declared_bytes = head.body_bytes
        self._left = head.body_bytes or 0
        self.on_close: Callable[[bool], None] = lambda _: connection.close()

    async def read_into(self, target: memoryview) -> None:
        """Fill `target` with the next bytes of a body of known length. Raises httpx.HTTPError."""
        early, self._early = self._early[: len(target)], self._early[len(target) :]
        target[: len(early)] = early
        await self._connection.receive_into(target[len(early) :])
        self._left -= len(target)
        self._is_whole = self._left == 0 and not self._early

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._head.is_chunked:
            pieces = self._chunks()
        elif self.declared_bytes is not None:
            pieces = self._counted(self.declared_bytes)
        else:
            pieces = self._until_closed()
        async for piece in pieces:
            yield piece

    async def _chunks(self) -> AsyncIterator[bytes]:
        chunks = ChunkedBody()
        chunks.feed(self._early)
        while not chunks.is_done:
            if data := chunks.read():
                yield data
                await asyncio.sleep(0)  # others have their turn
            elif not chunks.is_done:
                received = await self._connection.receive()
                if not received and chunks.has_all_data:
                    return
                if not received:
                    raise _broken_off()
                chunks.feed(received)
        self._is_whole = not chunks.rest

    async def _counted(self, left: int) -> AsyncIterator[bytes]:
        received = self._early
        while left > 0:
            received = received or await self._connection.receive()
            if not received:
                raise _broken_off()
            yield received[:left]
            received, left = received[left:], max(left - len(received), 0)
        self._is_whole = not received

    async def _until_closed(self) -> AsyncIterator[bytes]:
        received = self._early or await self._connection.receive()
        while received:
            yield received
            received = await self._connection.receive()

    def close(self) -> None:
        """Return the connection. It is reused if no data of this exchange is left in it."""
        on_close, self.on_close = self.on_close, lambda _: None
        on_close(self._is_whole and self._head.keeps_alive and self._connection.is_quiet())


def _broken_off() -> httpx.RemoteProtocolError:
    return httpx.RemoteProtocolError("The connection was closed before the body was whole.")


def request_bytes(
    method: str, url: ParsedUrl, headers: Mapping[str, str], content: bytes | None
) -> bytes:
    """Serialize a request. Raises httpx.LocalProtocolError for a header with a line break."""
    lines = [f"{name}: {value}" for name, value in headers.items()]
    if content is not None:
        lines.append(f"Content-Length: {len(content)}")
    head = "\n".join(lines)
    if head.count("\n") >= len(lines) or "\r" in head or "\0" in head:
        raise httpx.LocalProtocolError("A header has a line break or a NUL in it.")
    first = b"%b %b HTTP/1.1\r\n" % (method.encode("ascii"), url.target)
    rest = "\r\n".join((*lines, "", "")).encode("utf-8")
    return first + rest + (content or b"")
