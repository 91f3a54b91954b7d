"""Finds the processes that a test run left behind, even when their parent has changed."""

import os
import uuid
from contextlib import suppress

import psutil

# Set in the environment of everything that the run starts, directly or indirectly.
MARK = "TEST_RUN_OF_PROCESS"
_LAST_SECONDS = 10.0


def mark_this_run() -> None:
    os.environ[MARK] = str(uuid.uuid4())


def end_leftovers() -> list[str]:
    """Kill the run's processes that have not ended, and return their descriptions."""
    found = _marked()
    _, left = psutil.wait_procs(found, timeout=_LAST_SECONDS)
    described = [_described(process) for process in left]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=_LAST_SECONDS)
    return described


def _marked() -> list[psutil.Process]:
    mark = os.environ[MARK]
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
