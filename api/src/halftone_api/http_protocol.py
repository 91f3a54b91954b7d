"""HTTP/1.1 as it comes in: uvicorn's protocol on h11.

Its other one, on httptools, loses the body of a call that offers an upgrade, as Java's HttpClient and `curl --http2`
offer HTTP/2 with every first call.
"""

import uuid

import h11
from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from halftone_api.problems import Problem, problem_response

# It has no path yet, or none that can be believed.
_NO_CALL = Request({"type": "http", "method": "GET", "path": "/", "headers": []})


class HttpProtocol(H11Protocol):
    """What is no HTTP is answered as every other error is; and not at all where the call has its answer already."""

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer = problem_response(_NO_CALL, Problem(400, "http_error", msg))
            headers = [
                *self.server_state.default_headers,
                *answer.raw_headers,
                (b"x-request-id", str(uuid.uuid4()).encode()),
                (b"connection", b"close"),
            ]
            for event in (
                h11.Response(status_code=400, headers=headers),
                h11.Data(bytes(answer.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event))
        self.transport.close()
