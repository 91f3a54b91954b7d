"""How many bytes of fetched images a worker holds at once."""

import asyncio
from contextlib import suppress
from queue import Empty, SimpleQueue

from halftone_workers.http.client import Deadline


class MemoryBudget:
    """How many bytes of fetched images may be in memory at once: what the codec has not taken yet
    holds fetching back.

    Images whose length nobody told may all wait for each other with a part in hand. Then, and only
    then, the one that asked first goes on beyond the budget, by itself at most, so that some image
    always comes to its end.
    """

    def __init__(self, total_bytes: int) -> None:
        self._free = total_bytes
        # In the order in which they asked first. One that has not asked may wait for those that
        # have: for a connection.
        self._reservations: dict[Reservation, None] = {}
        self._waiting: set[Reservation] = set()
        # What other threads have given back.
        self._returned: SimpleQueue[Reservation] = SimpleQueue()
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def reserve(self) -> "Reservation":
        """A place in the budget, empty at first."""
        return Reservation(self)

    def give_back(self, reservation: "Reservation") -> None:
        """From any thread. The event loop is told where somebody waits there, and otherwise looks
        when it must.
        """
        self._returned.put(reservation)
        if self._waiting:
            self._loop.call_soon_threadsafe(self._tell)

    def _take_back(self) -> None:
        with suppress(Empty):
            while True:
                reservation = self._returned.get_nowait()
                self._reservations.pop(reservation, None)
                self._free += reservation.size

    def _tell(self) -> None:
        """Let all who wait look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _has_room(self, reservation: "Reservation", more: int) -> bool:
        self._take_back()
        return self._free >= more or (
            next(iter(self._reservations)) is reservation and self._is_stuck()
        )

    def _is_stuck(self) -> bool:
        """Whether nobody who holds anything goes on by himself, to give it back."""
        return all(other in self._waiting for other in self._reservations if other.size)

    async def take(self, reservation: "Reservation", more: int, until: Deadline) -> None:
        self._reservations.setdefault(reservation)
        if not self._has_room(reservation, more):
            await self._wait(reservation, more, until)
        self._free -= more
        reservation.size += more

    async def _wait(self, reservation: "Reservation", more: int, until: Deadline) -> None:
        with until.paused():
            self._waiting.add(reservation)
            self._tell()  # with one more who waits, all may
            try:
                while not self._has_room(reservation, more):
                    await self._changed.wait()
            finally:
                self._waiting.discard(reservation)


class Reservation:
    """The bytes that one image holds of a MemoryBudget."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self.size = 0

    async def grow_to(self, size: int, until: Deadline) -> None:
        """Wait until the image may have this many bytes; the wait does not count against the
        deadline.
        """
        if size > self.size:
            await self._budget.take(self, size - self.size, until)

    def give_back(self) -> None:
        """Once, from any thread."""
        self._budget.give_back(self)
