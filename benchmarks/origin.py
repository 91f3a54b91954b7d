"""A shop that uses almost no processor time: one process answers from memory, after a latency if
requested.

With validators, each image has an ETag, and a request that gives it is answered 304. `change`
replaces an image by another one.
"""

import asyncio
import multiprocessing
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import uvloop

_CHANGE = b"/change"
_NOT_MODIFIED = b"HTTP/1.1 304 Not Modified\r\nETag: %b\r\n\r\n"


@contextmanager
def running_origin(
    files: Sequence[Path], *, latency_seconds: float = 0.0, has_validators: bool = False
) -> Iterator[list[str]]:
    """Serve the files on loopback; yield their URLs, in the same order. A query makes it another
    image with the same bytes.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_run, args=(theirs, list(files), latency_seconds, has_validators), daemon=True
    )
    process.start()
    port = ours.recv()
    try:
        yield [f"http://127.0.0.1:{port}/{number}.jpg" for number in range(len(files))]
    finally:
        process.terminate()
        process.join()


def change(url: str) -> None:
    """Serve another image at this URL from now on."""
    address, _, path = url.removeprefix("http://").partition("/")
    with urllib.request.urlopen(f"http://{address}{_CHANGE.decode()}/{path}") as response:
        response.read()


def _run(
    parent: Connection, files: list[Path], latency_seconds: float, has_validators: bool
) -> None:
    tags = [b'"%d"' % number if has_validators else b"" for number in range(len(files))]
    answers = {
        b"/%d.jpg" % number: (tag, _answer(path.read_bytes(), tag))
        for number, (path, tag) in enumerate(zip(files, tags, strict=True))
    }
    changed: set[bytes] = set()

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: _Shop(answers, changed, latency_seconds), "127.0.0.1", 0, backlog=1024
        )
        parent.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())


def _answer(body: bytes, tag: bytes) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n%bContent-Length: %d\r\n\r\n"
        % (b"ETag: %b\r\n" % tag if tag else b"", len(body))
        + body
    )


class _Shop(asyncio.Protocol):
    def __init__(
        self,
        answers: dict[bytes, tuple[bytes, bytes]],
        changed: set[bytes],
        latency_seconds: float,
    ) -> None:
        self._answers = answers
        self._changed = changed
        self._latency_seconds = latency_seconds
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's class is not a subclass of it
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            answer = self._answer_to(head)
            asyncio.get_running_loop().call_later(
                self._latency_seconds, self._transport.write, answer
            )

    def _answer_to(self, head: bytes) -> bytes:
        target = head.split(b" ", 2)[1]
        if target.startswith(_CHANGE):
            self._changed.add(target.removeprefix(_CHANGE))
            return b"HTTP/1.1 204 No Content\r\n\r\n"
        path = target.partition(b"?")[0]
        if target in self._changed:
            path = b"/1.jpg" if path == b"/0.jpg" else b"/0.jpg"
        tag, answer = self._answers[path]
        if tag and b"\r\nif-none-match: %b\r\n" % tag in head.lower() + b"\r\n":
            return _NOT_MODIFIED % tag
        return answer
