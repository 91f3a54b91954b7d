"""The backlog of the last hour, as operators see it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from halftone_shared.db.backlog import Backlog
from halftone_shared.db.backlog_minutes import record_backlog
from halftone_shared.db.engine import make_engine
from halftone_shared.service.backlog_recorder import BacklogRecorder
from tests.support.api import api_settings, running_api
from tests.support.halftone import wait_for
from tests.support.stored import execute, query, store_request


def backlog(waiting: int, processing: int = 0, oldest: float = 0) -> Backlog:
    return Backlog({}, waiting, 0, processing, oldest, 0, 0, 0, 0)


def history(database_url: str, folder: Path) -> list[dict[str, Any]]:
    with running_api(api_settings(database_url, folder)) as api:
        found: list[dict[str, Any]] = api.get("/api/operations").json()["history"]
        return found


def test_minute_keeps_the_highest_of_each_count(
    database_url: str, engine: Engine, tmp_path: Path
) -> None:
    with engine.connect() as connection:
        for each in (backlog(5, oldest=2), backlog(40, 1, 9), backlog(0, 8)):
            record_backlog(connection, each)
    # The three records may be in two minutes.
    found = history(database_url, tmp_path)
    assert max(each["waiting_products"] for each in found) == 40
    assert max(each["processing_products"] for each in found) == 8
    assert max(each["oldest_waiting_seconds"] for each in found) == 9
    assert len(found) <= 2


def test_last_hour_is_shown_and_a_day_is_kept(
    database_url: str, engine: Engine, tmp_path: Path
) -> None:
    for age in (timedelta(minutes=90), timedelta(hours=25), timedelta(minutes=5)):
        with engine.connect() as connection:
            record_backlog(connection, backlog(1))
        execute(
            engine,
            "UPDATE backlog_minutes SET minute = :minute WHERE minute > now() - interval '2 min'",
            minute=datetime.now(UTC) - age,
        )
    with engine.connect() as connection:
        record_backlog(connection, backlog(3))
    assert len(query(engine, "SELECT 1 FROM backlog_minutes")) == 3, "one is older than a day"
    assert [each["waiting_products"] for each in history(database_url, tmp_path)] == [1, 3]


def test_one_of_several_recorders_records(database_url: str, engine: Engine) -> None:
    store_request(engine, 7)
    recorder = BacklogRecorder(make_engine(database_url, pool_size=1))
    recorder.start()
    [row] = wait_for(lambda: query(engine, "SELECT * FROM backlog_minutes"), what="the first turn")
    assert row.waiting_products == 7
    recorder.stop()
    execute(engine, "UPDATE backlog_minutes SET waiting_products = 0")
    other = BacklogRecorder(engine)
    other.record()
    assert [each.waiting_products for each in query(engine, "SELECT * FROM backlog_minutes")] == [0]
    execute(engine, "UPDATE backlog_minutes SET recorded_at = now() - interval '14 s'")
    other.record()
    newest = query(engine, "SELECT * FROM backlog_minutes ORDER BY minute DESC LIMIT 1")
    assert [each.waiting_products for each in newest] == [7]
