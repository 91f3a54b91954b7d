"""The budget of fetched images: who waits for whom, and that not all wait for each other."""

import asyncio
from contextlib import AsyncExitStack

from halftone_workers.fetching import MemoryBudget, Reservation
from halftone_workers.outgoing_http import deadline


async def _granted(reservation: Reservation, size: int) -> None:
    async with deadline(5) as until:
        await reservation.grow_to(size, until)


def test_oldest_waits_for_one_that_will_give_its_bytes_back() -> None:
    async def work() -> None:
        budget = MemoryBudget(17)
        async with budget.reservation() as oldest:
            async with budget.reservation() as later:
                await _granted(later, 9)
                waiting = asyncio.create_task(_granted(oldest, 9))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert not waiting.done()
            await waiting
            assert (oldest.size, later.size) == (9, 9)

    asyncio.run(work())


def test_oldest_goes_on_when_all_wait_with_a_part_in_hand() -> None:
    async def work() -> None:
        budget = MemoryBudget(10)
        async with AsyncExitStack() as stack:
            oldest, later = [await stack.enter_async_context(budget.reservation()) for _ in range(2)]
            await _granted(oldest, 5)
            await _granted(later, 5)
            other = asyncio.create_task(_granted(later, 8))
            await _granted(oldest, 8)
            assert not other.done()
            other.cancel()

    asyncio.run(work())
