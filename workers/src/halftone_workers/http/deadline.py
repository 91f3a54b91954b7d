"""One limit over a whole fetch or delivery, and what does not count against it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self


class Deadline:
    """One limit over everything in its block. Raises TimeoutError. Waiting that is our own puts it
    off, unless `counts_all`.
    """

    def __init__(self, seconds: float, *, counts_all: bool = False) -> None:
        self._timeout = asyncio.timeout(seconds)
        self._counts_all = counts_all

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self._timeout.__aexit__(*raised)

    @property
    def has_passed(self) -> bool:
        """Whether it has ended what is in its block, or is about to."""
        return self._timeout.expired()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time spent in this block does not count: nobody's server is slow because we wait for a
        free slot.
        """
        if self._counts_all:
            yield
            return
        loop = asyncio.get_running_loop()
        when = self._timeout.when()
        left = None if when is None else when - loop.time()
        self._timeout.reschedule(None)
        try:
            yield
        finally:
            self._timeout.reschedule(None if left is None else loop.time() + left)
