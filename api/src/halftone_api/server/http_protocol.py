"""HTTP/1.1 as it comes in: uvicorn's protocol on httptools, with two of its answers mended."""

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

# What a call's line and headers may have together. The parser alone takes 8 s of processor time for
# a header of 100 MB.
MAX_HEAD_BYTES = 64 * 1024

# It has no path yet, or none that can be believed.
_NO_CALL = Request({"type": "http", "method": "GET", "path": "/", "headers": []})


class HeadTooLarge(HalftoneError):
    """A call's line and headers have more than MAX_HEAD_BYTES."""


class HttpProtocol(HttpToolsProtocol):
    """An offer of another protocol is passed over, as a server may (RFC 9110, 7.8): Java's
    HttpClient and `curl --http2` make it with their first call, and httptools takes what follows
    for the other protocol's.

    What is no HTTP is answered as every other error is; and not at all where the call has its
    answer already.

    Both go by what is uvicorn's own affair, so its minor version is pinned.
    """

    # Bytes of the current call's head: as they arrived, which bounds what the parser collects of
    # one header, and as they were parsed, which is exact.
    _received_bytes = 0
    _head_bytes = 0
    _in_head = True
    _is_refused = False

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

    def _should_upgrade(self) -> bool:
        """Asked where an upgrade is offered: a call is not begun before its offer has been passed
        over.
        """
        return True

    def _pass_over_offer(self, rest: bytes) -> None:
        """The call once more, without it."""
        method = self.scope["method"].encode()
        if method == b"CONNECT":  # an offer by itself
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
        """Answer 431. What still arrives is thrown away for a moment, so that the caller gets to
        read the answer: closing with unread bytes makes the kernel discard it.
        """
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        detail = f"The request line and headers have more than {MAX_HEAD_BYTES} bytes."
        self._answer(Problem(ProblemCode.HEADERS_TOO_LARGE, detail))
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _answer(self, problem: Problem) -> None:
        answer = problem_response(_NO_CALL, problem)
        answer.headers["X-Request-Id"] = str(uuid.uuid4())
        answer.headers["Connection"] = "close"
        headers = (*self.server_state.default_headers, *answer.raw_headers)
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[problem.status] + head + b"\r\n" + bytes(answer.body))
