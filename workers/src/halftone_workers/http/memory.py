"""Limits how many bytes of fetched images a worker holds at once."""

import asyncio
from contextlib import suppress
from queue import Empty, SimpleQueue

from halftone_workers.errors import MemoryBusy
from halftone_workers.http.deadline import Deadline
from halftone_workers.sharing import NOBODY, Share, Who

# An image waits this long for memory; then its product is handed back.
PATIENCE_SECONDS = 30.0


class MemoryBudget:
    """Limits the bytes of fetched images in memory. Fetching slows down when the codec is behind.

    Each owner and each request has a share (sharing.Share). Only if all images wait for each other,
    each with part of its bytes, may the one that asked first exceed its share, and the budget by at
    most its own size. So one image can always finish.
    """

    def __init__(self, total_bytes: int) -> None:
        self._share = Share(total_bytes)
        # Ordered by their first request for memory. An image that has not asked yet is not listed:
        # it may wait for a connection that a listed one holds.
        self._reservations: dict[Reservation, None] = {}
        self._waiting: set[Reservation] = set()
        # Reservations that other threads have given back.
        self._returned: SimpleQueue[Reservation] = SimpleQueue()
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def reserve(self, who: Who = NOBODY) -> "Reservation":
        """Create a reservation of 0 bytes."""
        return Reservation(self, who)

    def give_back(self, reservation: "Reservation") -> None:
        """Give the bytes back. Thread-safe. Wakes the event loop only if an image waits."""
        self._returned.put(reservation)
        if self._waiting:
            self._loop.call_soon_threadsafe(self._wake_all)

    def _take_back(self) -> None:
        with suppress(Empty):
            while True:
                reservation = self._returned.get_nowait()
                self._reservations.pop(reservation, None)
                self._share.give_back(reservation.who, reservation.size)

    def _wake_all(self) -> None:
        """Let all waiting images check again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _has_room(self, reservation: "Reservation", more: int) -> bool:
        self._take_back()
        if self._share.free >= more and self._share.allows(reservation.who):
            return True
        first_of_owner = next(
            other for other in self._reservations if other.who.owner == reservation.who.owner
        )
        if first_of_owner is not reservation or not self._is_stuck(reservation.who):
            return False
        first = next(iter(self._reservations))
        return self._share.free >= more or (first is reservation and self._is_stuck(None))

    def _is_stuck(self, who: Who | None) -> bool:
        """Whether every image that holds bytes, of this owner or of all, waits for more: none of
        them can finish and give its bytes back.
        """
        return all(
            other in self._waiting
            for other in self._reservations
            if other.size and (who is None or other.who.owner == who.owner)
        )

    async def take(self, reservation: "Reservation", more: int, until: Deadline) -> None:
        self._reservations.setdefault(reservation)
        if not self._has_room(reservation, more):
            await self._wait(reservation, more, until)
        self._share.take(reservation.who, more)
        reservation.size += more

    async def _wait(self, reservation: "Reservation", more: int, until: Deadline) -> None:
        with until.paused():
            self._waiting.add(reservation)
            self._wake_all()  # with this one, all images may be waiting
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    while not self._has_room(reservation, more):
                        await self._changed.wait()
            except TimeoutError:
                raise MemoryBusy("The worker's memory is full of other images.") from None
            finally:
                self._waiting.discard(reservation)


class Reservation:
    """The bytes that one image holds of a MemoryBudget."""

    def __init__(self, budget: MemoryBudget, who: Who) -> None:
        self._budget = budget
        self.who = who
        self.size = 0

    async def grow_to(self, size: int, until: Deadline) -> None:
        """Wait until the image may hold this many bytes. The wait does not count against the
        deadline. Raises MemoryBusy after PATIENCE_SECONDS.
        """
        if size > self.size:
            await self._budget.take(self, size - self.size, until)

    def give_back(self) -> None:
        """Give all bytes back. Call it once, from any thread."""
        self._budget.give_back(self)
