"""HTTP/1.1: uvicorn's protocol on httptools, with three changes (see HttpProtocol)."""

import uuid

import httptools
from starlette.requests import Request
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from halftone_api.errors import Problem, ProblemCode, problem_response
from halftone_api.server.middleware import LINGER_SECONDS
from halftone_shared.errors import HalftoneError

# Limit of the request line and headers together. The parser alone takes 8 s of processor time for a
# header of 100 MB.
MAX_HEAD_BYTES = 64 * 1024
# How long a connection without a call stays open after the server was told to stop.
LAST_CALL_SECONDS = 0.5

# A call that has no path yet, or none that can be trusted.
_NO_CALL = Request({"type": "http", "method": "GET", "path": "/", "headers": []})


class HeadTooLarge(HalftoneError):
    """The request line and headers have more than MAX_HEAD_BYTES."""


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, except that it ignores upgrades, answers malformed HTTP with a problem,
    and loses no call when the server stops.

    A server may ignore an Upgrade header (RFC 9110, 7.8). Java's HttpClient and `curl --http2` send
    one with their first call, and httptools would treat the bytes after it as the other protocol's.

    Malformed HTTP gets a problem like every other error, or nothing if the call's response has
    already started.

    When uvicorn stops, it closes every connection that has no call. A client may have sent its call
    already: the bytes wait in the kernel, or the head has arrived in part. Closing would lose the
    call, and a proxy answers 502, because it must not repeat a POST.

    These changes use private parts of uvicorn, so its minor version is pinned.
    """

    # Bytes of the current request line and headers. The count as received limits what the parser
    # buffers for one header; the count as parsed is exact.
    _received_bytes = 0
    _head_bytes = 0
    _in_head = True
    _is_refused = False
    # The current call, or the next one, is the connection's last.
    _is_ending = False

    def shutdown(self) -> None:
        self._is_ending = True
        if self._has_call():
            self._end_after_call()
        else:
            self.loop.call_later(LAST_CALL_SECONDS, self._close_without_call)

    def _has_call(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        has_part_of_head = self._in_head and self._received_bytes > 0
        return has_part_of_head or (cycle is not None and not cycle.response_complete)

    def _end_after_call(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None:
            cycle.keep_alive = False

    def _close_without_call(self) -> None:
        if not self._has_call():
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._is_refused:
            return
        was_in_head = self._in_head
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._pass_over_offer(data[offer.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("The call cannot be read as HTTP.")
        if was_in_head and self._in_head:
            self._received_bytes += len(data)
            if self._received_bytes > MAX_HEAD_BYTES:
                self._refuse_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._received_bytes, self._head_bytes = True, 0, 0

    def on_url(self, url: bytes) -> None:
        self._head_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + len(b": \r\n")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()
            # Ends the parsing of this call.
            raise HeadTooLarge
        self._in_head = False
        super().on_headers_complete()
        if self._is_ending:
            self._end_after_call()

    def _should_upgrade(self) -> bool:
        """uvicorn asks this when a call offers an upgrade. True: the call starts only after
        _pass_over_offer has removed the offer.
        """
        return True

    def _pass_over_offer(self, rest: bytes) -> None:
        """Parse the call again, without its Upgrade header."""
        method = self.scope["method"].encode()
        if method == b"CONNECT":  # an upgrade in itself
            self.send_400_response("CONNECT is for proxies, and this is none.")
            return
        lines = [b"%b %b HTTP/1.1" % (method, self.url)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    def send_400_response(self, msg: str) -> None:
        if self._is_refused:
            return
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.scope is not self.scope or not cycle.response_started:
            self._answer(Problem(ProblemCode.HTTP_ERROR, msg))
        self.transport.close()

    def _refuse_head(self) -> None:
        """Answer 431. For a moment, further bytes are read and discarded, so that the caller can
        read the answer: if unread bytes remain at closing, the kernel discards the answer.
        """
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        detail = f"The request line and headers have more than {MAX_HEAD_BYTES:,} bytes."
        self._answer(Problem(ProblemCode.HEADERS_TOO_LARGE, detail))
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _answer(self, problem: Problem) -> None:
        answer = problem_response(_NO_CALL, problem)
        answer.headers["X-Request-Id"] = str(uuid.uuid4())
        answer.headers["Connection"] = "close"
        headers = (*self.server_state.default_headers, *answer.raw_headers)
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[problem.status] + head + b"\r\n" + bytes(answer.body))
