"""An external image processing service that keeps all its jobs until it is asked to call back.

It runs in a process of its own and uses little processor time: it signs callbacks before their time
is measured, and gives the same small output for every image.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import cast
from urllib.parse import urlsplit

import uvloop

SECRET = "whsec_" + "C" * 40
CONNECTIONS = 32


@dataclass(frozen=True)
class Called:
    """The result of calling back: how many callbacks got each status, and the seconds for all."""

    answers: Counter[int]
    seconds: float


@dataclass(frozen=True)
class Double:
    """Controls the service's process from another one."""

    url: str
    _pipe: Connection

    def jobs(self) -> int:
        """How many jobs have not been called back."""
        return cast("int", self._ask("jobs"))

    def connections(self) -> int:
        """How many connections to the service are open."""
        return cast("int", self._ask("connections"))

    def call_back(self, most: int) -> Called:
        """Call back for at most that many jobs, over CONNECTIONS connections."""
        found = self._ask(most)
        assert isinstance(found, Called)
        return found

    def _ask(self, what: object) -> object:
        self._pipe.send(what)
        return self._pipe.recv()


@contextmanager
def running_double(output: bytes) -> Iterator[Double]:
    """A service that gives these bytes as the output of every image."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, output), daemon=True)
    process.start()
    port = ours.recv()
    try:
        yield Double(f"http://127.0.0.1:{port}/", ours)
    finally:
        process.terminate()
        process.join()


class _Service:
    def __init__(self, output: bytes) -> None:
        self.output = output
        self.port = 0
        self.jobs: list[str] = []
        self.open_connections = 0

    async def answer(self, parent: Connection) -> None:
        """Answer the questions of the benchmark, one after the other."""
        loop = asyncio.get_running_loop()
        while True:
            asked = await loop.run_in_executor(None, parent.recv)
            if asked == "jobs":
                parent.send(len(self.jobs))
            elif asked == "connections":
                parent.send(self.open_connections)
            else:
                parent.send(await self._call_back(asked))

    async def _call_back(self, most: int) -> Called:
        jobs, self.jobs = self.jobs[:most], self.jobs[most:]
        url = f"http://127.0.0.1:{self.port}/output.jpg"
        calls = [_callback(callback_url, url) for callback_url in jobs]
        address = urlsplit(jobs[0])
        answers: Counter[int] = Counter()

        async def call_some() -> None:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            while calls:
                writer.write(calls.pop())
                head = await reader.readuntil(b"\r\n\r\n")
                answers[int(head.split(b" ", 2)[1])] += 1
                assert b" 204 " in head[:15], head
            writer.close()

        started = time.perf_counter()
        await asyncio.gather(*(call_some() for _ in range(CONNECTIONS)))
        return Called(answers, time.perf_counter() - started)


def _callback(callback_url: str, output_url: str) -> bytes:
    job_id = callback_url.rpartition("/")[2]
    body = json.dumps({"job_id": job_id, "status": "completed", "output_url": output_url})
    message_id, now = f"msg_{job_id}", str(int(time.time()))
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = f"{message_id}.{now}.{body}".encode()
    signature = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    parts = urlsplit(callback_url)
    return (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nwebhook-id: {message_id}\r\nwebhook-timestamp: {now}\r\n"
        f"webhook-signature: v1,{signature}\r\n\r\n{body}"
    ).encode()


class _Protocol(asyncio.Protocol):
    """Takes jobs (POST) and gives outputs (GET)."""

    def __init__(self, service: _Service) -> None:
        self._service = service
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's class is not a subclass of it
        self._transport = cast("asyncio.Transport", transport)
        self._service.open_connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._service.open_connections -= 1

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            length = _content_length(head)
            if len(rest) < length:
                return
            body, self._received = rest[:length], rest[length:]
            if head.startswith(b"POST"):
                self._service.jobs.append(json.loads(body)["callback_url"])
                self._transport.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
            else:
                output = self._service.output
                start = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
                self._transport.write(start % len(output) + output)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _run(parent: Connection, output: bytes) -> None:
    async def serve() -> None:
        service = _Service(output)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Protocol(service), "127.0.0.1", 0, backlog=1024)
        service.port = server.sockets[0].getsockname()[1]
        parent.send(service.port)
        await service.answer(parent)

    uvloop.run(serve())
