"""How much one owner's work slows another's (docs/explanation/sharing.md).

Each row is an attack, or a misbehaving shop, under one owner's key. Under another owner's key, five
products of a fast host must end within 3 × the time that they take alone + 1 s. Everything is on
loopback: run it in a network namespace with nothing else,

    unshare -n sh -c 'ip link set lo up; python -m benchmarks.sharing'
"""

import argparse
import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from PIL import Image

from halftone_shared.db.api_keys import create_key
from halftone_shared.db.engine import make_engine
from tests.support.halftone import Service, running_separately, running_up
from tests.support.images import jpeg
from tests.support.postgres import running_postgres
from tests.support.rabbitmq import running_rabbitmq

HEADER = "Serial Number,Product Name,Input Image Urls\n"
GOOD = jpeg((320, 240))


class Shop:
    """A server on every address of 127.0.0.0/8, in its own thread. The path says what it does."""

    def __init__(self) -> None:
        self.port = 0
        self.open_now = self.most_open = 0
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
                await self._answer(head.split(b" ")[1].decode(), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open_now -= 1
            writer.close()

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
    """One owner's client of the service."""

    service: Service
    headers: dict[str, str]

    def upload(self, rows: list[list[str]], **fields: str) -> str:
        lines = [f'{n},P{n},"{",".join(urls)}"' for n, urls in enumerate(rows, 1)]
        response = self.service.http.post(
            "/api/upload",
            files={"file": ("p.csv", (HEADER + "\n".join(lines)).encode(), "text/csv")},
            data=fields,
            headers=self.headers,
        )
        assert response.status_code == 202, response.text
        request_id: str = response.json()["request_id"]
        return request_id

    def status(self, request_id: str) -> dict[str, object]:
        found: dict[str, object] = self.service.http.get(
            f"/api/status/{request_id}", headers=self.headers
        ).json()
        return found

    def seconds_of(self, rows: list[list[str]], limit: float = 120) -> float:
        """Seconds from uploading these to the end of their request."""
        started = time.monotonic()
        request_id = self.upload(rows)
        while not self.status(request_id)["completed_at"]:
            if time.monotonic() - started > limit:
                return limit
            time.sleep(0.02)
        return time.monotonic() - started


Attack = Callable[[Client, Shop], object]


def _urls(shop: Shop, path: str, images: int, host: int = 1) -> list[str]:
    return [shop.url(f"{path}/{n}.jpg", host) for n in range(images)]


ROWS: dict[str, Attack] = {
    "1 silent host, 20 × 100": lambda a, s: a.upload([_urls(s, "silent", 100)] * 20),
    "1b silent host, 2000 × 1": lambda a, s: a.upload([_urls(s, "silent", 1)] * 2000),
    "1b 100 silent hosts, 2000 × 1": lambda a, s: a.upload(
        [_urls(s, "silent", 1, n % 100) for n in range(2000)]
    ),
    "slow host, 20 × 100": lambda a, s: a.upload([_urls(s, "slow", 100)] * 20),
    "host that resets, 200 × 10": lambda a, s: a.upload([_urls(s, "reset", 10)] * 200),
    "2 chunks of one byte, 7 × 100": lambda a, s: a.upload([_urls(s, "chunks", 100)] * 7),
    "7 large images, 14 × 49 MP": lambda a, s: a.upload(
        [_urls(s, f"large{n}", 1) for n in range(14)], mode="bytes"
    ),
    "8 1200 products, 30 requests": lambda a, s: [
        a.upload([_urls(s, f"{r}-{n}", 1) for n in range(40)]) for r in range(30)
    ],
    "11 announced 50 MB, dripping, 100": lambda a, s: a.upload(
        [[s.url(f"drip/{n}.jpg", n % 40) for n in range(100)]]
    ),
    "heavy work, 100 × 60": lambda a, s: a.upload([_urls(s, "fine", 60)] * 100),
}


def _measure(
    name: str, attack: Attack, hog: Client, other: Client, shop: Shop, alone: float
) -> None:
    attack(hog, shop)
    time.sleep(3)
    times = [other.seconds_of([[shop.url(f"v{n}.jpg", 200)] for n in range(5)]) for _ in range(3)]
    worst, limit = max(times), 3 * alone + 1
    verdict = "ok" if worst <= limit else "TOO SLOW"
    print(f"{name:36} {worst:6.2f} s  (limit {limit:.2f})  {verdict}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.sharing", description=__doc__)
    parser.add_argument("rows", nargs="*", help="parts of the rows' names; all without")
    parser.add_argument("--rabbitmq", action="store_true", help="RabbitMQ and two workers")
    given = parser.parse_args()
    for name, attack in ROWS.items():
        if given.rows and not any(part in name for part in given.rows):
            continue
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            shop = stack.enter_context(Shop().running())
            postgres = stack.enter_context(running_postgres(durable=False))
            url = postgres.new_database()
            if given.rabbitmq:
                rabbitmq = stack.enter_context(running_rabbitmq())
                service = stack.enter_context(
                    running_separately(folder, url, rabbitmq.new_vhost(), workers=2, auth="keys")
                )
            else:
                service = stack.enter_context(running_up(folder, auth="keys", database_url=url))
            engine = make_engine(url, pool_size=1)
            keys = []
            for owner in ("hog", "other"):
                with engine.begin() as connection:
                    keys.append(create_key(connection, owner).secret)
            hog, other = (Client(service, {"Authorization": f"Bearer {key}"}) for key in keys)
            five = [[shop.url(f"a{n}.jpg", 200)] for n in range(5)]
            alone = min(other.seconds_of(five) for _ in range(3))
            service.http.timeout = httpx.Timeout(60)
            _measure(name, attack, hog, other, shop, alone)


if __name__ == "__main__":
    main()
