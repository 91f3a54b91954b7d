"""A shop that uses almost no processor time: one process answers from memory, after a latency if
requested.
"""

import asyncio
import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import uvloop


@contextmanager
def running_origin(files: Sequence[Path], *, latency_seconds: float = 0.0) -> Iterator[list[str]]:
    """Serve the files on loopback; yield their URLs, in the same order. A query is ignored."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, list(files), latency_seconds), daemon=True)
    process.start()
    port = ours.recv()
    try:
        yield [f"http://127.0.0.1:{port}/{number}.jpg" for number in range(len(files))]
    finally:
        process.terminate()
        process.join()


def _run(parent: Connection, files: list[Path], latency_seconds: float) -> None:
    answers = {
        f"/{number}.jpg".encode(): _answer(path.read_bytes()) for number, path in enumerate(files)
    }

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: _Shop(answers, latency_seconds), "127.0.0.1", 0, backlog=1024
        )
        parent.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())


def _answer(body: bytes) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(body)
        + body
    )


class _Shop(asyncio.Protocol):
    def __init__(self, answers: dict[bytes, bytes], latency_seconds: float) -> None:
        self._answers = answers
        self._latency_seconds = latency_seconds
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's class is not a subclass of it
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            path, _, _ = head.split(b" ", 2)[1].partition(b"?")
            answer = self._answers[path]
            asyncio.get_running_loop().call_later(
                self._latency_seconds, self._transport.write, answer
            )
