"""The codec processes of a worker: one per core, each killed at its deadline and replaced at once.

Processes rather than threads: only a process can be stopped in the middle of C code, and only a
process can crash without affecting the worker.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

import structlog

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.options import ImageOptions
from halftone_workers.codec.options import CodecLimits, Compressed
from halftone_workers.codec_processes.handle import CodecProcess, Job
from halftone_workers.codec_processes.protocol import Sizes, job_head
from halftone_workers.metrics import CODEC_BUSY, CODEC_ENDS, CODEC_MEMORY, CODEC_PROCESSES
from halftone_workers.sharing import NOBODY, Held, Turns, Who

log = structlog.get_logger(__name__)

# The pause after the machine could not start another process.
START_AGAIN_SECONDS = 1.0

# A job is long once it has run for this time: no other job queues behind it.
LONG_SECONDS = 0.25
# While every process runs a long job and other jobs wait, an additional process is started, up to
# this multiple of the usual number. An owner without a running job uses it. It starts before such
# an owner arrives: on a busy machine a start takes a second. The operating system then shares the
# cores between them.
MOST_TIMES = 2
SHRINK_SECONDS = 10.0


class CodecPool:
    """Compresses images, one per process at a time, in turns by owner, then by request. Call its
    methods on one event loop, except where they say otherwise.
    """

    def __init__(self, processes: int, limits: CodecLimits, *, timeout_seconds: float) -> None:
        self._limits = limits
        self._timeout_seconds = timeout_seconds
        self._size = processes
        self._all: set[CodecProcess] = set()
        self._held = Held()
        self._waiting: Turns[Job] = Turns(self._held)
        self._look_again: asyncio.TimerHandle | None = None
        # Processes that could not be started yet.
        self._missing = 0
        self._closed = False

    async def start(self) -> None:
        CODEC_PROCESSES.set(self._size)
        CODEC_BUSY.set_function(lambda: self.busy)
        CODEC_MEMORY.set_function(self._memory_bytes)
        for _ in range(self._size):
            self._add()

    async def close(self) -> None:
        """End every process, and cancel running and waiting jobs."""
        self._closed = True
        jobs = [*self._waiting, *(job for process in self._all for job in process.jobs)]
        for process in list(self._all):
            self._discard(process)
        for job in jobs:
            job.answer.cancel()

    @property
    def busy(self) -> int:
        """How many processes have a job."""
        return sum(bool(process.jobs) for process in list(self._all))

    def _memory_bytes(self) -> int:
        return sum(process.memory_bytes() for process in list(self._all))

    async def compress(
        self,
        data: bytes | bytearray,
        options: ImageOptions,
        watermarks: Mapping[str, bytes] | None = None,
        processed: Mapping[str, bytes] | None = None,
        *,
        who: Who = NOBODY,
    ) -> Compressed:
        """Compress in the next free process: the main output, and the variants by name.

        `watermarks`: the bytes of each by its URL in the options. `processed`: outputs of an
        external service by the variant's name, which are checked instead of made. Raises
        ImageRefused, also if the image took too long or crashed its process.
        """
        marks, made = watermarks or {}, processed or {}
        head = job_head(options, self._limits, _sizes(marks), _sizes(made))
        job = Job(data, head, (*marks.values(), *made.values()), who)
        self._waiting.push(who, job)
        self._hand_out()
        try:
            return await job.answer
        except asyncio.CancelledError:
            self._withdraw(job)
            raise

    def _hand_out(self) -> None:
        while (job := self._next()) and (process := self._free_for(job)):
            self._waiting.pop()
            self._hold(job)
            process.give(job)
            if process.jobs[0] is not job:
                job.wait_behind(partial(self._take_back, process, job))
        if self._waiting and self._look_again is None:
            loop = asyncio.get_running_loop()
            self._look_again = loop.call_later(LONG_SECONDS, self._make_room)

    def _hold(self, job: Job) -> None:
        """Count the job for its owner until it is answered."""
        if not job.is_held:
            job.is_held = True
            self._held.add(job.who)
            job.answer.add_done_callback(lambda _: self._held.add(job.who, -1))

    def _make_room(self) -> None:
        """If all processes run long jobs, start one for the next owner without a running job. If
        one could not be started, another could not either.
        """
        self._look_again = None
        if self._next() is None or self._closed:
            return
        may_grow = not self._missing and len(self._all) < MOST_TIMES * self._size
        if may_grow and all(map(_is_long, self._all)):
            log.info("codec process added", reason="all others have long jobs")
            self._add()
            asyncio.get_running_loop().call_later(SHRINK_SECONDS, self._shrink)
        self._hand_out()

    def _shrink(self) -> None:
        """End an additional process once it is idle and no job waits."""
        if self._closed or len(self._all) + self._missing <= self._size:
            return
        idle = next((process for process in self._all if not process.jobs), None)
        if idle is not None and not self._waiting:
            self._discard(idle)
        else:
            asyncio.get_running_loop().call_later(SHRINK_SECONDS, self._shrink)

    def _next(self) -> Job | None:
        """The next job. Skips jobs that were taken back but have begun in their first process."""
        while (waiting := self._waiting.next()) and waiting[1].has_begun:
            self._waiting.pop()
        return waiting[1] if waiting else None

    def _free_for(self, job: Job) -> CodecProcess | None:
        for process in list(self._all):
            if not process.jobs and process.has_ended():
                CODEC_ENDS.labels("idle").inc()
                self._replace(process)  # killed while idle: no image caused it
        is_beyond = len(self._all) > self._size and self.busy >= self._size
        if is_beyond and self._held.by_payer(job.who):
            return None  # the processes beyond their number are for owners who have none
        least: CodecProcess | None = None
        for process in self._all:
            has_less = least is None or len(process.jobs) < len(least.jobs)
            if has_less and not _is_long(process):
                least = process
        return least if least and least.takes(job) else None

    def _take_back(self, process: CodecProcess, job: Job) -> None:
        """Offer a job that waits behind a long one to all processes; the first free one runs it."""
        if job in process.jobs and process.jobs[0] is not job and not job.answer.done():
            job.is_held_up = True
            self._waiting.push(job.who, job)
            self._hand_out()

    def _withdraw(self, job: Job) -> None:
        with suppress(KeyError, ValueError):
            self._waiting.remove(job.who, job)
        for process in list(self._all):
            if process.jobs and process.jobs[0] is job:
                self._replace(process)  # it works on a job that nobody waits for
        self._hand_out()

    def _overdue(self, process: CodecProcess) -> None:
        CODEC_ENDS.labels("deadline").inc()
        log.warning(
            "codec process killed",
            pid=process.pid,
            reason="deadline",
            seconds=self._timeout_seconds,
        )
        message = f"Compressing the image took longer than {self._timeout_seconds:g} s."
        process.jobs[0].refuse(ImageErrorCode.ENCODE_TIMEOUT, message)
        self._replace(process)
        self._hand_out()

    def _lost(self, process: CodecProcess) -> None:
        if process.jobs:
            CODEC_ENDS.labels("crash").inc()
            log.warning("codec process crashed", pid=process.pid, reason=process.how_it_ended())
            process.jobs[0].refuse(
                ImageErrorCode.ENCODE_CRASHED, "The image broke the process that decoded it."
            )
        else:
            CODEC_ENDS.labels("idle").inc()
        self._replace(process)
        self._hand_out()

    def _spent(self, process: CodecProcess) -> None:
        CODEC_ENDS.labels("memory").inc()
        self._replace(process)
        self._hand_out()

    def _replace(self, process: CodecProcess) -> None:
        """Replace a process whose running job has ended. Its queued jobs go back to the queue."""
        self._discard(process)
        behind = [
            job for job in list(process.jobs)[1:] if not job.has_begun and not job.answer.done()
        ]
        waiting = set(self._waiting)
        for job in reversed(behind):
            if job not in waiting:
                self._waiting.push(job.who, job, first=True)
        if not self._closed:
            self._add()

    def _add(self) -> None:
        try:
            self._all.add(
                CodecProcess(
                    self._timeout_seconds, self._hand_out, self._overdue, self._lost, self._spent
                )
            )
        except OSError as error:
            log.error(
                "codec process not started", error=str(error), again_seconds=START_AGAIN_SECONDS
            )
            self._missing += 1
            asyncio.get_running_loop().call_later(START_AGAIN_SECONDS, self._add_again)

    def _add_again(self) -> None:
        self._missing -= 1
        if not self._closed:
            self._add()
            self._hand_out()

    def _discard(self, process: CodecProcess) -> None:
        self._all.discard(process)
        process.kill()


def _is_long(process: CodecProcess) -> bool:
    """Whether its running job is a long one."""
    if not process.jobs or not process.jobs[0].has_begun:
        return False
    return time.perf_counter() - process.jobs[0].since > LONG_SECONDS


def _sizes(files: Mapping[str, bytes]) -> Sizes:
    return tuple((name, len(data)) for name, data in files.items())
