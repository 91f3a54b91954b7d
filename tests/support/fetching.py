"""For tests of fetching: a fetcher that may connect to this machine, and its results."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
import uvloop

from halftone_shared.model.addresses import FetchRule, parse_networks
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_workers.errors import FetchFailed
from halftone_workers.http.client import OutgoingHttp
from halftone_workers.http.fetching import ImageFetcher
from halftone_workers.http.memory import MemoryBudget

T = TypeVar("T")
LOOPBACK = FetchRule(parse_networks(["127.0.0.0/8", "::1/128"]))
BODY = bytes(range(256)) * 40
# How late a deadline may be on a busy machine.
GRACE_SECONDS = 0.5
_NO_AUTHORITIES = ssl.create_default_context()


def run(work: Coroutine[Any, Any, T]) -> T:
    """On the event loop that workers run on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


@asynccontextmanager
async def fetcher_of(
    *,
    timeout: float = 5,  # noqa: ASYNC109 - the fetcher's own
    max_bytes: int = 1_000_000,
    per_host: int = 4,
    budget_bytes: int = 100_000_000,
    max_redirects: int = 5,
    tls: ssl.SSLContext | None = _NO_AUTHORITIES,
) -> Any:
    http = OutgoingHttp(
        LOOPBACK,
        connections_per_host=per_host,
        user_agent="halftone/7 (+http://halftone.test)",
        tls=tls,
    )
    try:
        yield ImageFetcher(
            http,
            MemoryBudget(budget_bytes),
            max_image_bytes=max_bytes,
            timeout_seconds=timeout,
            max_redirects=max_redirects,
        )
    finally:
        await http.close()


def fetch(*urls: str, **how: Any) -> bytes:
    """The last URL's bytes, after the same client has fetched the others."""

    async def work() -> bytes:
        body = b""
        async with fetcher_of(**how) as fetcher:
            for url in urls:
                async with fetched(fetcher, url) as image:
                    body = bytes(image)
        return body

    return run(work())


def failure_of(*urls: str, **how: Any) -> FetchFailed:
    with pytest.raises(FetchFailed) as failed:
        fetch(*urls, **how)
    assert failed.value.error.message.endswith(".")
    return failed.value


def code_of(*urls: str, **how: Any) -> tuple[ImageErrorCode, bool]:
    error = failure_of(*urls, **how).error
    return error.code, error.retryable


async def fetch_all(
    fetcher: ImageFetcher, urls: list[str], *, hold_seconds: float = 0
) -> list[bytes | bytearray]:
    async def one(url: str) -> bytes | bytearray:
        async with fetched(fetcher, url) as body:
            await asyncio.sleep(hold_seconds)
            return body

    return await asyncio.gather(*(one(url) for url in urls))


@asynccontextmanager
async def fetched(fetcher: ImageFetcher, url: str) -> AsyncIterator[bytes | bytearray]:
    image = await fetcher.fetch(url)
    try:
        yield image.data
    finally:
        image.reserved.give_back()
