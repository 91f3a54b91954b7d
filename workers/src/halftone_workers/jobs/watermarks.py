"""Watermarks of requests: each is fetched once per request and worker, then cached for a while."""

import asyncio
from collections import OrderedDict
from functools import lru_cache
from uuid import UUID

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.options import ImageOptions
from halftone_shared.model.results import ImageError
from halftone_workers.errors import FetchFailed, HostBusy, MemoryBusy
from halftone_workers.http.fetching import ImageFetcher
from halftone_workers.sharing import Who

# How many watermarks are cached; the least recently used one is dropped.
KEPT = 32
# Watermarks do not count against a memory budget, so they must be small.
MAX_WATERMARK_BYTES = 5 * 1024 * 1024


class Watermarks:
    """Fetches watermarks with the same rules as images. Use it on the event loop."""

    def __init__(self, fetcher: ImageFetcher) -> None:
        self._fetcher = fetcher
        self._kept: OrderedDict[tuple[UUID | None, str], asyncio.Task[bytes]] = OrderedDict()

    async def of(self, who: Who, options: ImageOptions) -> dict[str, bytes]:
        """The bytes of each watermark that the options name, by its URL. Raises FetchFailed, and
        HostBusy or MemoryBusy if it must be fetched later.
        """
        return {url: await self._get(who, url) for url in _urls(options)}

    async def _get(self, who: Who, url: str) -> bytes:
        key = (who.request_id, url)
        if key not in self._kept:
            self._kept[key] = asyncio.ensure_future(self._fetch(who, url))
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        task = self._kept[key]
        self._kept.move_to_end(key)
        try:
            # Several images wait for the same fetch: cancelling one must not cancel the others.
            return await asyncio.shield(task)
        except (FetchFailed, HostBusy, MemoryBusy):
            if self._kept.get(key) is task:
                del self._kept[key]
            raise

    async def _fetch(self, who: Who, url: str) -> bytes:
        try:
            fetched = await self._fetcher.fetch(url, who)
        except FetchFailed as failed:
            error = failed.error
            message = f"The watermark {url[:200]!r} cannot be fetched. {error.message}"
            raise FetchFailed(
                ImageError(error.code, message, error.http_status, error.retryable),
                failed.retry_after_seconds,
                failed.silent_host,
                failed.asking_host,
            ) from None
        try:
            if len(fetched.data) > MAX_WATERMARK_BYTES:
                message = (
                    f"The watermark {url[:200]!r} has more than {MAX_WATERMARK_BYTES:,} bytes."
                )
                raise FetchFailed(ImageError(ImageErrorCode.TOO_LARGE, message))
            return bytes(fetched.data)
        finally:
            fetched.reserved.give_back()


@lru_cache
def _urls(options: ImageOptions) -> frozenset[str]:
    urls = (output.options.watermark_url for output in options.outputs)
    return frozenset(url for url in urls if url is not None)
