"""Codec processes serve owners in turns: one owner's slow images do not hold up another's."""

import asyncio
from io import BytesIO
from uuid import uuid4

import pytest
from PIL import Image

from halftone_shared.model.options import ImageOptions, Mode
from halftone_workers.codec_processes import pool as pool_module
from halftone_workers.codec_processes.pool import CodecPool
from halftone_workers.sharing import Who
from tests.support.codec_pool import all_ready, refuse_starts, running_on, running_pool, until
from tests.support.images import jpeg


def _large() -> bytes:
    """A few bytes that keep a codec busy for seconds."""
    buffer = BytesIO()
    Image.new("RGB", (6000, 6000)).save(buffer, "WEBP", lossless=True)
    return buffer.getvalue()


def test_long_images_of_one_owner_do_not_hold_up_another() -> None:
    hog, other = Who(uuid4(), uuid4()), Who(uuid4(), uuid4())
    large, small = _large(), jpeg((64, 48))

    async def work() -> None:
        async with running_pool(1) as pool:
            long = ImageOptions(mode=Mode.BYTES)
            jobs = [asyncio.ensure_future(pool.compress(large, long, who=hog)) for _ in range(8)]
            await asyncio.sleep(0.1)
            for _ in range(3):
                await pool.compress(small, ImageOptions(), who=other)
                await asyncio.sleep(0.1)  # the hog does not take what was started for the other
            assert not all(job.done() for job in jobs)
            assert len(pool._all) == 2
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    running_on(asyncio.new_event_loop)(work())


def test_process_is_ready_before_another_owner_comes() -> None:
    large, long = _large(), ImageOptions(mode=Mode.BYTES)
    hog = Who(uuid4(), uuid4())

    async def work() -> None:
        async with running_pool(1) as pool:
            jobs = [asyncio.ensure_future(pool.compress(large, long, who=hog)) for _ in range(4)]
            await until(lambda: len(pool._all) == 2)
            assert pool.busy == 1  # it is not for the owner of the long images
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    running_on(asyncio.new_event_loop)(work())


def test_processes_that_could_not_be_started_do_not_pile_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    large, long = _large(), ImageOptions(mode=Mode.BYTES)
    hog = Who(uuid4(), uuid4())

    async def work() -> None:
        async with running_pool(1) as pool:
            await all_ready(pool)
            monkeypatch.setattr(pool_module, "LONG_SECONDS", 0.02)
            monkeypatch.setattr(pool_module, "START_AGAIN_SECONDS", again := 0.2)
            refuse_starts(monkeypatch, 5)
            jobs = [asyncio.ensure_future(pool.compress(large, long, who=hog)) for _ in range(4)]
            await until(lambda: len(pool._all) == 2)
            await asyncio.sleep(2 * again)  # every further start would be tried again by now
            assert len(pool._all) == 2
            for job in jobs:
                job.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)

    running_on(asyncio.new_event_loop)(work())


def test_small_images_of_two_owners_take_turns() -> None:
    hog, other = Who(uuid4(), uuid4()), Who(uuid4(), uuid4())
    image = jpeg((800, 600))
    ended: list[str] = []

    async def one(pool: CodecPool, name: str, who: Who) -> None:
        await pool.compress(image, ImageOptions(), who=who)
        ended.append(name)

    async def work() -> None:
        async with running_pool(1) as pool:
            await pool.compress(image, ImageOptions())  # waits until the process has started
            hogs = [asyncio.ensure_future(one(pool, "hog", hog)) for _ in range(30)]
            await asyncio.sleep(0)
            await asyncio.gather(*(one(pool, "other", other) for _ in range(3)))
            await asyncio.gather(*hogs)

    running_on(asyncio.new_event_loop)(work())
    assert max(at for at, name in enumerate(ended) if name == "other") < 20
