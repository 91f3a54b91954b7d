"""Look-ups in the machine's hosts file, and with name servers that are silent or refuse."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_workers.errors import FetchFailed, HostNotFound
from halftone_workers.http.resolver import CACHE_SECONDS, Resolver
from tests.support.fetching import BODY, fetch_all, fetcher_of, run
from tests.support.origin import Origin

_LOOK_UP = Resolver.look_up  # before any test replaces it


@contextmanager
def _name_server(reply: bytes | None = None) -> Iterator[int]:
    """A UDP port that never responds, like a name server that is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        yield server.getsockname()[1]


@contextmanager
def _name_server_of(addresses: list[str]) -> Iterator[int]:
    """A UDP port that answers A queries with the last of the addresses, valid for a day."""

    def answer(query: bytes) -> bytes:
        question = query[12 : query.index(b"\0", 12) + 5]
        is_a = question[-4:-2] == b"\0\x01"
        record = b"\xc0\x0c\0\x01\0\x01" + (86_400).to_bytes(4) + b"\0\x04"
        counts = b"\0\x01" + (b"\0\x01" if is_a else b"\0\0") + b"\0\0\0\0"
        found = record + socket.inet_aton(addresses[-1]) if is_a else b""
        return query[:2] + b"\x81\x80" + counts + question + found

    def serve(server: socket.socket) -> None:
        with suppress(OSError):  # closed
            while True:
                query, client = server.recvfrom(512)
                if not query:
                    return
                server.sendto(answer(query), client)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        try:
            yield port
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", ("127.0.0.1", port))
            thread.join()


def _asking(port: int, cache_seconds: float = CACHE_SECONDS, **options: object) -> Resolver:
    return Resolver(
        cache_seconds=cache_seconds,
        nameservers=["127.0.0.1"],
        udp_port=port,
        tcp_port=port,
        **options,
    )


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("localhost", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("::1", "::1"),
    ],
)
def test_number_and_local_name_need_no_name_server(host: str, address: str) -> None:
    async def work(port: int) -> list[str]:
        resolver = _asking(port)
        try:
            return await _LOOK_UP(resolver, host, 80)
        finally:
            await resolver.close()

    with _name_server() as port:
        assert address in run(work(port))


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".test"])
def test_text_that_is_no_name_is_not_looked_up(host: str) -> None:
    async def work(port: int) -> HostNotFound:
        resolver = _asking(port)
        with pytest.raises(HostNotFound) as failed:
            await _LOOK_UP(resolver, host, 80)
        await resolver.close()
        return failed.value

    with _name_server() as port:
        assert not run(work(port)).temporary


def test_host_that_moved_is_found_before_its_old_address_expires() -> None:
    """As a container that was started again. A cache of a minute still spares most queries."""
    addresses = ["192.0.2.1"]

    async def work(port: int) -> list[str]:
        cached, forgetting = _asking(port), _asking(port, cache_seconds=0)
        try:
            assert await _LOOK_UP(cached, "shop.test", 80) == ["192.0.2.1"]
            assert await _LOOK_UP(forgetting, "shop.test", 80) == ["192.0.2.1"]
            addresses.append("192.0.2.2")
            assert await _LOOK_UP(cached, "shop.test", 80) == ["192.0.2.1"]
            for _ in range(1000):
                if (found := await _LOOK_UP(forgetting, "shop.test", 80)) != ["192.0.2.1"]:
                    break
                await asyncio.sleep(0.01)
            return found
        finally:
            await cached.close()
            await forgetting.close()

    with _name_server_of(addresses) as port:
        assert run(work(port)) == ["192.0.2.2"]


def test_silent_name_server_delays_nobody_else(
    monkeypatch: pytest.MonkeyPatch, origin: Origin
) -> None:
    """700 names with a silent name server, as one catalogue may contain. The look-ups wait in
    parallel, without threads, and fail with a temporary error.
    """
    monkeypatch.setattr(Resolver, "look_up", _LOOK_UP)
    url = origin.serve("/image", BODY).replace("127.0.0.1", "localhost")

    async def work(port: int) -> tuple[float, list[BaseException | list[bytes | bytearray]]]:
        async with fetcher_of(timeout=30) as fetcher:
            fetcher._http._pool.network._resolver = _asking(port, timeout=0.5, tries=1)
            hanging = [
                asyncio.ensure_future(fetch_all(fetcher, [f"http://{number}.slow.test/"]))
                for number in range(700)
            ]
            await asyncio.sleep(0.1)
            started = time.monotonic()
            assert await fetch_all(fetcher, [url]) == [BODY]
            took = time.monotonic() - started
            return took, await asyncio.gather(*hanging, return_exceptions=True)

    with _name_server() as port:
        took, failures = run(work(port))
    assert took < 5  # 16 threads would need 22 s
    assert len(failures) == 700
    for failure in failures:
        assert isinstance(failure, FetchFailed)
        assert (failure.error.code, failure.error.retryable) == (ImageErrorCode.DNS_FAILED, True)
