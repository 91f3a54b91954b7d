"""What one owner can do to the others (docs/explanation/sharing.md): a shop that misbehaves as its
paths say, and the attacks that use it.
"""

import asyncio
import csv
import json
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO, StringIO
from tempfile import NamedTemporaryFile
from typing import Any

import httpx
from PIL import Image

from tests.support.halftone import Service
from tests.support.images import jpeg

HEADER = "Serial Number,Product Name,Input Image Urls\n"
GOOD = jpeg((320, 240))
MB = 1_000_000


def _answer_names(server: socket.socket) -> None:
    """Every name under `.one.test` has the address 127.0.0.1; about others this is silent."""
    while True:
        try:
            data, asker = server.recvfrom(512)
        except OSError:  # closed
            return
        end = data.index(b"\0", 12) + 5  # the question: name, type, class
        if b"\3one\4test\0" in data[12:end]:
            is_v4 = data[end - 4 : end - 2] == b"\0\1"
            head = data[:2] + b"\x81\x80" + struct.pack(">4H", 1, is_v4, 0, 0) + data[12:end]
            address = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + bytes((127, 0, 0, 1))
            server.sendto(head + (address if is_v4 else b""), asker)


@contextmanager
def name_server() -> Iterator[None]:
    """On the usual port, so that the machine's configuration can name it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 53))
        threading.Thread(target=_answer_names, args=(server,), daemon=True).start()
        yield


class Shop:
    """A server on every address of 127.0.0.0/8, in its own thread. The path says what it does."""

    def __init__(self) -> None:
        self.port = 0
        self.open_now = self.most_open = 0
        # When the webhook of each request arrived, in seconds since 1970.
        self.webhooks: dict[str, float] = {}
        self._loop = asyncio.new_event_loop()
        self._is_up = threading.Event()
        buffer = BytesIO()
        Image.new("RGB", (7000, 7000)).save(buffer, "WEBP", lossless=True)
        self.large = buffer.getvalue()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, path = head.decode().split(" ")[:2]
                if method == "POST":
                    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                    await self._receive(path, await reader.readexactly(length), writer)
                else:
                    await self._answer(path, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.open_now -= 1
            writer.close()

    async def _receive(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        if "silent" in path:
            await asyncio.sleep(3600)
        self.webhooks[json.loads(body)["data"]["request_id"]] = time.time()
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        if "silent" in path:
            await asyncio.sleep(3600)
        if "reset" in path:
            writer.transport.abort()
            raise ConnectionResetError
        if "chunks" in path:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"1\r\nx\r\n" * 5000)
                await writer.drain()
        if "drip" in path:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 52000000\r\n\r\n")
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.5)
        if "slow" in path:
            await asyncio.sleep(10)
        body = self.large if "large" in path else GOOD
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    def url(self, path: str, host: int = 1) -> str:
        """`host` numbers the addresses, from 1."""
        return f"http://127.{1 + host // 250}.0.{1 + host % 250}:{self.port}/{path}"

    def urls(self, path: str, images: int, host: int = 1) -> list[str]:
        return [self.url(f"{path}/{n}.jpg", host) for n in range(images)]

    @contextmanager
    def running(self) -> Iterator["Shop"]:
        async def start() -> None:
            server = await asyncio.start_server(self._serve, "0.0.0.0", 0, backlog=1024)  # noqa: S104
            self.port = server.sockets[0].getsockname()[1]
            self._is_up.set()

        def run() -> None:
            self._loop.create_task(start())
            self._loop.run_forever()

        threading.Thread(target=run, daemon=True).start()
        self._is_up.wait(10)
        yield self
        self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.call_later(0.5, self._loop.stop)


@dataclass
class Client:
    """One owner's client of the service. Safe to use from several threads."""

    service: Service
    headers: dict[str, str]

    def upload(self, rows: list[list[str]], **fields: str) -> str:
        """The ID of the request."""
        text = StringIO(HEADER)
        text.seek(0, 2)
        csv.writer(text).writerows([n, f"P{n}", ",".join(urls)] for n, urls in enumerate(rows, 1))
        response = self.post_file(text.getvalue().encode(), **fields)
        assert response.status_code == 202, response.text
        request_id: str = response.json()["request_id"]
        return request_id

    def post_file(self, content: bytes, **fields: str) -> httpx.Response:
        return self.service.http.post(
            "/api/upload",
            files={"file": ("p.csv", content, "text/csv")},
            data=fields,
            headers=self.headers,
            timeout=600,
        )

    def status(self, request_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.service.http.get(
            f"/api/status/{request_id}", headers=self.headers
        ).json()
        return found

    def socket(self, head: str) -> socket.socket:
        """A connection on which this head has been sent, with the owner's key."""
        host, port = self.service.url.removeprefix("http://").split(":")
        connection = socket.create_connection((host, int(port)))
        fields = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        connection.sendall(f"{head} HTTP/1.1\r\nHost: {host}\r\n{fields}".encode())
        return connection


Attack = Callable[[Client, Shop], object]


def _silent_names(hog: Client, shop: Shop) -> None:
    hog.upload([[f"http://{n}-{m}.silent.test/1.jpg" for m in range(100)] for n in range(7)])


def _names_of_one_address(hog: Client, shop: Shop) -> None:
    hog.upload(
        [[f"http://{n}-{m}.one.test:{shop.port}/slow" for m in range(100)] for n in range(20)]
    )


def _silent_receivers(hog: Client, shop: Shop) -> None:
    for n in range(40):
        hog.upload([[shop.url(f"hook{n}.jpg")]], webhook_url=shop.url(f"silent/{n}"))


def _equal_uploads(hog: Client, shop: Shop) -> ExitStack:
    """17 uploads of a million rows with one Idempotency-Key."""
    rows = "".join(f"{n},P{n},{shop.url('silent')}/{n}\n" for n in range(1, 1_000_001))
    return _uploads_at_once(hog, HEADER + rows, "Idempotency-Key: equal")


def _blank_lines(hog: Client, shop: Shop) -> ExitStack:
    blank = "\n" * 95 * MB
    return _uploads_at_once(hog, f"{HEADER}{blank}1,P1,{shop.url('fine')}\n")


def _uploads_at_once(hog: Client, content: str, *headers: str) -> ExitStack:
    """17 uploads of this file, by curl, until the result is closed. Threads of this program would
    slow the other owner's client, which measures.
    """
    stack = ExitStack()
    file = stack.enter_context(NamedTemporaryFile("w", suffix=".csv"))  # noqa: SIM115
    file.write(content)
    file.flush()
    command = [
        "curl",
        "--silent",
        "--noproxy",
        "*",
        "--output",
        "/dev/null",
        "--form",
        f"file=@{file.name}",
    ]
    for line in (*(f"{name}: {value}" for name, value in hog.headers.items()), *headers):
        command += ["--header", line]
    for _ in range(17):
        upload = subprocess.Popen([*command, f"{hog.service.url}/api/upload"])
        stack.callback(upload.wait)
        stack.callback(upload.kill)
    return stack


def _stalled_uploads(hog: Client, shop: Shop) -> list[socket.socket]:
    """30 uploads of 95 MB that stop after 90 MB."""
    stalled = []
    for _ in range(30):
        connection = hog.socket("POST /api/upload")
        connection.settimeout(10)
        stalled.append(connection)
        part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="p.csv"\r\n\r\n'
        head = f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {95 * MB}\r\n\r\n"
        with suppress(OSError):  # the upload is refused once the owner's share is full
            connection.sendall(head.encode() + part + HEADER.encode())
            for _ in range(90):
                connection.sendall(b"x" * MB)
    return stalled


def _event_streams(hog: Client, shop: Shop) -> list[socket.socket]:
    request_id = hog.upload([shop.urls("silent", 1)] * 10)
    streams = [hog.socket(f"GET /api/events/{request_id}") for _ in range(1500)]
    for stream in streams:
        stream.sendall(b"\r\n")
    for stream in streams:
        assert stream.recv(100).startswith(b"HTTP/1.1 200")
    return streams


ATTACKS: dict[str, Attack] = {
    "1 silent host, 20 × 100": lambda a, s: a.upload([s.urls("silent", 100)] * 20),
    "1b silent host, 2000 × 1": lambda a, s: a.upload([s.urls("silent", 1)] * 2000),
    "1b 100 silent hosts, 2000 × 1": lambda a, s: a.upload(
        [s.urls("silent", 1, n % 100) for n in range(2000)]
    ),
    "slow host, 20 × 100": lambda a, s: a.upload([s.urls("slow", 100)] * 20),
    "host that resets, 200 × 10": lambda a, s: a.upload([s.urls("reset", 10)] * 200),
    "2 chunks of one byte, 7 × 100": lambda a, s: a.upload([s.urls("chunks", 100)] * 7),
    "3 silent name server, 7 × 100": _silent_names,
    "4 40 silent webhook receivers": _silent_receivers,
    "6 17 equal uploads of 1,000,000 rows": _equal_uploads,
    "6 17 uploads of 95 MB of line breaks": _blank_lines,
    "7 large images, 14 × 49 MP": lambda a, s: a.upload(
        [s.urls(f"large{n}", 1) for n in range(14)], mode="bytes"
    ),
    "8 1200 products, 30 requests": lambda a, s: [
        a.upload([s.urls(f"{r}-{n}", 1) for n in range(40)]) for r in range(30)
    ],
    "9 2000 names of one address": _names_of_one_address,
    "10 30 stalled uploads of 95 MB": _stalled_uploads,
    "11 announced 50 MB, dripping, 100": lambda a, s: a.upload(
        [[s.url(f"drip/{n}.jpg", n % 40) for n in range(100)]]
    ),
    "12 1,500 event streams": _event_streams,
    "heavy work, 100 × 60": lambda a, s: a.upload([s.urls("fine", 60)] * 100),
}
