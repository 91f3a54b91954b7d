"""Throughput and hosts, as operators see them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from halftone_shared.db.api_keys import create_key
from halftone_shared.db.engine import transaction
from halftone_shared.db.host_figures import HostFigures, add_host_figures
from halftone_workers.heartbeat import Heartbeat
from halftone_workers.host_counts import MAX_HOSTS, OTHER_HOSTS, HostCounts
from tests.support.api import api_settings, running_api
from tests.support.halftone import wait_for
from tests.support.routes import problem_of
from tests.support.stored import query

NOW = datetime.now(UTC).replace(second=0, microsecond=0)


def figures(host: str, *, minutes_ago: int = 0, images: int = 2, failed: int = 1) -> HostFigures:
    minute = NOW - timedelta(minutes=minutes_ago)
    return HostFigures(minute, host, images, failed, 1000 * images, 100 * images, 0.5 * images)


def test_operations_add_what_workers_report(
    database_url: str, engine: Engine, tmp_path: Path
) -> None:
    with engine.connect() as connection:
        add_host_figures(connection, [figures("a.example"), figures("b.example", failed=5)])
        add_host_figures(connection, [figures("a.example")])
        add_host_figures(connection, [figures("old.example", minutes_ago=90)])
    with running_api(api_settings(database_url, tmp_path)) as api:
        found = api.get("/api/operations").json()
    [minute] = found["throughput"]
    assert (minute["images"], minute["failed"], minute["bytes_in"]) == (6, 7, 6000)
    assert [(host["host"], host["images"], host["failed"]) for host in found["hosts"]] == [
        ("b.example", 2, 5),
        ("a.example", 4, 2),
    ]


def test_operations_show_what_each_worker_did(
    database_url: str, engine: Engine, tmp_path: Path
) -> None:
    counts = HostCounts()
    for failed in (False, False, False, True):
        counts.add("http://a.example/1", failed=failed, bytes_in=9, bytes_out=3, seconds=0.5)
    counts.take()  # a heartbeat takes the hosts' counts, not the worker's
    heartbeat = Heartbeat(engine, lambda: (1, 4, 2), counts)
    heartbeat.start()
    with running_api(api_settings(database_url, tmp_path)) as api:

        def shown() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = api.get("/api/operations").json()["workers"]
            return found

        [worker] = wait_for(shown, what="the first report")
    heartbeat.stop()
    assert (worker["images"], worker["failed"], worker["seconds_per_image"]) == (3, 1, 0.5)


def test_figures_older_than_a_day_are_forgotten(engine: Engine) -> None:
    with engine.connect() as connection:
        add_host_figures(connection, [figures("old.example", minutes_ago=1500)])
        add_host_figures(connection, [figures("new.example")])
    assert [row.host for row in query(engine, "SELECT host FROM host_figures")] == ["new.example"]


def test_operations_are_for_admins(database_url: str, engine: Engine, tmp_path: Path) -> None:
    with transaction(engine) as connection:
        key = create_key(connection, "shop")
        admin = create_key(connection, "operator", is_admin=True)
    with running_api(api_settings(database_url, tmp_path, auth="keys")) as api:
        as_shop = {"Authorization": f"Bearer {key.secret}"}
        problem_of(api.get("/api/operations", headers=as_shop), 403, "forbidden")
        as_admin = {"Authorization": f"Bearer {admin.secret}"}
        assert api.get("/api/operations", headers=as_admin).status_code == 200


def test_counts_are_taken_once_and_hosts_are_bounded() -> None:
    counts = HostCounts()
    for number in range(MAX_HOSTS + 50):
        counts.add(
            f"http://shop{number}.example/1.jpg", failed=False, bytes_in=9, bytes_out=3, seconds=1
        )
    taken = counts.take()
    assert len(taken) == MAX_HOSTS + 1
    assert sum(each.images for each in taken) == MAX_HOSTS + 50
    assert next(each.images for each in taken if each.host == OTHER_HOSTS) == 50
    assert counts.take() == []
    counts.put_back(taken[:1])
    assert counts.take() == taken[:1]
