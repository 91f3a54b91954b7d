"""Uploads are stored in turns by owner, a few at once."""

import asyncio
from uuid import UUID, uuid4

import pytest

from halftone_api.errors import Problem
from halftone_api.upload import intake_turns
from halftone_api.upload.intake_turns import UPLOADS_AT_ONCE_PER_OWNER, IntakeTurns

FIRST, SECOND = uuid4(), uuid4()


class _Uploads:
    def __init__(self) -> None:
        self.turns = IntakeTurns()
        self.begun: list[UUID] = []
        self.end = asyncio.Event()

    async def begin(self, owner: UUID, number: int) -> list["asyncio.Task[None]"]:
        tasks = [asyncio.create_task(self._store(owner)) for _ in range(number)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return tasks

    async def _store(self, owner: UUID) -> None:
        async with self.turns.turn(owner):
            self.begun.append(owner)
            await self.end.wait()


async def _owner_with_many() -> None:
    uploads = _Uploads()
    first = await uploads.begin(FIRST, 10)
    assert uploads.begun == [FIRST] * UPLOADS_AT_ONCE_PER_OWNER
    second = await uploads.begin(SECOND, 2)
    assert uploads.begun == [FIRST, FIRST, SECOND]
    uploads.end.set()
    await asyncio.gather(*first, *second)
    assert len(uploads.begun) == 12


def test_owner_with_many_uploads_leaves_a_place_for_another() -> None:
    asyncio.run(_owner_with_many())


async def _gone() -> None:
    uploads = _Uploads()
    tasks = await uploads.begin(FIRST, 4)
    for task in tasks[1:3]:  # one that holds a place, and one that waits
        task.cancel()
    await asyncio.wait(tasks[1:3])
    await asyncio.sleep(0)
    assert uploads.begun == [FIRST] * 3
    uploads.end.set()
    await asyncio.gather(tasks[0], tasks[3])


def test_place_of_a_client_that_has_gone_goes_to_the_next() -> None:
    asyncio.run(_gone())


async def _waited_for_nothing() -> None:
    uploads = _Uploads()
    tasks = await uploads.begin(FIRST, 3)
    with pytest.raises(Problem, match="Nothing was stored"):
        await tasks[2]
    uploads.end.set()
    await asyncio.gather(*tasks[:2])
    await asyncio.gather(*await uploads.begin(FIRST, 3))
    assert len(uploads.begun) == 5


def test_upload_that_has_waited_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_turns, "PATIENCE_SECONDS", 0.01)
    asyncio.run(_waited_for_nothing())
