"""The memory budget of fetched images: which fetch waits for which, without deadlock."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from halftone_workers.http.deadline import Deadline
from halftone_workers.http.memory import MemoryBudget, Reservation
from halftone_workers.sharing import Who


async def _granted(reservation: Reservation, size: int) -> None:
    async with Deadline(5) as until:
        await reservation.grow_to(size, until)


def test_oldest_waits_for_one_that_will_give_its_bytes_back() -> None:
    async def work() -> None:
        budget = MemoryBudget(17)
        oldest, later = budget.reserve(), budget.reserve()
        await _granted(later, 9)
        waiting = asyncio.create_task(_granted(oldest, 9))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
        later.give_back()
        await waiting
        assert (oldest.size, later.size) == (9, 9)

    asyncio.run(work())


def test_oldest_goes_on_when_all_wait_having_a_part() -> None:
    async def work() -> None:
        budget = MemoryBudget(10)
        oldest, later = budget.reserve(), budget.reserve()
        await _granted(oldest, 5)
        await _granted(later, 5)
        other = asyncio.create_task(_granted(later, 8))
        await _granted(oldest, 8)
        assert not other.done()
        other.cancel()

    asyncio.run(work())


def test_one_that_has_not_asked_yet_holds_nobody_up() -> None:
    """It may wait for a connection that the others keep until they have their bytes."""

    async def work() -> None:
        budget = MemoryBudget(10)
        redirected, first, second = budget.reserve(), budget.reserve(), budget.reserve()
        await _granted(first, 5)
        await _granted(second, 5)
        other = asyncio.create_task(_granted(second, 8))
        await _granted(first, 8)
        first.give_back()
        await other
        second.give_back()
        await _granted(redirected, 10)
        redirected.give_back()
        budget.reserve().give_back()
        await _granted(budget.reserve(), 10)

    asyncio.run(work())


def test_what_other_threads_give_back_is_there_for_who_waits_and_for_who_comes() -> None:
    async def work() -> None:
        budget = MemoryBudget(10)
        with ThreadPoolExecutor(4) as pool:
            for _ in range(50):
                parts, whole, next_one = (
                    [budget.reserve(Who(uuid4(), uuid4())) for _ in range(5)],
                    budget.reserve(),
                    budget.reserve(),
                )
                for part in parts:
                    await _granted(part, 2)
                waiting = asyncio.create_task(_granted(whole, 10))
                await asyncio.sleep(0)
                assert not waiting.done()
                for part in parts:
                    pool.submit(part.give_back)
                await waiting
                pool.submit(whole.give_back).result()
                await _granted(next_one, 10)
                next_one.give_back()

    asyncio.run(work())
