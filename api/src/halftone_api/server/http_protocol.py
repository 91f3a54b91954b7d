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

# It has no path yet, or none that can be believed.
_NO_CALL = Request({"type": "http", "method": "GET", "path": "/", "headers": []})


class HttpProtocol(HttpToolsProtocol):
    """An offer of another protocol is passed over, as a server may (RFC 9110, 7.8): Java's
    HttpClient and `curl --http2` make it with their first call, and httptools takes what follows
    for the other protocol's.

    What is no HTTP is answered as every other error is; and not at all where the call has its
    answer already.

    Both go by what is uvicorn's own affair, so its minor version is pinned.
    """

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._pass_over_offer(data[offer.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("The call cannot be read as HTTP.")

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
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.scope is not self.scope or not cycle.response_started:
            answer = problem_response(_NO_CALL, Problem(ProblemCode.HTTP_ERROR, msg))
            answer.headers["X-Request-Id"] = str(uuid.uuid4())
            answer.headers["Connection"] = "close"
            headers = (*self.server_state.default_headers, *answer.raw_headers)
            head = b"".join(b"%b: %b\r\n" % header for header in headers)
            self.transport.write(STATUS_LINE[400] + head + b"\r\n" + bytes(answer.body))
        self.transport.close()
