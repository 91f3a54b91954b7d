"""A small S3 server on loopback with the operations that halftone uses, which can be stopped and
started. It does not check credentials.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.http_server import RestartableServer

_TIME = "Thu, 01 Jan 2026 00:00:00 GMT"


class Bucket:
    """`files` holds the bucket's files by key: content and media type. `calls` counts requests. A
    response starts after `delay_seconds` and breaks off after `breaks_off_at` bytes.
    """

    def __init__(self, server: RestartableServer) -> None:
        self.url = server.url
        self.start, self.stop = server.start, server.stop
        self.files: dict[str, tuple[bytes, str]] = {}
        self.calls = 0
        self.delay_seconds = 0.0
        self.breaks_off_at = 1 << 30


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    bucket: Bucket

    def do_PUT(self) -> None:
        if source := self.headers.get("x-amz-copy-source"):
            self._copy(unquote(source).removeprefix("/").removeprefix("bucket/"))
            return
        self.bucket.files[self._key()] = (self._body(), self.headers["Content-Type"])
        self._answer(200, {"ETag": '"1"'})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if "list-type" in parts.query:
            self._list(parse_qs(parts.query)["prefix"][0])
        elif self._key() not in self.bucket.files:
            self._answer(404, {}, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            self._give(*self.bucket.files[self._key()])

    def _copy(self, key: str) -> None:
        if key not in self.bucket.files:
            self._answer(404, {}, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        self.bucket.files[self._key()] = self.bucket.files[key]
        result = "<LastModified>2026-01-01T00:00:00Z</LastModified><ETag>1</ETag>"
        self._answer(200, {}, f"<CopyObjectResult>{result}</CopyObjectResult>".encode())

    def do_POST(self) -> None:
        keys = re.findall(r"<Key>(.*?)</Key>", self._body().decode())
        for key in keys:
            self.bucket.files.pop(key, None)
        deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
        self._answer(200, {}, f"<DeleteResult>{deleted}</DeleteResult>".encode())

    def _list(self, prefix: str) -> None:
        contents = "".join(
            f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00Z</LastModified><Size>{len(data)}</Size></Contents>"
            for key, (data, _) in list(self.bucket.files.items())
            if key.startswith(prefix)
        )
        self._answer(200, {}, f"<ListBucketResult>{contents}</ListBucketResult>".encode())

    def _give(self, data: bytes, media_type: str) -> None:
        facts = {"Content-Type": media_type, "ETag": '"1"', "Last-Modified": _TIME}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if wanted is None:
            self._answer(200, facts, data)
            return
        start, last = map(int, wanted.groups())
        if (start, last) == (0, len(data) - 1):  # `rclone serve s3` does so with every range
            self._answer(200, facts, data)
            return
        self._answer(
            206,
            facts | {"Content-Range": f"bytes {start}-{last}/{len(data)}"},
            data[start : last + 1],
        )

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix("/bucket/")

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.bucket.calls += 1
        time.sleep(self.bucket.delay_seconds)
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: self.bucket.breaks_off_at])
            self.close_connection = len(body) > self.bucket.breaks_off_at

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def running_bucket() -> Iterator[Bucket]:
    handler = type("Handler", (_Handler,), {})
    server = RestartableServer(handler)
    handler.bucket = bucket = Bucket(server)  # type: ignore[attr-defined]
    try:
        yield bucket
    finally:
        server.stop()
