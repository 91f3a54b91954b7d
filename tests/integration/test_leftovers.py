"""A test run or a benchmark that is killed leaves no server behind."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.support.halftone import wait_for

_RUN = """
import sys
from pathlib import Path
from halftone_cli.embedded_postgres import EmbeddedPostgres
from tests.support.leftovers import mark_this_run

mark_this_run()
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print(server.running_server().pid, flush=True)
input()
"""


def test_server_of_a_killed_run_is_ended(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _RUN, tmp_path / "data"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as run:
        assert run.stdout is not None
        server = psutil.Process(int(run.stdout.readline()))
        assert server.is_running()
        run.send_signal(signal.SIGKILL)
        run.wait()
        wait_for(lambda: _has_ended(server), what="end of the server")


def _has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE or not process.is_running()
    except psutil.NoSuchProcess:
        return True
