"""Shows JSON answers as readable pages when a browser opens a URL of the API."""

import json
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from halftone_api.errors import ProblemCode
from halftone_api.pages.rendering import accepts_html, render
from halftone_api.server.middleware import call_id

_JSON = ("application/json", "application/problem+json")


class BrowserAnswers:
    """Turns JSON and problems into pages for callers that accept text/html.

    `curl`, other programs and the page's own scripts do not, so they get the JSON.
    """

    def __init__(self, starlette: Starlette, app: ASGIApp) -> None:
        """`app` answers; `starlette` is the application around it, whose services pages need."""
        self._starlette = starlette
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not accepts_html(Request(scope)):
            await self._app(scope, receive, send)
            return
        scope["app"] = self._starlette
        await self._app(scope, receive, _Page(scope, receive, send).send)


class _Page:
    """Collects an answer's JSON and sends a page instead."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            media_type = Headers(raw=message["headers"]).get("content-type", "").split(";")[0]
            if media_type in _JSON and self._scope["path"] != "/openapi.json":
                self._start = message
                return
        elif self._start is not None:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._send_page(self._start, json.loads(self._body))
            return
        await self._send(message)

    async def _send_page(self, start: Message, content: Any) -> None:
        request = Request(self._scope)
        is_problem = start["status"] >= 400
        kept = ("location", "retry-after", "www-authenticate", "allow", "x-request-id")
        headers = {
            name: value for name, value in Headers(raw=start["headers"]).items() if name in kept
        }
        response = render(
            request,
            "problem.html" if is_problem else "json.html",
            status_code=start["status"],
            headers={**headers, "Vary": "Accept"},
            content=content,
            call_id=call_id(),
            code=ProblemCode(content["code"]) if is_problem else None,
            text=json.dumps(content, indent=2, ensure_ascii=False),
            request_id=self._scope.get("path_params", {}).get("request_id"),
        )
        await response(self._scope, self._receive, self._send)
