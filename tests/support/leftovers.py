"""Finds the processes that a test run left behind, even when their parent has changed.

A second process watches the run. When the run has ended, even by a kill, the watcher kills what is
left of it, so that no PostgreSQL goes on alone, and removes the servers' folders. `python
leftovers.py MARK` is the watcher.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

# Set in the environment of everything that the run starts, directly or indirectly.
MARK = "TEST_RUN_OF_PROCESS"
# A file system in memory. Servers use it only while it has this much room.
_MEMORY = Path("/dev/shm")  # noqa: S108 - tempfile makes the folders in it
_MEMORY_BYTES = 2 * 1024**3
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


def make_folder(*, in_memory: bool) -> Path:
    """Make a folder for a server of this run. `in_memory` is a wish: without room, the folder is on
    the disk.
    """
    mark_unless_marked()
    has_room = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _MEMORY_BYTES
    parent = _MEMORY if in_memory and has_room else None
    return Path(tempfile.mkdtemp(prefix=f"{os.environ[MARK]}-", dir=parent))


def _watch(mark: str) -> None:
    """Wait for the end of standard input, which the run holds open, and remove what it left."""
    sys.stdin.buffer.read()
    _kill_marked(mark)
    for parent in (_MEMORY, Path(tempfile.gettempdir())):
        for folder in parent.glob(f"{mark}-*"):
            shutil.rmtree(folder, ignore_errors=True)


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
