"""Look-ups in the machine's hosts file, and with name servers that are silent or refuse."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_workers.errors import FetchFailed, HostNotFound
from halftone_workers.http.resolver import Resolver
from tests.support.fetching import BODY, fetch_all, fetcher_of, run
from tests.support.origin import Origin

_LOOK_UP = Resolver.look_up  # before any test replaces it


@contextmanager
def _name_server(reply: bytes | None = None) -> Iterator[int]:
    """A UDP port that never responds, like a name server that is down."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        yield server.getsockname()[1]


def _asking(port: int, **options: object) -> Resolver:
    return Resolver(nameservers=["127.0.0.1"], udp_port=port, tcp_port=port, **options)


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
    assert took < 0.4
    assert len(failures) == 700
    for failure in failures:
        assert isinstance(failure, FetchFailed)
        assert (failure.error.code, failure.error.retryable) == (ImageErrorCode.DNS_FAILED, True)
