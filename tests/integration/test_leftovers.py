"""A test run, a benchmark or a drill that is killed leaves no server and no files behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.support.halftone import wait_for
from tests.support.leftovers import MARK

_RUN = """
from tests.support.postgres import running_postgres

with running_postgres() as server:
    print(server.pid, flush=True)
    input()
"""


def test_killed_program_leaves_no_server_and_no_files() -> None:
    unmarked = {name: value for name, value in os.environ.items() if name != MARK}
    with subprocess.Popen(
        [sys.executable, "-c", _RUN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=unmarked
    ) as run:
        assert run.stdout is not None
        server = psutil.Process(int(run.stdout.readline()))
        assert server.is_running()
        folder = Path(server.cwd())
        run.send_signal(signal.SIGKILL)
        run.wait()
        wait_for(lambda: _has_ended(server), what="end of the server")
        wait_for(lambda: not folder.exists(), what="end of its files")


def _has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE or not process.is_running()
    except psutil.NoSuchProcess:
        return True
