"""A pool of real codec processes, and the state of those processes."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.image_formats import Format
from halftone_shared.model.options import ImageOptions, Mode
from halftone_workers.codec.options import CodecLimits, Compressed
from halftone_workers.codec_processes.pool import CodecPool
from halftone_workers.errors import ImageRefused
from tests.support.images import jpeg

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]
linux_only = pytest.mark.skipif(
    sys.platform != "linux", reason="reads /proc; the limits go further on Linux"
)

FAST = ImageOptions()
# AVIF, 5 megapixels, a search of seven encodes: several seconds of uninterruptible C code.
SLOW = ImageOptions(mode=Mode.BYTES, ratio=0.01, format=Format.AVIF)


def running_on(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> Run[Any]:
    def run(work: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(work)

    return run


@asynccontextmanager
async def running_pool(
    processes: int = 1, *, timeout_seconds: float = 20, limits: CodecLimits | None = None
) -> AsyncIterator[CodecPool]:
    pool = CodecPool(processes, limits or CodecLimits(), timeout_seconds=timeout_seconds)
    await pool.start()
    try:
        yield pool
    finally:
        await pool.close()


def refuse_starts(monkeypatch: pytest.MonkeyPatch, times: int) -> list[OSError]:
    """Let the next starts of a process fail, as on a full machine; returns those still to fail."""
    start = subprocess.Popen
    refusals = [OSError(errno.EAGAIN, "Resource temporarily unavailable")] * times

    def start_or_not(*arguments: Any, **how: Any) -> "subprocess.Popen[bytes]":
        if refusals:
            raise refusals.pop()
        return start(*arguments, **how)

    monkeypatch.setattr(subprocess, "Popen", start_or_not)
    return refusals


def open_files() -> set[tuple[int, int]]:
    """Device and inode of each open file and socket of this process. Servers and clients of other
    tests may close theirs at any time, so a mere count says nothing.
    """
    found = set()
    for descriptor in Path("/dev/fd").iterdir():
        with suppress(OSError):  # the descriptor that listed the folder is closed
            status = os.fstat(int(descriptor.name))
            found.add((status.st_dev, status.st_ino))
    return found


def pids_of(pool: CodecPool) -> set[int]:
    return {process.pid for process in pool._all}


def is_alive(pid: int) -> bool:
    """Whether a process runs. A zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def codec_children() -> list[int]:
    """Codec processes whose parent is this process."""
    return [
        child.pid
        for child in psutil.Process().children()
        if "halftone_workers.codec_processes.child" in _command(child)
    ]


def _command(process: psutil.Process) -> list[str]:
    """Empty for a process that has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


async def refusal(job: Coroutine[Any, Any, Compressed]) -> ImageErrorCode:
    with pytest.raises(ImageRefused) as refused:
        await job
    return refused.value.code


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.01)


async def all_ready(pool: CodecPool) -> None:
    """Every process is confined and waits for work."""
    await asyncio.gather(*(pool.compress(jpeg((16, 16)), FAST) for _ in range(pool._size)))


async def given_while_stopped(pool: CodecPool, images: int) -> "list[asyncio.Future[Compressed]]":
    """Images given to stopped processes, which start on them when they are continued."""
    await all_ready(pool)
    for pid in pids_of(pool):
        os.kill(pid, signal.SIGSTOP)
    return [asyncio.ensure_future(pool.compress(jpeg(seed=seed), FAST)) for seed in range(images)]
