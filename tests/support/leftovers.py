"""Finds the processes that a test run left behind, even when their parent has changed.

A second process watches the run. It ends what the run started when the run itself is killed, so
that no PostgreSQL goes on alone. `python leftovers.py MARK` is that process.
"""

import os
import subprocess
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

# Set in the environment of everything that the run starts, directly or indirectly.
MARK = "TEST_RUN_OF_PROCESS"
_LAST_SECONDS = 10.0
# A supervisor that is still alive may start a server again while others are killed.
_ROUNDS = 5


@dataclass(frozen=True)
class MarkedRun:
    """This process and all that it starts."""

    mark: str
    watcher: "subprocess.Popen[bytes]"

    def end(self) -> list[str]:
        """Kill the run's processes that have not ended, and return their descriptions."""
        _, left = psutil.wait_procs(_marked(self.mark), timeout=_LAST_SECONDS)
        described = [_described(process) for process in left]
        _kill_marked(self.mark)
        assert self.watcher.stdin is not None  # it is a pipe
        self.watcher.stdin.close()
        self.watcher.wait()
        return described


def mark_this_run() -> MarkedRun:
    mark = str(uuid.uuid4())
    # Started before the mark is set, and in a session of its own, so that Ctrl-C does not reach it.
    watcher = subprocess.Popen(
        [sys.executable, Path(__file__), mark], stdin=subprocess.PIPE, start_new_session=True
    )
    os.environ[MARK] = mark
    return MarkedRun(mark, watcher)


def mark_unless_marked() -> None:
    """Mark this process, unless a run that started it is marked. When it ends, however it does, the
    watcher kills what it left.
    """
    if MARK not in os.environ:
        _own_runs.append(mark_this_run())


# Keeps the watcher's standard input open until this process ends.
_own_runs: list[MarkedRun] = []


def _watch(mark: str) -> None:
    """Wait for the end of standard input, which the run holds open, and kill what it left."""
    sys.stdin.buffer.read()
    _kill_marked(mark)


def _kill_marked(mark: str) -> None:
    for _ in range(_ROUNDS):
        left = _marked(mark)
        if not left:
            return
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=_LAST_SECONDS)


def _marked(mark: str) -> list[psutil.Process]:
    own = os.getpid()
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != own and process.environ().get(MARK) == mark:
                found.append(process)
    return found


def _described(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return f"{process.pid}: {' '.join(process.cmdline())} (in {process.cwd()})"
    return str(process.pid)


if __name__ == "__main__":
    _watch(sys.argv[1])
