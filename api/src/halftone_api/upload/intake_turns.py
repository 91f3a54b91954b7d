"""Limits how many uploads are read and stored at once, in turns by owner."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from halftone_api.errors import Problem, ProblemCode

# Of each API process. An upload computes most of the time, so more at once would not end sooner.
UPLOADS_AT_ONCE = 3
# Less than the above, so that an owner's large uploads leave a place for the other owners.
UPLOADS_AT_ONCE_PER_OWNER = 2
# A client or proxy that has waited this long without an answer gives up.
PATIENCE_SECONDS = 120.0


class IntakeTurns:
    """A fair semaphore on an event loop. An upload that waits has no thread and no connection."""

    def __init__(self) -> None:
        self._in_work: Counter[UUID | None] = Counter()
        self._waiting: dict[UUID | None, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def turn(self, owner_id: UUID | None) -> AsyncIterator[None]:
        """Wait for a place, and hold it for the block. `owner_id` is None without API keys. Raises
        Problem if no place becomes free in time.
        """
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner_id, deque()).append(place)
        self._hand_out()
        try:
            await self._wait(place)
            yield
        finally:
            if place.done() and not place.cancelled():
                self._in_work[owner_id] -= 1
            self._hand_out()

    async def _wait(self, place: asyncio.Future[None]) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await place
        except TimeoutError:
            raise Problem(
                ProblemCode.RATE_LIMITED,
                f"The upload waited {PATIENCE_SECONDS:g} s for the uploads that you sent before it."
                " Nothing was stored. Send it again when they have been answered.",
                headers={"Retry-After": "5"},
            ) from None

    def _hand_out(self) -> None:
        while self._in_work.total() < UPLOADS_AT_ONCE:
            owners = [
                owner for owner in self._waiting if self._in_work[owner] < UPLOADS_AT_ONCE_PER_OWNER
            ]
            if not owners:
                return
            owner = min(owners, key=lambda owner: self._in_work[owner])
            queue = self._waiting.pop(owner)
            place = queue.popleft()
            if queue:
                self._waiting[owner] = queue  # as the last: equal owners take turns
            if not place.cancelled():  # cancelled: the client has gone
                place.set_result(None)
                self._in_work[owner] += 1
