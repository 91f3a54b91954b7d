"""Keeps child processes running: restarts those that die, and stops all of them together."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from types import FrameType

import structlog

from halftone_shared.runtime.variables import PARENT_PIPE

log = structlog.get_logger(__name__)

CHECK_SECONDS = 0.25
MAX_PAUSE_SECONDS = 10.0
# A child that ran this long counts as healthy: when it dies, it is restarted at once.
HEALTHY_SECONDS = 10.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass
class Child:
    """A process to keep running. `command` is started with `environment`, and stopped by
    SIGTERM.
    """

    name: str
    command: Sequence[str]
    environment: dict[str, str]
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    failures: int = 0
    start_at: float = 0.0

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None


def end_on_stop_signals() -> None:
    """Undo the supervisor's signal handlers, in a process forked from its own."""
    for number in _STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


class Supervisor:
    """Runs children until SIGTERM, SIGINT or SIGHUP arrives. It handles these signals as soon as it
    is constructed. A second Ctrl-C kills the children.
    """

    def __init__(self, *, grace_seconds: float) -> None:
        self._children: Sequence[Child] = ()
        self._grace_seconds = grace_seconds
        self.is_stopping = False
        # Nothing is written to it: when this process ends, the kernel closes it and the children
        # notice.
        self._pipe_read, self._pipe_write = os.pipe()

        for number in _STOP_SIGNALS:
            # nohup ignores SIGHUP. A shell ignores SIGINT for what it starts in the background.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def run(self, children: Sequence[Child], *, check: Callable[[], None]) -> None:
        """Start the children, keep them running until a signal arrives, then stop them in order.
        `check` is called every CHECK_SECONDS; it keeps other things alive, such as PostgreSQL.
        """
        self._children = children
        while not self.is_stopping:
            check()
            for child in self._children:
                self._keep_running(child)
            # Not Event.wait(): a signal handler may run in the middle of it, and the handler's
            # set() would then wait for a lock that is already held.
            time.sleep(CHECK_SECONDS)
        self._stop_children()

    def finish(self, process: BaseProcess) -> None:
        """Wait until a process has ended. When a signal arrives, terminate it: the process must
        have called end_on_stop_signals().
        """
        while process.is_alive():
            process.join(CHECK_SECONDS)
            if self.is_stopping:
                process.terminate()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self.is_stopping and number == signal.SIGINT:
            for child in self._children:
                if child.process is not None:
                    child.process.kill()
        self.is_stopping = True

    def _keep_running(self, child: Child) -> None:
        if child.is_running():
            return
        now = time.monotonic()
        if child.process is not None and child.start_at <= child.started_at:
            self._plan_restart(child, now)
        if now >= child.start_at:
            self._start(child)

    def _plan_restart(self, child: Child, now: float) -> None:
        assert child.process is not None  # noqa: S101 - it has died
        child.failures = 0 if now - child.started_at > HEALTHY_SECONDS else child.failures + 1
        pause = min(0.25 * 2**child.failures, MAX_PAUSE_SECONDS) if child.failures else 0.0
        child.start_at = now + pause
        log.warning(
            "child died",
            child=child.name,
            exit_code=child.process.returncode,
            restart_in_seconds=pause,
        )

    def _start(self, child: Child) -> None:
        child.process = subprocess.Popen(
            child.command,
            env=child.environment | {PARENT_PIPE: str(self._pipe_read)},
            pass_fds=[self._pipe_read],
            stdin=subprocess.DEVNULL,
            # Ctrl-C in the terminal reaches only the supervisor, which then stops its children.
            start_new_session=True,
        )
        child.started_at = child.start_at = time.monotonic()

    def _stop_children(self) -> None:
        running = [
            child.process
            for child in self._children
            if child.process is not None and child.is_running()
        ]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + self._grace_seconds
        for process in running:
            try:
                process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                log.warning(
                    "child killed",
                    pid=process.pid,
                    reason=f"it did not stop in {self._grace_seconds:g} s",
                )
                process.kill()
                process.wait()
