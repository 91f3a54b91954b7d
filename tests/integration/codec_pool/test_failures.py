"""A deadline, a crash or a cancelled job fails only that image."""

import asyncio
import os
import signal
import struct
import time
import zlib

import pytest

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec_processes import handle
from halftone_workers.codec_processes import pool as pool_module
from tests.support.codec_pool import (
    FAST,
    SLOW,
    Run,
    all_ready,
    codec_children,
    is_alive,
    linux_only,
    open_files,
    pids_of,
    refusal,
    refuse_starts,
    running_pool,
    until,
)
from tests.support.images import encoded, jpeg, picture


def test_job_over_its_deadline_is_killed_and_the_next_one_works(
    run: Run[None], slow_image: bytes
) -> None:
    async def work() -> None:
        async with running_pool(timeout_seconds=1) as pool:
            await all_ready(pool)
            (before,) = pids_of(pool)
            started = time.monotonic()
            assert await refusal(pool.compress(slow_image, SLOW)) is ImageErrorCode.ENCODE_TIMEOUT
            assert time.monotonic() - started >= 1
            assert not is_alive(before)
            assert (await pool.compress(jpeg(), FAST)).width == 320
            assert before not in pids_of(pool)
            assert len(pids_of(pool)) == 1

    run(work())


def test_waiting_for_a_free_process_does_not_count(run: Run[None]) -> None:
    async def work() -> None:
        # The limit must leave time for a replacement process to start.
        async with running_pool(timeout_seconds=3) as pool:
            await all_ready(pool)
            (pid,) = pids_of(pool)
            os.kill(pid, signal.SIGSTOP)
            stuck = asyncio.ensure_future(refusal(pool.compress(jpeg(), FAST)))
            await asyncio.sleep(0)
            # Each of these waits for longer than the limit before its turn comes.
            results = await asyncio.gather(
                *(pool.compress(jpeg(seed=seed), FAST) for seed in range(4))
            )
            assert await stuck is ImageErrorCode.ENCODE_TIMEOUT
            assert all(result.width == 320 for result in results)

    run(work())


def test_image_that_is_sent_to_a_process_that_does_not_read_ends_at_the_deadline(
    run: Run[None],
) -> None:
    async def work() -> None:
        async with running_pool(timeout_seconds=0.5) as pool:
            (pid,) = pids_of(pool)
            os.kill(pid, signal.SIGSTOP)
            megabytes = b"\xff\xd8\xff" + bytes(8_000_000)
            assert await refusal(pool.compress(megabytes, FAST)) is ImageErrorCode.ENCODE_TIMEOUT
            assert not is_alive(pid)

    run(work())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_process_killed_in_the_middle_costs_its_image_only(
    run: Run[None], slow_image: bytes, number: signal.Signals
) -> None:
    async def work() -> None:
        async with running_pool(2) as pool:
            await all_ready(pool)
            before = pids_of(pool)
            doomed = asyncio.ensure_future(refusal(pool.compress(slow_image, SLOW)))
            await asyncio.sleep(0.3)
            busy = {process.pid for process in pool._all if process.jobs}
            (victim,) = busy
            beside = [
                asyncio.ensure_future(pool.compress(jpeg(seed=seed), FAST)) for seed in (1, 2)
            ]
            os.kill(victim, number)
            assert await doomed is ImageErrorCode.ENCODE_CRASHED
            assert [result.width for result in await asyncio.gather(*beside)] == [320, 320]
            assert len(pids_of(pool) & before) == 1
            assert len(pids_of(pool)) == 2
            # Both of the two now in the pool work: each has its turn.
            results = await asyncio.gather(
                *(pool.compress(jpeg(seed=seed), FAST) for seed in range(8))
            )
            assert all(result.width == 320 for result in results)

    run(work())


def test_process_that_died_while_it_had_nothing_to_do_costs_no_image(run: Run[None]) -> None:
    async def work() -> None:
        async with running_pool() as pool:
            await all_ready(pool)
            (pid,) = pids_of(pool)
            os.kill(pid, signal.SIGKILL)
            await until(lambda: not is_alive(pid))
            assert (await pool.compress(jpeg(), FAST)).width == 320

    run(work())


@linux_only
def test_process_that_cannot_be_started_is_started_later(
    run: Run[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        others = open_files()
        async with running_pool() as pool:
            await all_ready(pool)
            files = len(open_files() - others)
            (pid,) = pids_of(pool)
            # The image waits for so long that the pool looks for long jobs meanwhile.
            again = 1.2 * pool_module.LONG_SECONDS
            monkeypatch.setattr(pool_module, "START_AGAIN_SECONDS", again)
            refusals = refuse_starts(monkeypatch, 2)
            os.kill(pid, signal.SIGKILL)
            await until(lambda: not is_alive(pid))
            assert (await pool.compress(jpeg((48, 36)), FAST)).width == 48
            await asyncio.sleep(2 * again)  # every further start would be tried again by now
            assert len(pids_of(pool) - {pid}) == 1
            assert not refusals
            assert len(open_files() - others) == files

    run(work())


@linux_only
def test_image_that_needs_more_memory_than_there_is_costs_itself_only(
    run: Run[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handle, "MEMORY_BYTES", 400 * 1024**2)

    async def work() -> None:
        header = struct.pack(">II", 12_000, 12_000) + b"\x08\x06\0\0\0"
        bomb = b"\x89PNG\r\n\x1a\n"
        for kind, content in (
            (b"IHDR", header),
            (b"IDAT", zlib.compress(bytes(100_000))),
            (b"IEND", b""),
        ):
            bomb += (
                struct.pack(">I", len(content))
                + kind
                + content
                + struct.pack(">I", zlib.crc32(kind + content))
            )
        async with running_pool(limits=CodecLimits(max_pixels=10**9)) as pool:
            assert await refusal(pool.compress(bomb, FAST)) is ImageErrorCode.TOO_MANY_PIXELS
            assert (await pool.compress(jpeg(), FAST)).width == 320

    run(work())


def test_canvas_that_does_not_fit_into_memory_is_said_to_be_too_large_not_corrupt(
    run: Run[None],
) -> None:
    async def work() -> None:
        frames = [picture((60, 40), seed=seed) for seed in (1, 2)]
        film = bytearray(encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
        assert film[12:16] == b"VP8X"
        film[24:30] = (16_382).to_bytes(3, "little") * 2
        async with running_pool() as pool:
            assert await refusal(pool.compress(bytes(film), FAST)) is ImageErrorCode.TOO_MANY_PIXELS

    run(work())


def test_job_behind_one_that_breaks_its_process_goes_to_another(run: Run[None]) -> None:
    async def work() -> None:
        async with running_pool() as pool:
            await all_ready(pool)
            (pid,) = pids_of(pool)
            os.kill(pid, signal.SIGSTOP)
            doomed = asyncio.ensure_future(refusal(pool.compress(jpeg(), FAST)))
            behind = [
                asyncio.ensure_future(pool.compress(jpeg((48 + at, 36)), FAST)) for at in range(3)
            ]
            await asyncio.sleep(0.05)
            (process,) = pool._all
            assert len(process.jobs) == 4
            os.kill(pid, signal.SIGKILL)
            assert await doomed is ImageErrorCode.ENCODE_CRASHED
            assert [result.width for result in await asyncio.gather(*behind)] == [48, 49, 50]

    run(work())


def test_image_waits_for_no_other_while_a_process_is_free(
    run: Run[None], slow_image: bytes
) -> None:
    async def work() -> None:
        async with running_pool(2) as pool:
            await all_ready(pool)
            slow = asyncio.ensure_future(pool.compress(slow_image, SLOW))
            for _ in range(4):
                await asyncio.gather(*(pool.compress(jpeg(), FAST) for _ in range(4)))
            assert not slow.done()
            slow.cancel()

    run(work())


def test_cancelled_job_does_not_answer_the_next_one(
    run_on_both: Run[None], slow_image: bytes
) -> None:
    async def work() -> None:
        async with running_pool() as pool:
            await all_ready(pool)
            (before,) = pids_of(pool)
            cancelled = asyncio.ensure_future(pool.compress(slow_image, SLOW))
            await asyncio.sleep(0.2)
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert not is_alive(before)
            assert (await pool.compress(jpeg((48, 36)), FAST)).width == 48
            assert len(pids_of(pool)) == 1

    run_on_both(work())


def test_job_cancelled_at_any_moment_leaves_a_pool_that_works(
    monkeypatch: pytest.MonkeyPatch, run_on_both: Run[None]
) -> None:
    # On a busy machine, these jobs could take long enough for another process to be added.
    monkeypatch.setattr(pool_module, "LONG_SECONDS", 60)

    async def work() -> None:
        async with running_pool(2) as pool:
            await all_ready(pool)
            for moment in range(12):
                job = asyncio.ensure_future(pool.compress(jpeg((64, 64)), FAST))
                await asyncio.sleep(moment * 0.0005)
                job.cancel()
                await asyncio.gather(job, return_exceptions=True)
            sizes = [(30 + number, 40) for number in range(10)]
            results = await asyncio.gather(*(pool.compress(jpeg(size), FAST) for size in sizes))
            assert [result.width for result in results] == [width for width, _ in sizes]
            assert len(pids_of(pool)) == len(codec_children()) == 2

    run_on_both(work())


def test_job_cancelled_before_its_turn_takes_no_process(run: Run[None]) -> None:
    async def work() -> None:
        async with running_pool() as pool:
            await all_ready(pool)
            (pid,) = pids_of(pool)
            os.kill(pid, signal.SIGSTOP)
            busy, waiting, last = (
                asyncio.ensure_future(pool.compress(jpeg(), FAST)) for _ in range(3)
            )
            await asyncio.sleep(0.05)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            os.kill(pid, signal.SIGCONT)
            assert [result.width for result in await asyncio.gather(busy, last)] == [320, 320]
            assert pids_of(pool) == {pid}

    run(work())
