"""`halftone queues` shows PostgreSQL's figures, once or live."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import Engine, text

from halftone_shared.db.workers import WorkerReport, report_worker
from tests.support.halftone import PYTHON, wait_for
from tests.support.postgres import TestPostgres
from tests.support.stored import (
    WAITING,
    claimed,
    failed_image,
    finish,
    good_image,
    query,
    settle,
    store_request,
)

COMMAND = [PYTHON, "-m", "halftone_cli", "queues"]


def _environment(database_url: str) -> dict[str, str]:
    return os.environ | {"HALFTONE_DATABASE_URL": database_url, "COLUMNS": "160"}


def test_one_print_shows_queues_workers_throughput_and_failures(
    engine: Engine, database_url: str
) -> None:
    running = store_request(engine, 12, images=2)
    settle(engine, claimed(engine, running, 1), good_image(), failed_image())
    claimed(engine, running, 2)
    finish(engine, store_request(engine, 3, webhook_url="http://127.0.0.1/hook"), 3)
    with engine.connect() as connection:
        report_worker(connection, WorkerReport(uuid4(), "press-room", 4711, 1, 4, 1))
    answer = subprocess.run(
        [*COMMAND, "--once"],
        env=_environment(database_url),
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    # The first two lines name the database and the storage.
    rows = [line.split() for line in answer.stdout.splitlines()[2:]]
    assert rows[1][:4] == ["products", "10", "0", "1"]
    assert rows[2][:2] == ["webhooks", "1"]
    assert rows[6][:5] == ["24", "hours", "4", "4", "1"]
    assert rows[9][:6] == ["press-room", "4711", "1", "1", "of", "4"]
    assert rows[12][:5] == [str(running), "1", "of", "12", "1"]
    assert rows[12][-1] == "products.csv"
    assert rows[15] == ["http_error", "1", "1"]


@pytest.mark.parametrize("how", [["--once"], []], ids=["once", "without a terminal"])
def test_empty_service_says_that_no_worker_lives(database_url: str, how: list[str]) -> None:
    answer = subprocess.run(
        [*COMMAND, *how],
        env=_environment(database_url),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    assert "no worker lives" in answer.stdout


def test_live_view_goes_on_until_it_is_interrupted(engine: Engine, database_url: str) -> None:
    with _live(database_url) as shows:
        shows("no worker lives")
        store_request(engine, 4321)
        shows("0 of 4321")


def test_live_view_outlasts_a_database_that_is_away(
    postgres: TestPostgres, engine: Engine, database_url: str
) -> None:
    with _live(database_url) as shows:
        shows("no worker lives")
        store_request(engine, 4321)
        with _away(postgres, database_url):
            shows("The database cannot be reached")
        shows("0 of 4321")


@pytest.mark.parametrize("command", [["queues", "--once"], ["doctor"]], ids=" ".join)
def test_database_that_goes_away_is_said_in_a_line(
    postgres: TestPostgres, engine: Engine, database_url: str, command: list[str]
) -> None:
    with engine.connect().execution_options(isolation_level="READ COMMITTED") as holder:
        holder.execute(text("LOCK TABLE requests IN ACCESS EXCLUSIVE MODE"))
        running = subprocess.Popen(
            [PYTHON, "-m", "halftone_cli", *command],
            env=_environment(database_url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: query(engine, WAITING), what="a statement under way")
        query(engine, f"SELECT pg_terminate_backend(pid) {WAITING.removeprefix('SELECT')}")
        shown, errors = running.communicate(timeout=30)
    assert running.returncode == 1
    # The doctor continues with its other checks and reports this as one finding.
    lines = (shown if command == ["doctor"] else errors).splitlines()
    said = [line.removeprefix("✗ Database: ") for line in lines]
    assert [line for line in said if line.startswith("The database cannot be reached: ")]
    assert "Traceback" not in errors


@contextmanager
def _live(database_url: str) -> Iterator[Callable[[str], None]]:
    """The live view on a terminal, interrupted at the end. Gives a function that waits until the
    view shows a text.
    """
    terminal, theirs = os.openpty()
    variables = _environment(database_url) | {"TERM": "xterm", "LINES": "50"}
    live = subprocess.Popen(
        [*COMMAND, "--every", "0.5"], env=variables, stdin=theirs, stdout=theirs
    )
    os.close(theirs)
    shown = b""

    def shows(wanted: str) -> None:
        nonlocal shown
        while wanted.encode() not in shown:
            shown += os.read(terminal, 65536)
        shown = b""

    try:
        yield shows
    finally:
        live.send_signal(signal.SIGINT)
        assert live.wait(20) == 0
        os.close(terminal)


@contextmanager
def _away(postgres: TestPostgres, database_url: str) -> Iterator[None]:
    name = database_url.rpartition("?")[0].rpartition("/")[2]
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
        yield
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
