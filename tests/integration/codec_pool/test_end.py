"""No process of a pool outlives the pool or the worker."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.codec_pool import (
    FAST,
    SLOW,
    Run,
    all_ready,
    codec_children,
    is_alive,
    linux_only,
    pids_of,
    running_pool,
)
from tests.support.images import jpeg


def test_no_child_remains_after_close(run_on_both: Run[None]) -> None:
    async def work() -> None:
        async with running_pool(3) as pool:
            await all_ready(pool)
            pids = pids_of(pool)
            assert sorted(codec_children()) == sorted(pids)
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
        assert codec_children() == []

    run_on_both(work())


def test_close_in_the_middle_of_a_job_leaves_no_child_and_no_wait(
    run_on_both: Run[None], slow_image: bytes
) -> None:
    async def work() -> None:
        async with running_pool(timeout_seconds=1.5) as pool:
            await all_ready(pool)
            job = asyncio.ensure_future(pool.compress(slow_image, SLOW))
            queued = asyncio.ensure_future(pool.compress(jpeg(), FAST))
            await asyncio.sleep(0.2)
            await pool.close()
            _, pending = await asyncio.wait((job, queued), timeout=0.5)
            hanging = len(pending)
            await asyncio.wait((job, queued), timeout=3)
            remaining = codec_children()
            for task in (job, queued):
                task.cancel()
            await asyncio.gather(job, queued, return_exceptions=True)
        assert remaining == []
        assert hanging == 0

    try:
        run_on_both(work())
    finally:
        for pid in codec_children():  # so that the next test starts without any
            os.kill(pid, signal.SIGKILL)


_HELPER = """
import asyncio, sys
from halftone_shared.model.options import ImageOptions
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec_processes.pool import CodecPool

async def main() -> None:
    pool = CodecPool(2, CodecLimits(), timeout_seconds=60)
    await pool.start()
    image, slow = (open(path, "rb").read() for path in sys.argv[1:3])
    await asyncio.gather(*(pool.compress(image, ImageOptions()) for _ in range(2)))
    options = ImageOptions.from_json({"mode": "bytes", "ratio": 0.01, "format": "avif"})
    busy = asyncio.ensure_future(pool.compress(slow, options))
    await asyncio.sleep(0.2)
    print(*(process.pid for process in pool._all), flush=True)
    await busy
    print("done", flush=True)

asyncio.run(main())
"""


@linux_only
def test_processes_die_with_their_parent_busy_or_not(tmp_path: Path, slow_image: bytes) -> None:
    (tmp_path / "image").write_bytes(jpeg())
    (tmp_path / "slow").write_bytes(slow_image)
    arguments = [sys.executable, "-c", _HELPER, str(tmp_path / "image"), str(tmp_path / "slow")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as helper:
        assert helper.stdout is not None
        pids = [int(pid) for pid in helper.stdout.readline().split()]
        assert len(pids) == 2
        assert all(is_alive(pid) for pid in pids)
        helper.kill()
        assert helper.stdout.read() == ""  # it was killed while it worked
    end = time.monotonic() + 3
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < end, "a codec process outlives its parent"
        time.sleep(0.02)
