"""A codec process from the worker's side: its socket, its queue of jobs, and the deadline of the
running job.
"""

import asyncio
import json
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

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_workers.codec.options import Compressed
from halftone_workers.codec_processes.child import MEMORY_BYTES
from halftone_workers.codec_processes.protocol import HEADER, AnswerHead, read_answer
from halftone_workers.errors import ImageRefused
from halftone_workers.metrics import STAGE_SECONDS
from halftone_workers.sharing import NOBODY, Who

# The next job is sent while the process still works on another, so that it never waits for the
# worker. Only if both are small, at most AHEAD_BYTES: a slow job must not delay one that another
# process could take. Of tiny jobs, up to AHEAD_JOBS are queued: they finish faster than the worker
# can send the next.
AHEAD_BYTES = 1024**2
AHEAD_JOBS, AHEAD_JOBS_BYTES = 8, 256 * 1024
# A queued job that has not begun after this time is also offered to the other processes.
AHEAD_SECONDS = 0.25
# What has arrived is read into this buffer: several small answers at once. All processes share it,
# because only one callback of the event loop runs at a time.
_ARRIVED = memoryview(bytearray(128 * 1024))


class Job:
    """An image to compress. The caller awaits `answer`."""

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
        """Call `give_up` unless the job begins within AHEAD_SECONDS."""
        self._patience = asyncio.get_running_loop().call_later(AHEAD_SECONDS, give_up)

    def begin(self) -> None:
        """Mark the job as begun. It may begin twice, if it was also offered to another process."""
        if not self.has_begun:
            self.count("wait")
        self.has_begun = True
        if self._patience is not None:
            self._patience.cancel()

    def count(self, stage: str) -> None:
        """Record the time since the last call as spent in this stage."""
        now = time.perf_counter()
        STAGE_SECONDS[stage].observe(now - self.since)
        self.since = now

    def refuse(self, code: ImageErrorCode, message: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(ImageRefused(code, message))


class CodecProcess:
    """A codec process, the socket to it, and its jobs: the running one, then the queued ones.

    It calls `on_free` after an answer, `on_overdue` at a missed deadline, `on_lost` if the process
    ended by itself, and `on_spent` after the last answer of a process that has used up its memory.
    Raises OSError if the machine cannot start another process.
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
        # A buffer that holds a whole image: otherwise the process waits for each piece of it.
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
        self._deadline: asyncio.TimerHandle | None = None
        # Unsent data, the beginning of an answer whose rest has not arrived, and the part of its
        # buffer that is still to be filled if its length is known.
        self._outgoing: deque[memoryview] = deque()
        self._begun = bytearray()
        self._rest = memoryview(b"")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._read)

    def takes(self, job: Job) -> bool:
        """Whether this process can accept a job now."""
        if not self.jobs or job.is_held_up:
            return not self.jobs
        queued, size = len(self.jobs), len(job.data)
        if queued == 1 and len(self.jobs[0].data) <= AHEAD_BYTES and size <= AHEAD_BYTES:
            return True
        size += sum([len(one.data) for one in self.jobs])
        return queued < AHEAD_JOBS and size <= AHEAD_JOBS_BYTES

    def give(self, job: Job) -> None:
        """Queue a job behind those that the process already has."""
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
        """Start the deadline of the first job."""
        self.jobs[0].begin()
        self._deadline = self._loop.call_later(self._timeout_seconds, self._on_overdue, self)

    def _go_on(self) -> None:
        """Continue sending: the socket is writable again."""
        if self._has_sent_all():
            self._loop.remove_writer(self._socket)

    def _has_sent_all(self) -> bool:
        """Send as much as the socket takes now. Returns whether everything was sent."""
        try:
            while self._outgoing:
                self._sent(self._socket.sendmsg(self._outgoing))
        except BlockingIOError:
            return False
        except OSError:
            self._outgoing.clear()  # the process has ended; _read() notices that
        return True

    def _sent(self, nbytes: int) -> None:
        while self._outgoing and nbytes >= len(self._outgoing[0]):
            nbytes -= len(self._outgoing.popleft())
        if nbytes:
            self._outgoing[0] = self._outgoing[0][nbytes:]

    def _read(self) -> None:
        begun = len(self._begun)
        try:
            nbytes = self._socket.recv_into(self._rest or _ARRIVED[begun:])
        except BlockingIOError:
            return
        except OSError:
            nbytes = 0
        if not nbytes or not self.jobs:
            self._on_lost(self)  # the process ended, or sent data without having a job
        elif self._rest:
            self._rest = self._rest[nbytes:]
            if not self._rest:
                whole, self._begun = memoryview(self._begun), bytearray()
                self._take_answers(whole)
        else:
            _ARRIVED[:begun] = self._begun
            self._begun = bytearray()
            self._take_answers(_ARRIVED[: begun + nbytes])

    def _take_answers(self, arrived: memoryview) -> None:
        """Process the complete answers, and keep the beginning of the one after them."""
        while len(arrived) >= HEADER.size:
            json_bytes, data_bytes = HEADER.unpack_from(arrived)
            data_start = HEADER.size + json_bytes
            end = data_start + data_bytes
            if end > len(arrived):
                self._begun = bytearray(end)
                self._begun[: len(arrived)] = arrived
                self._rest = memoryview(self._begun)[len(arrived) :]
                break
            head: AnswerHead = json.loads(bytes(arrived[HEADER.size : data_start]))
            if not self._answer(head, bytes(arrived[data_start:end])):
                return
            arrived = arrived[end:]
        else:
            self._begun = bytearray(arrived)
        self._on_free()

    def _answer(self, head: AnswerHead, data: bytes) -> bool:
        """Complete the running job and begin the next one. Returns whether the process goes on."""
        if not self.jobs:
            self._on_lost(self)  # it answered a job that it did not have
            return False
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
            return False
        self.jobs.popleft()
        if self.jobs:
            self._begin()
        return True

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def memory_bytes(self) -> int:
        """Resident memory in bytes; 0 on systems other than Linux, which do not report it."""
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
    """The environment of a codec process. It holds none of the worker's secrets, and makes malloc
    keep memory between images: otherwise page faults take half of Pillow's time.
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
