"""What the pool returns, and which process does which job."""

import asyncio
import os
import signal

import pytest

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.image_formats import Format
from halftone_shared.model.options import ImageOptions, Mode
from halftone_shared.model.states import Action
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.pipeline import compress
from halftone_workers.codec_processes import handle
from tests.support.codec_pool import (
    FAST,
    Run,
    given_while_stopped,
    pids_of,
    refusal,
    running_pool,
    until,
)
from tests.support.images import encoded, jpeg, opened, picture


def test_process_gives_what_the_codec_gives(run: Run[None]) -> None:
    async def work() -> None:
        async with running_pool() as pool:
            for data in (
                jpeg(),
                encoded(picture(), "PNG", compress_level=0),
                encoded(picture((4, 4)), quality=1),
            ):
                assert await pool.compress(data, FAST) == compress(data, FAST, CodecLimits())

    run(work())


def test_options_and_limits_reach_the_process(run: Run[None]) -> None:
    async def work() -> None:
        options = ImageOptions(mode=Mode.SCALE, quality=40, scale=0.25, format=Format.WEBP)
        async with running_pool(limits=CodecLimits(max_pixels=10_000, max_frames=2)) as pool:
            result = await pool.compress(jpeg((100, 100)), options)
            assert (result.format, result.extension, result.width, result.height) == (
                "WEBP",
                "webp",
                25,
                25,
            )
            assert (
                await refusal(pool.compress(jpeg((101, 100)), options))
                is ImageErrorCode.TOO_MANY_PIXELS
            )
            frames = [picture((20, 20), seed=seed) for seed in (1, 2, 3)]
            film = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
            assert await refusal(pool.compress(film, options)) is ImageErrorCode.TOO_MANY_FRAMES

    run(work())


def test_warnings_and_kept_originals_come_back(run: Run[None]) -> None:
    async def work() -> None:
        async with running_pool() as pool:
            half_clear = picture((200, 200)).convert("RGBA")
            half_clear.putalpha(128)
            clear = encoded(half_clear, "PNG", compress_level=0)
            flattened = await pool.compress(clear, ImageOptions(format=Format.JPEG))
            assert len(flattened.warnings) == 1
            kept = await pool.compress(encoded(picture((8, 8)), quality=1, optimize=True), FAST)
            assert (kept.data, kept.action) == (None, Action.KEPT_ORIGINAL)

    run(work())


def test_refused_image_costs_no_process(run: Run[None]) -> None:
    async def work() -> None:
        async with running_pool() as pool:
            before = pids_of(pool)
            assert await refusal(pool.compress(b"<html>", FAST)) is ImageErrorCode.NOT_AN_IMAGE
            assert (
                await refusal(pool.compress(b"BM" + bytes(60), FAST))
                is ImageErrorCode.UNSUPPORTED_FORMAT
            )
            assert await refusal(pool.compress(jpeg()[:3000], FAST)) is ImageErrorCode.CORRUPT_IMAGE
            assert (await pool.compress(jpeg(), FAST)).width == 320
            assert pids_of(pool) == before

    run(work())


def test_every_job_gets_its_own_answer(run: Run[None]) -> None:
    async def work() -> None:
        async with running_pool(2) as pool:
            sizes = [(20 + number, 90 - number) for number in range(60)]
            results = await asyncio.gather(*(pool.compress(jpeg(size), FAST) for size in sizes))
            for size, result in zip(sizes, results, strict=True):
                assert (result.width, result.height) == size
                assert result.data is not None
                assert opened(result.data).size == size

    run(work())


def test_large_image_goes_through_the_socket_whole(run: Run[None]) -> None:
    async def work() -> None:
        data = encoded(picture((1500, 1200)), "PNG", compress_level=0)
        assert len(data) > 5_000_000
        async with running_pool() as pool:
            result = await pool.compress(data, ImageOptions(format=Format.JPEG, quality=95))
            assert result == compress(
                data, ImageOptions(format=Format.JPEG, quality=95), CodecLimits()
            )

    run(work())


@pytest.mark.parametrize("other", [False, True])
def test_jobs_run_side_by_side_up_to_the_size(run: Run[None], other: bool) -> None:
    async def work() -> None:
        async with running_pool(2) as pool:
            jobs = await given_while_stopped(pool, 3)
            await asyncio.sleep(0.1)
            assert pool.busy == 2
            first, second = pids_of(pool)
            # The process that runs again does the third job, whichever process it was given to; the
            # other is still stopped.
            first, second = (second, first) if other else (first, second)
            os.kill(first, signal.SIGCONT)
            await until(lambda: sum(job.done() for job in jobs) == 2)
            os.kill(second, signal.SIGCONT)
            assert all(result.width == 320 for result in await asyncio.gather(*jobs))
            assert pids_of(pool) == {first, second}

    run(work())


def test_image_that_is_held_up_is_compressed_once(run: Run[None]) -> None:
    async def work() -> None:
        async with running_pool(2) as pool:
            jobs = await given_while_stopped(pool, 3)
            await asyncio.sleep(handle.AHEAD_SECONDS + 0.1)
            two, one = sorted(pool._all, key=lambda process: len(process.jobs), reverse=True)
            assert (len(two.jobs), len(one.jobs)) == (2, 1)
            os.kill(two.pid, signal.SIGCONT)
            await until(lambda: sum(job.done() for job in jobs) == 2)
            assert (len(two.jobs), len(one.jobs)) == (0, 1)
            os.kill(one.pid, signal.SIGCONT)
            await asyncio.gather(*jobs)
            assert pool.busy == 0

    run(work())
