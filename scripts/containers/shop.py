"""The shop of the container test: serves one image under every path that ends with .jpg, and keeps
the bodies that are posted to it.

GET /received returns the bodies of all posts so far, as a JSON list.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

IMAGE = Path(sys.argv[1]).read_bytes()
received: list[str] = []


class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/received":
            self._answer(200, "application/json", json.dumps(received).encode())
        elif self.path.endswith(".jpg"):
            self._answer(200, "image/jpeg", IMAGE)
        else:
            self._answer(404, "text/plain", b"not here")

    def do_POST(self) -> None:
        received.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self._answer(204, "text/plain", b"")

    def _answer(self, status: int, media_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


ThreadingHTTPServer(("0.0.0.0", 8080), Shop).serve_forever()  # noqa: S104 - in a container
