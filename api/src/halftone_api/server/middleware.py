"""ASGI middleware of every call: request IDs, trailing slashes, bounded bodies."""

import asyncio
import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from halftone_api.errors import Problem, ProblemCode, problem_response

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)

# How long, and up to how many bytes, the rest of a refused upload is still read, so that its sender
# sees the answer: if unread bytes remain at closing, the kernel discards the answer.
LINGER_SECONDS = 2.0
LINGER_BYTES = 16 * 1024 * 1024


class RequestIds:
    """Every answer and its log lines carry X-Request-Id: the caller's if it is well formed, else a
    new one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(x_request_id=request_id):
            await self._app(scope, receive, send_with_id)


def call_id() -> str | None:
    """The X-Request-Id of the call that is being answered."""
    found: str | None = structlog.contextvars.get_contextvars().get("x_request_id")
    return found


class TrailingSlashes:
    """Serves `/api/status/ID/` as `/api/status/ID`, on every route and without a redirect."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/" and scope["path"].endswith("/"):
            scope = {**scope, "path": scope["path"].rstrip("/") or "/"}
        await self._app(scope, receive, send)


class BoundedBodies:
    """Reads no body beyond `max_body_bytes`, or for longer than `timeout_seconds`, or one of which
    nothing arrives for `idle_seconds`, whatever its headers say.

    A body over the limit gets 413, one that takes too long 408, one with two lengths 400. An answer
    before the end of the body closes the connection, after the rest is read and discarded for a
    moment.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body_bytes: int,
        timeout_seconds: float,
        idle_seconds: float,
        too_large: Problem,
    ) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._timeout_seconds = timeout_seconds
        self._idle_seconds = idle_seconds
        self._too_large = too_large

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        if "content-length" not in headers and "transfer-encoding" not in headers:
            await self._app(scope, receive, send)
            return
        body = _Body(
            receive,
            self._max_body_bytes,
            self._timeout_seconds,
            self._idle_seconds,
            self._too_large,
        )
        answer = _Answer(send, body)
        problem = self._judge_headers(headers)
        if problem is not None:
            await problem_response(Request(scope), problem)(scope, body.receive, answer.send)
            return
        body.complete = headers.get("content-length") == "0"  # most clients' POST without a body
        await self._app(scope, body.receive, answer.send)

    def _judge_headers(self, headers: Headers) -> Problem | None:
        length = headers.get("content-length")
        if length is not None and ("transfer-encoding" in headers or not length.isdecimal()):
            return Problem(
                ProblemCode.BAD_FRAMING,
                "The call has an unreadable Content-Length, or Transfer-Encoding beside it.",
            )
        if length is not None and int(length) > self._max_body_bytes:
            return self._too_large
        return None


class _Body:
    """A request's body, counted and timed as it arrives."""

    def __init__(
        self,
        receive: Receive,
        max_bytes: int,
        timeout_seconds: float,
        idle_seconds: float,
        too_large: Problem,
    ) -> None:
        self._receive = receive
        self._left = max_bytes
        self._deadline = time.monotonic() + timeout_seconds
        self._idle_seconds = idle_seconds
        self._too_large = too_large
        self.complete = False

    async def receive(self) -> Message:
        try:
            left = min(self._deadline - time.monotonic(), self._idle_seconds)
            async with asyncio.timeout(None if self.complete else left):
                message = await self._receive()
        except TimeoutError:
            raise Problem(
                ProblemCode.UPLOAD_TIMEOUT,
                "The body did not arrive in time. Send it faster, or in parts.",
            ) from None
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
            if self._left < 0:
                raise self._too_large
        else:
            self.complete = True
        return message

    async def throw_away(self) -> None:
        left = LINGER_BYTES
        deadline = time.monotonic() + LINGER_SECONDS
        try:
            while left > 0:
                message = await asyncio.wait_for(self._receive(), deadline - time.monotonic())
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))
        except TimeoutError:
            return


class _Answer:
    """A response that closes the connection gently if the body was not read to its end."""

    def __init__(self, send: Send, body: _Body) -> None:
        self._send = send
        self._body = body
        self._early = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._body.complete:
            self._early = True
            MutableHeaders(scope=message)["Connection"] = "close"
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if self._early and last:
            await self._send({**message, "more_body": True})
            await self._body.throw_away()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)
