"""A fetched image for the time of a block, as a worker holds it until it is stored."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from halftone_workers.fetching import ImageFetcher


@asynccontextmanager
async def fetched(fetcher: ImageFetcher, url: str) -> AsyncIterator[bytes | bytearray]:
    image = await fetcher.fetch(url)
    try:
        yield image.data
    finally:
        image.reserved.give_back()
