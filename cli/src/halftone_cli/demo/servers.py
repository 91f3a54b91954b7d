"""The demo's two servers: the shop with the pictures, and the receiver of the webhook."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import halftone


@contextmanager
def shop(folder: Path) -> Iterator[str]:
    """Serve a folder's files on loopback; yield the base URL."""
    with _serving(partial(_Shop, directory=str(folder))) as url:
        yield url


@contextmanager
def receiver(secret: str, events: "Queue[halftone.WebhookEvent]") -> Iterator[str]:
    """Receive webhooks on loopback and put those with a valid signature into `events`; yield the
    URL to send them to.
    """
    with _serving(partial(_Receiver, secret, events)) as url:
        yield f"{url}/webhook"


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Logs nothing: the terminal is for the demo's users."""


class _Shop(_Quiet, SimpleHTTPRequestHandler):
    pass


class _Receiver(_Quiet):
    def __init__(self, secret: str, events: "Queue[halftone.WebhookEvent]", *args: Any) -> None:
        self._secret = secret
        self._events = events
        super().__init__(*args)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            event = halftone.verify_webhook(body, dict(self.headers), self._secret)
        except halftone.InvalidWebhook:
            self.send_response(401)
        else:
            self._events.put(event)
            self.send_response(204)
        self.send_header("Content-Length", "0")
        self.end_headers()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Ignores that halftone hangs up on the oversized picture, which is part of the demo."""


@contextmanager
def _serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
