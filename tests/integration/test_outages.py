"""While PostgreSQL or RabbitMQ cannot be used, the log has one line with what to do."""

import logging
import socket
import sys
import threading
from pathlib import Path

import psycopg
import pytest
import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from halftone_shared.db.engine import make_engine
from halftone_shared.errors import DatabaseUnavailable
from halftone_shared.service import outages
from halftone_shared.service.outages import explain, report_outage
from halftone_shared.service.periodic import PeriodicThread
from halftone_workers.brokers import BoundConsumer
from tests.support.halftone import (
    PYTHON,
    environment,
    free_port,
    running_programs,
    wait_for,
)
from tests.support.postgres import TestPostgres


@pytest.fixture(autouse=True)
def nothing_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "_reported_at", {})


def test_same_reason_is_logged_once_whoever_reports_it() -> None:
    with structlog.testing.capture_logs() as lines:
        for event in ("dispatcher waits", "sweeper waits", "dispatcher waits"):
            report_outage(event, "The database is away.")
        report_outage("dispatcher waits", "RabbitMQ is away.")
    assert [line["reason"] for line in lines] == ["The database is away.", "RabbitMQ is away."]


def test_thread_that_fails_goes_on_with_growing_pauses() -> None:
    done = threading.Event()
    calls: list[int] = []

    def work() -> None:
        calls.append(len(calls))
        if len(calls) < 4:
            raise DatabaseUnavailable("The database is away.")
        done.set()

    thread = PeriodicThread("test", work, every_seconds=0.001)
    with structlog.testing.capture_logs() as lines:
        thread.start()
        assert done.wait(30)
        thread.stop()
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("test waits", "The database is away.")
    ]


def test_database_that_is_not_migrated_is_explained_with_the_remedy(
    postgres: TestPostgres,
) -> None:
    engine = make_engine(_empty_database(postgres), pool_size=1)
    with pytest.raises(SQLAlchemyError) as caught, engine.connect() as connection:
        connection.execute(text("SELECT * FROM requests"))
    engine.dispose()
    assert explain(caught.value) == (
        "The database is not migrated to this version: run `halftone migrate`."
    )


def test_database_that_refuses_names_the_setting() -> None:
    engine = make_engine(f"postgresql://me@127.0.0.1:{free_port()}/x", pool_size=1)
    with pytest.raises(SQLAlchemyError) as caught, engine.connect():
        pass
    said = explain(caught.value)
    assert said.startswith("The database cannot be used: ")
    assert said.endswith(" See HALFTONE_DATABASE_URL.")
    assert "\n" not in said


def test_programs_without_what_they_need_say_what_to_do_in_a_line_each(
    tmp_path: Path, postgres: TestPostgres
) -> None:
    """An API before the migration, a worker with a database and without RabbitMQ."""
    nobody = f"amqp://127.0.0.1:{free_port()}/"
    variables = {
        "api": environment(
            tmp_path,
            database_url=_empty_database(postgres),
            rabbitmq_url=nobody,
            api_port=str(free_port()),
        ),
        "workers": environment(tmp_path, database_url=postgres.new_database(), rabbitmq_url=nobody),
    }
    commands = {
        name: ([PYTHON, "-m", f"halftone_{name}"], settings) for name, settings in variables.items()
    }
    with running_programs(tmp_path, commands) as log:
        for remedy in ("run `halftone migrate`", "See HALFTONE_RABBITMQ_URL"):
            wait_for(lambda remedy=remedy: remedy in log.read_text(), what=remedy)  # type: ignore[misc]
    said = log.read_text()
    assert "SELECT" not in said
    assert said.count("run `halftone migrate`") == 1
    assert said.count("See HALFTONE_RABBITMQ_URL") == 1
    assert "Consumer encountered" not in said


def test_broker_whose_name_is_not_found_is_a_line_too() -> None:
    assert BoundConsumer.__module__ == "halftone_workers.brokers"  # it sets up the loggers
    logger = logging.getLogger("dramatiq.worker.ConsumerThread(products)")
    with structlog.testing.capture_logs() as lines:
        try:
            raise socket.gaierror(-2, "Name or service not known")
        except OSError:
            error = sys.exc_info()
        text = "Consumer encountered an unexpected error."
        record = logger.makeRecord(logger.name, logging.CRITICAL, "", 0, text, (), error)
        assert not logger.filter(record)
    (line,) = lines
    assert "Name or service not known" in line["reason"]
    assert "See HALFTONE_RABBITMQ_URL" in line["reason"]


def _empty_database(postgres: TestPostgres) -> str:
    """A database without tables, as `createdb` makes it."""
    url = postgres.new_database()
    name = url.rpartition("?")[0].rpartition("/")[2]
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name}".encode())
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
    return url
