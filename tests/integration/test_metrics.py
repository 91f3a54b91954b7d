"""`/metrics` and a worker's listener: correct figures under stable names."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine

from halftone_api import metrics
from halftone_shared.db.backlog import read_backlog
from halftone_shared.db.cancel_retry import cancel_request
from halftone_shared.db.products import postpone_product
from halftone_shared.db.workers import WorkerReport, forget_worker, live_workers, report_worker
from tests.support.api import ONE_ROW, Api, api_settings, running_api
from tests.support.halftone import wait_for
from tests.support.stored import (
    claimed,
    execute,
    failed_image,
    finish,
    query,
    settle,
    store_request,
)


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    with running_api(api_settings(database_url, tmp_path / "storage")) as api:
        yield api


def samples(text: str) -> dict[str, float]:
    """Every sample by its name and labels, as Prometheus writes them."""
    return {
        sample.name
        + "".join(f",{name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_backlog_counts_every_product_where_it_stands(engine: Engine) -> None:
    running = store_request(engine, 10)
    settle(engine, claimed(engine, running, 1))
    claimed(engine, running, 2)
    postponed = claimed(engine, running, 3)
    with engine.connect() as connection:
        postpone_product(connection, postponed, [None], delay_seconds=60)
    finish(engine, store_request(engine, 2), 2)
    cancel_request(engine, store_request(engine, 3), patience_seconds=5)
    store_request(engine, 5)
    with engine.connect() as connection:
        backlog = read_backlog(connection)
    assert backlog.requests == {
        "PENDING": 1,
        "PROCESSING": 1,
        "COMPLETED": 1,
        "FAILED": 0,
        "CANCELLED": 1,
    }
    assert (backlog.waiting_products, backlog.postponed_products, backlog.processing_products) == (
        12,
        1,
        1,
    )


def test_oldest_waiting_product_is_that_of_the_oldest_request_that_waits(engine: Engine) -> None:
    old, new = store_request(engine, 2), store_request(engine, 2)
    execute(
        engine, "UPDATE requests SET created_at = now() - interval '100 s' WHERE id = :id", id=old
    )
    execute(
        engine, "UPDATE requests SET created_at = now() - interval '50 s' WHERE id = :id", id=new
    )
    with engine.connect() as connection:
        assert read_backlog(connection).oldest_waiting_seconds == pytest.approx(100, abs=10)
    finish(engine, old, 2)
    with engine.connect() as connection:
        assert read_backlog(connection).oldest_waiting_seconds == pytest.approx(50, abs=10)
    finish(engine, new, 2)
    with engine.connect() as connection:
        assert read_backlog(connection).oldest_waiting_seconds == 0


def test_product_in_a_message_still_waits(engine: Engine) -> None:
    """Dispatched, but claimed by no worker. When no worker runs, the whole backlog is in this
    state.
    """
    request = store_request(engine, 1)
    execute(
        engine, "UPDATE requests SET created_at = now() - interval '100 s', dispatch_cursor = 1"
    )
    execute(
        engine,
        "UPDATE products SET lease_until = now() + interval '20 s' WHERE request_id = :id",
        id=request,
    )
    with engine.connect() as connection:
        backlog = read_backlog(connection)
    assert backlog.waiting_products == 1
    assert backlog.oldest_waiting_seconds == pytest.approx(100, abs=10)


def test_request_without_progress_is_one_that_waits_for_nothing(engine: Engine) -> None:
    stuck, patient = store_request(engine, 2), store_request(engine, 2)
    with engine.connect() as connection:
        postpone_product(connection, claimed(engine, patient, 1), [None], delay_seconds=3600)
    execute(engine, "UPDATE requests SET updated_at = now() - interval '11 min'")
    execute(engine, "UPDATE request_shards SET updated_at = now() - interval '11 min'")
    with engine.connect() as connection:
        assert read_backlog(connection).requests_without_progress == 1
    settle(engine, claimed(engine, stuck, 1))
    with engine.connect() as connection:
        assert read_backlog(connection).requests_without_progress == 0


def test_due_and_future_webhook_events_are_told_apart(engine: Engine) -> None:
    for _ in range(2):
        finish(engine, store_request(engine, 1, webhook_url="http://127.0.0.1/hook"), 1)
    execute(engine, "UPDATE webhook_events SET next_attempt_at = now() + interval '1 hour'")
    with engine.connect() as connection:
        backlog = read_backlog(connection)
    assert (backlog.pending_events, backlog.oldest_due_event_seconds) == (2, 0)
    execute(engine, "UPDATE webhook_events SET next_attempt_at = now() - interval '30 s'")
    with engine.connect() as connection:
        assert read_backlog(connection).oldest_due_event_seconds == pytest.approx(30, abs=10)


def test_worker_lives_until_it_says_nothing_or_signs_off(engine: Engine) -> None:
    first, second = (WorkerReport(uuid4(), "host", number, 3, 2, 1) for number in (1, 2))
    with engine.connect() as connection:
        for report in (first, second, first):
            report_worker(connection, report)
        assert [row.pid for row in live_workers(connection)] == [1, 2]
        assert read_backlog(connection).live_workers == 2
        assert [row.products_active for row in live_workers(connection)] == [3, 3]
        execute(engine, "UPDATE workers SET last_seen_at = now() - interval '31 s' WHERE pid = 1")
        assert [row.pid for row in live_workers(connection)] == [2]
        forget_worker(connection, second.id)
        assert live_workers(connection) == []
        execute(engine, "UPDATE workers SET last_seen_at = now() - interval '61 min'")
        report_worker(connection, second)
    with engine.connect() as connection:
        assert [row.pid for row in live_workers(connection)] == [2]


def test_calls_are_counted_by_the_route_s_template(api: Api) -> None:
    before = samples(api.get("/metrics").text)
    api.get(f"/api/status/{uuid4()}")
    api.get("/api/status/nonsense/")
    api.get("/no/such/path")
    api.call("BREW", "/api/upload")
    after = samples(api.get("/metrics").text)

    def more(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert (
        more("halftone_http_requests_total,method=GET,route=/api/status/{request_id},status=4xx")
        == 2
    )
    assert (
        more(
            "halftone_http_request_duration_seconds_count,method=GET,route=/api/status/{request_id}"
        )
        == 2
    )
    assert more("halftone_http_requests_total,method=GET,route=none,status=4xx") == 1
    assert more("halftone_http_requests_total,method=other,route=/api/upload,status=4xx") == 1


def test_accepted_uploads_are_counted_once_and_refused_ones_not(api: Api) -> None:
    before = samples(api.get("/metrics").text)["halftone_uploaded_products_total"]
    for _ in range(2):
        assert api.upload(ONE_ROW, headers={"Idempotency-Key": "once"}).status_code == 202
    assert api.upload("no csv").status_code == 400
    assert samples(api.get("/metrics").text)["halftone_uploaded_products_total"] - before == 1


def test_several_scrapes_ask_the_database_once(api: Api, engine: Engine) -> None:
    assert samples(api.get("/metrics").text)["halftone_requests,status=PENDING"] == 0
    store_request(engine)
    assert samples(api.get("/metrics").text)["halftone_requests,status=PENDING"] == 0


def test_images_of_the_last_hour_are_shown_without_any_worker(api: Api, engine: Engine) -> None:
    finish(engine, store_request(engine, 3, images=2), 3)
    settle(engine, claimed(engine, store_request(engine), 1), failed_image())
    old = store_request(engine)
    finish(engine, old, 1)
    execute(
        engine, "UPDATE requests SET completed_at = now() - interval '2 h' WHERE id = :id", id=old
    )
    found = samples(api.get("/metrics").text)
    assert found["halftone_images_last_hour,outcome=succeeded"] == 6
    assert found["halftone_images_last_hour,outcome=failed"] == 1
    assert found["halftone_bytes_saved_last_hour"] > 0


def test_metrics_answer_without_a_database(tmp_path: Path) -> None:
    settings = api_settings("postgresql://nobody@127.0.0.1:1/none", tmp_path / "storage")
    with running_api(settings) as api:
        answer = api.get("/metrics")
    assert answer.status_code == 200
    found = samples(answer.text)
    assert found["halftone_database_up"] == 0
    assert "halftone_workers" not in found


def test_stalled_database_is_told_in_time_and_asked_once(
    api: Api, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "KEPT_SECONDS", 0)
    assert samples(api.get("/metrics").text)["halftone_database_up"] == 1
    monkeypatch.setattr(metrics, "ANSWER_SECONDS", 0.2)
    others = (
        "SELECT pid FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    (stalled,) = query(engine, others)
    os.kill(stalled.pid, signal.SIGSTOP)
    try:
        for _ in range(3):
            assert samples(api.get("/metrics").text)["halftone_database_up"] == 0
    finally:
        os.kill(stalled.pid, signal.SIGCONT)
    wait_for(
        lambda: samples(api.get("/metrics").text)["halftone_database_up"] == 1,
        what="the database again",
    )


def test_metrics_need_no_key(database_url: str, tmp_path: Path) -> None:
    with running_api(api_settings(database_url, tmp_path / "storage", auth="keys")) as api:
        answer = api.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")


def test_no_label_is_a_host_a_path_or_an_id(api: Api, engine: Engine) -> None:
    request = store_request(engine)
    api.get(f"/api/status/{request}")
    labels = re.findall(r'="([^"]*)"', api.get("/metrics").text)
    assert "/api/status/{request_id}" in labels
    assert [label for label in labels if re.search(r"[0-9a-f]{8}-|127\.0\.0\.1|://", label)] == []
