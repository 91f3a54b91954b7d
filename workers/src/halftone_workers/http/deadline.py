"""One time limit for a whole fetch or delivery, which can be paused."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self


class Deadline:
    """A time limit for its whole block. Raises TimeoutError. paused() extends it, unless
    `counts_all` is set.
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
        """Whether it has cancelled its block, or is about to."""
        return self._timeout.expired()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time spent in this block: it is our own waiting for a free place, not
        the server's.
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
