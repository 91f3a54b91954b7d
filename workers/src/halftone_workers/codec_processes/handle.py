"""A codec process from the worker's side: its socket, the jobs that were handed over, and the
deadline of the first.
"""

import asyncio
import json
import math
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_workers.codec.options import Compressed
from halftone_workers.codec_processes.child import MEMORY_BYTES
from halftone_workers.codec_processes.protocol import HEADER, read_answer
from halftone_workers.errors import ImageRefused
from halftone_workers.metrics import STAGE_SECONDS
from halftone_workers.sharing import NOBODY, Who

# A job is handed over while the process still works on another, so that it never waits for us in
# between. Only where both are small: one that takes long must not hold back what another process
# could take. Tiny ones, which are done before we have our turn, lie there by the handful.
AHEAD_BYTES = 1024**2
AHEAD_JOBS, AHEAD_JOBS_BYTES = 8, 256 * 1024
# And one that is held up nevertheless is done by whoever has nothing else to do first.
AHEAD_SECONDS = 0.25


class Job:
    """An image on its way through a process; `answer` is awaited by whoever brought it."""

    def __init__(
        self,
        data: bytes | bytearray,
        head: bytes,
        watermarks: Sequence[bytes] = (),
        who: Who = NOBODY,
    ) -> None:
        self.data = data
        self.who = who
        self.is_held = False
        self.watermarks = watermarks
        self.head = head
        self.answer: asyncio.Future[Compressed] = asyncio.get_running_loop().create_future()
        self.since = time.perf_counter()
        self.has_begun = False
        self.is_held_up = False
        self._patience: asyncio.TimerHandle | None = None

    def wait_behind(self, give_up: Callable[[], None]) -> None:
        """Call `give_up` unless the job begins within AHEAD_SECONDS, the time it may wait for those
        before it.
        """
        self._patience = asyncio.get_running_loop().call_later(AHEAD_SECONDS, give_up)

    def begin(self) -> None:
        """Also where it was taken back from, after it was done elsewhere."""
        if not self.has_begun:
            self.count("wait")
        self.has_begun = True
        if self._patience is not None:
            self._patience.cancel()

    def count(self, stage: str) -> None:
        """The time since the last stage was spent in this one."""
        now = time.perf_counter()
        STAGE_SECONDS[stage].observe(now - self.since)
        self.since = now

    def refuse(self, code: ImageErrorCode, message: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(ImageRefused(code, message))


class CodecProcess:
    """A codec process, the socket to it, and its jobs: one under way, and those behind.

    `on_free`, `on_overdue`, `on_lost` and `on_spent` are called when it has answered, missed a
    deadline, ended by itself, or answered for the last time, its memory being used up. Raises
    OSError when the machine has no room for it.
    """

    def __init__(
        self,
        timeout_seconds: float,
        on_free: Callable[[], None],
        on_overdue: "Callable[[CodecProcess], None]",
        on_lost: "Callable[[CodecProcess], None]",
        on_spent: "Callable[[CodecProcess], None]",
    ) -> None:
        self.jobs: deque[Job] = deque()
        self._timeout_seconds = timeout_seconds
        self._on_free, self._on_overdue = on_free, on_overdue
        self._on_lost, self._on_spent = on_lost, on_spent
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        # An image that fits is there at once when its turn comes: in pieces, the process waited for
        # each of them.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, AHEAD_BYTES)
        with theirs, ExitStack() as undo:
            undo.callback(self._socket.close)
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "halftone_workers.codec_processes.child",
                    str(theirs.fileno()),
                    str(MEMORY_BYTES),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=codec_environment(),
                start_new_session=True,
            )
            undo.pop_all()
        self.pid = self._process.pid
        self._idle_seconds, self._idle_since = 0.0, time.monotonic()
        self._deadline: asyncio.TimerHandle | None = None
        # What has not gone out yet, and the part of an answer that is being read: its lengths, then
        # the rest.
        self._outgoing: deque[memoryview] = deque()
        self._lengths: tuple[int, int] | None = None
        self._incoming = memoryview(bytearray(HEADER.size))
        self._received = 0
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._read)

    def takes(self, job: Job) -> bool:
        """Whether a job may be given to it now."""
        if not self.jobs or job.is_held_up:
            return not self.jobs
        sizes = [len(one.data) for one in (*self.jobs, job)]
        one_behind = len(sizes) == 2 and max(sizes) <= AHEAD_BYTES
        return one_behind or (len(sizes) <= AHEAD_JOBS and sum(sizes) <= AHEAD_JOBS_BYTES)

    def give(self, job: Job) -> None:
        """Hand a job over, to be done after the one that is under way."""
        self.jobs.append(job)
        if len(self.jobs) == 1:
            self._begin()
        is_full = bool(self._outgoing)
        parts = (job.data, *job.watermarks)
        head = HEADER.pack(len(job.head), sum(map(len, parts))) + job.head
        self._outgoing.append(memoryview(head))
        self._outgoing += [memoryview(part) for part in parts]
        if not is_full and not self._has_sent_all():
            self._loop.add_writer(self._socket, self._go_on)

    def _begin(self) -> None:
        """The first job's time runs."""
        self._idle_seconds = self.idle_seconds()
        self._idle_since = math.inf
        self.jobs[0].begin()
        self._deadline = self._loop.call_later(self._timeout_seconds, self._on_overdue, self)

    def _go_on(self) -> None:
        """The socket takes more."""
        if self._has_sent_all():
            self._loop.remove_writer(self._socket)

    def _has_sent_all(self) -> bool:
        """Send as much as the socket takes now."""
        try:
            while self._outgoing:
                self._sent(self._socket.sendmsg(self._outgoing))
        except BlockingIOError:
            return False
        except OSError:
            self._outgoing.clear()  # it has ended, as the reader will see
        return True

    def _sent(self, nbytes: int) -> None:
        while self._outgoing and nbytes >= len(self._outgoing[0]):
            nbytes -= len(self._outgoing.popleft())
        if nbytes:
            self._outgoing[0] = self._outgoing[0][nbytes:]

    def _read(self) -> None:
        try:
            while self.jobs and (read := self._socket.recv_into(self._incoming[self._received :])):
                self._received += read
                if self._received == len(self._incoming) and self._take_part():
                    return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._on_lost(self)  # its end, or words that nobody asked for

    def _take_part(self) -> bool:
        """A part has come whole; whether that was all of an answer."""
        part, lengths, self._received = self._incoming, self._lengths, 0
        if lengths is None:
            self._lengths = json_bytes, data_bytes = HEADER.unpack(part)
            self._incoming = memoryview(bytearray(json_bytes + data_bytes))
            return False
        self._lengths, self._incoming = None, memoryview(bytearray(HEADER.size))
        self._answer(json.loads(bytes(part[: lengths[0]])), bytes(part[lengths[0] :]))
        return True

    def _answer(self, head: dict[str, Any], data: bytes) -> None:
        assert self._deadline is not None  # noqa: S101 - its job began
        self._deadline.cancel()
        job = self.jobs[0]
        if not job.answer.done():
            job.count("encode")
            try:
                job.answer.set_result(read_answer(head, data))
            except Exception as error:  # noqa: BLE001 - it is raised where the answer is awaited
                job.answer.set_exception(error)
        if head.get("last"):
            self._on_spent(self)
            return
        self.jobs.popleft()
        if self.jobs:
            self._begin()
        else:
            self._idle_since = time.monotonic()
        self._on_free()

    def idle_seconds(self) -> float:
        """How long it has had no job, in all, until now."""
        return self._idle_seconds + max(time.monotonic() - self._idle_since, 0.0)

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def memory_bytes(self) -> int:
        """Resident memory; 0 where the system does not say (Linux does)."""
        try:
            resident_pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0
        return int(resident_pages) * resource.getpagesize()

    def kill(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def how_it_ended(self) -> str:
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "it closed its socket"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def codec_environment() -> dict[str, str]:
    """No secret of the worker's; and memory kept between images, as half of Pillow's time is
    otherwise page faults.
    """
    kept = {
        name: os.environ[name]
        for name in ("PATH", "PYTHONPATH", "LANG", "LD_LIBRARY_PATH")
        if name in os.environ
    }
    return kept | {
        "MALLOC_MMAP_THRESHOLD_": "268435456",
        "MALLOC_TRIM_THRESHOLD_": "268435456",
        "MALLOC_TOP_PAD_": "16777216",
        "MALLOC_ARENA_MAX": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
