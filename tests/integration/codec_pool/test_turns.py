"""Codec processes serve owners in turns: one owner's slow images do not hold up another's."""

import asyncio
from io import BytesIO
from uuid import uuid4

from PIL import Image

from halftone_shared.model.options import ImageOptions, Mode
from halftone_workers.codec_processes.pool import CodecPool
from halftone_workers.sharing import Who
from tests.support.codec_pool import running_on, running_pool
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
