"""`halftone queues` shows what PostgreSQL holds, once or live."""

import os
import signal
import subprocess
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from halftone_shared.worker_registry import WorkerReport, report_worker
from tests.support.halftone import PYTHON
from tests.support.stored import claimed, failed_image, finish, good_image, settle, store_request

COMMAND = [PYTHON, "-m", "halftone_cli", "queues"]


def _environment(database_url: str) -> dict[str, str]:
    return os.environ | {"HALFTONE_DATABASE_URL": database_url, "COLUMNS": "160"}


def test_one_print_shows_queues_workers_throughput_and_failures(engine: Engine, database_url: str) -> None:
    running = store_request(engine, 12, images=2)
    settle(engine, claimed(engine, running, 1), good_image(), failed_image())
    claimed(engine, running, 2)
    finish(engine, store_request(engine, 3, webhook_url="http://127.0.0.1/hook"), 3)
    with engine.connect() as connection:
        report_worker(connection, WorkerReport(uuid4(), "press-room", 4711, 1, 4, 1))
    answer = subprocess.run(
        [*COMMAND, "--once"], env=_environment(database_url), capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in answer.stdout.splitlines() if "│" in line]
    assert rows[0][:4] == ["products", "10", "0", "1"]
    assert rows[1][:2] == ["webhooks", "1"]
    assert rows[3][:4] == ["24 hours", "4", "4", "1"]
    assert rows[4][:4] == ["press-room", "4711", "1", "1 of 4"]
    assert rows[5][:4] == [str(running), "products.csv", "PROCESSING", "1 of 12"]
    assert rows[6] == ["http_error", "1", "1"]


@pytest.mark.parametrize("how", [["--once"], []], ids=["once", "without a terminal"])
def test_empty_service_says_that_no_worker_lives(database_url: str, how: list[str]) -> None:
    answer = subprocess.run(
        [*COMMAND, *how], env=_environment(database_url), capture_output=True, text=True, check=False, timeout=60
    )
    assert answer.returncode == 0, answer.stderr
    assert "no worker lives" in answer.stdout


def test_live_view_goes_on_until_it_is_interrupted(engine: Engine, database_url: str) -> None:
    terminal, theirs = os.openpty()
    variables = _environment(database_url) | {"TERM": "xterm", "LINES": "50"}
    live = subprocess.Popen([*COMMAND, "--every", "0.5"], env=variables, stdin=theirs, stdout=theirs)
    os.close(theirs)
    shown = b""
    try:
        while b"no worker lives" not in shown:
            shown += os.read(terminal, 65536)
        store_request(engine, 4321)
        while b"0 of 4321" not in shown:
            shown += os.read(terminal, 65536)
    finally:
        live.send_signal(signal.SIGINT)
        assert live.wait(20) == 0
        os.close(terminal)
