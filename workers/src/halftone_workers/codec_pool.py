"""The codec processes of a worker: one a core, each killed at its deadline and replaced at once.

Only a process can be stopped in the middle of C code, and only a process takes nothing with it when it crashes.
"""

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog

from halftone_shared.states import Action, ImageErrorCode
from halftone_workers.codec.options import CodecLimits, CodecOptions, Compressed, ImageRefused
from halftone_workers.codec_process import HEADER
from halftone_workers.metrics import CODEC_BUSY, CODEC_ENDS, CODEC_MEMORY, CODEC_PROCESSES, timed_stage

log = structlog.get_logger(__name__)

# Address space of a codec process: an image of 50 MP as RGBA is 200 MB, and a transformation holds a few of it.
MEMORY_BYTES = 2 * 1024**3


class CodecCrashed(Exception):
    """The process ended in the middle of an image; the message says how."""


class CodecPool:
    """Compresses images, one in each process at a time. All methods belong to one event loop."""

    def __init__(self, processes: int, limits: CodecLimits, *, timeout_seconds: float) -> None:
        self._limits = asdict(limits)
        self._timeout_seconds = timeout_seconds
        self._size = processes
        self._idle: asyncio.LifoQueue[_CodecProcess] = asyncio.LifoQueue()
        self._all: set[_CodecProcess] = set()
        self._jobs: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def start(self) -> None:
        CODEC_PROCESSES.set(self._size)
        CODEC_BUSY.set_function(lambda: self.busy)
        CODEC_MEMORY.set_function(self._memory_bytes)
        for _ in range(self._size):
            self._add()

    async def close(self) -> None:
        """End every process; jobs that run or wait are cancelled."""
        self._closed = True
        for job in self._jobs:
            job.cancel()
        for process in list(self._all):
            self._discard(process)

    @property
    def busy(self) -> int:
        """How many processes have an image in hand."""
        return max(len(self._all) - self._idle.qsize(), 0)

    def _memory_bytes(self) -> int:
        return sum(process.memory_bytes() for process in list(self._all))

    async def compress(self, data: bytes, options: CodecOptions) -> Compressed:
        """Compress in the next free process. Raises ImageRefused, also when the image took too long or broke its
        process.
        """
        job = asyncio.current_task()
        assert job is not None  # noqa: S101 - a coroutine runs in a task
        self._jobs.add(job)
        try:
            return await self._compress(data, options)
        finally:
            self._jobs.discard(job)

    async def _compress(self, data: bytes, options: CodecOptions) -> Compressed:
        with timed_stage("wait"):
            process = await self._idle.get()
            while process.has_ended():  # killed while it had nothing to do: no image is to blame
                CODEC_ENDS.labels("idle").inc()
                self._replace(process)
                process = await self._idle.get()
        try:
            with timed_stage("encode"):
                async with asyncio.timeout(self._timeout_seconds):
                    facts, compressed = await process.run({"options": asdict(options), "limits": self._limits}, data)
        except TimeoutError:
            CODEC_ENDS.labels("deadline").inc()
            log.warning("codec process killed", pid=process.pid, reason="deadline", seconds=self._timeout_seconds)
            self._replace(process)
            message = f"Compressing the image took longer than {self._timeout_seconds:g} s."
            raise ImageRefused(ImageErrorCode.ENCODE_TIMEOUT, message) from None
        except CodecCrashed as crash:
            CODEC_ENDS.labels("crash").inc()
            log.warning("codec process crashed", pid=process.pid, reason=str(crash))
            self._replace(process)
            raise ImageRefused(ImageErrorCode.ENCODE_CRASHED, "The image broke the process that decoded it.") from crash
        except BaseException:
            self._replace(process)  # it is still busy with what nobody waits for
            raise
        self._idle.put_nowait(process)
        return _compressed(facts, compressed)

    def _replace(self, process: "_CodecProcess") -> None:
        self._discard(process)
        if not self._closed:
            self._add()

    def _add(self) -> None:
        process = _CodecProcess()
        self._all.add(process)
        self._idle.put_nowait(process)

    def _discard(self, process: "_CodecProcess") -> None:
        self._all.discard(process)
        process.kill()


class _CodecProcess:
    """A codec process and the socket to it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "halftone_workers.codec_process", str(theirs.fileno()), str(MEMORY_BYTES)],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=codec_environment(),
                start_new_session=True,
            )
        self.pid = self._process.pid

    async def run(self, job: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """Hand over one job and wait for its answer. Raises CodecCrashed."""
        loop = asyncio.get_running_loop()
        encoded = json.dumps(job).encode()
        try:
            await loop.sock_sendall(self._socket, HEADER.pack(len(encoded), len(data)) + encoded)
            await loop.sock_sendall(self._socket, data)
            json_bytes, data_bytes = HEADER.unpack(await self._read(HEADER.size))
            head = json.loads(await self._read(json_bytes))
            return head, await self._read(data_bytes)
        except OSError:
            raise CodecCrashed(self._how_it_ended()) from None

    async def _read(self, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        buffer = bytearray(size)
        view = memoryview(buffer)
        while view:
            read = await loop.sock_recv_into(self._socket, view)
            if not read:
                raise ConnectionResetError
            view = view[read:]
        return bytes(buffer)

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def memory_bytes(self) -> int:
        """What it holds of the machine's memory now; 0 where the system does not say (Linux does)."""
        try:
            resident_pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0
        return int(resident_pages) * resource.getpagesize()

    def kill(self) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "it closed its socket"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def codec_environment() -> dict[str, str]:
    """No secret of the worker's; and memory kept between images, as half of Pillow's time is otherwise page faults."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {
        "MALLOC_MMAP_THRESHOLD_": "268435456",
        "MALLOC_TRIM_THRESHOLD_": "268435456",
        "MALLOC_TOP_PAD_": "16777216",
        "MALLOC_ARENA_MAX": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _compressed(facts: dict[str, Any], data: bytes) -> Compressed:
    if error := facts.get("error"):
        raise ImageRefused(ImageErrorCode(error["code"]), error["message"])
    return Compressed(
        data=None if facts["unchanged"] else data,
        action=Action(facts["action"]),
        format=facts["format"],
        extension=facts["extension"],
        width=facts["width"],
        height=facts["height"],
        warnings=tuple(facts["warnings"]),
    )
