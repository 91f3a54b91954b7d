"""A webhook event between its deliverer and the database: sent in time and recorded once."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from halftone_shared.db.outbox import EventKey, take_due_events
from halftone_shared.db.webhook_events import Delivery, claim_event, record_delivery, replay_event
from halftone_shared.model.addresses import FetchRule, parse_networks
from halftone_shared.model.options import ImageOptions
from halftone_shared.model.secret_box import SecretBox
from halftone_shared.model.states import WebhookStatus
from halftone_shared.model.urls import without_password
from halftone_workers.jobs import webhook
from halftone_workers.jobs.active_product import ActiveProduct, Claimed
from halftone_workers.jobs.unchanged import Unchanged
from halftone_workers.jobs.webhook import deliver_webhook
from halftone_workers.sharing import NOBODY
from tests.support.halftone import wait_for
from tests.support.hostile import Visitor, hostile_server, response
from tests.support.origin import Origin
from tests.support.runtime import running_runtime
from tests.support.stored import claimed, execute, finish, query, store_request

LOOPBACK = FetchRule(parse_networks(["127.0.0.0/8"]))


def _due_event(engine: Engine, url: str) -> EventKey:
    finish(engine, store_request(engine, 1, webhook_url=url), 1)
    with engine.connect() as connection:
        (due,) = take_due_events(connection, 10)
    return due


def test_webhook_does_not_wait_for_images_from_its_host(
    database_url: str, engine: Engine, tmp_path: Path
) -> None:
    def script(visitor: Visitor) -> None:
        if b"POST /hook" in visitor.read_request():
            visitor.send(response())
        else:
            visitor.wait_until_gone()

    with (
        hostile_server(script) as server,
        ThreadPoolExecutor(2) as threads,
        running_runtime(
            database_url, tmp_path, connections_per_host=1, fetch_allow=LOOPBACK
        ) as runtime,
    ):
        due = _due_event(engine, f"{server.url}/hook")
        claim, options = claimed(engine, store_request(engine, 1), 1), ImageOptions()
        product = ActiveProduct(
            Claimed(claim, options, Unchanged(claim, options)), NOBODY, lambda: None
        )
        images = {0: runtime.fetcher.fetch(f"{server.url}/image.jpg")}
        ended = threads.submit(list, runtime.run_images(product, images))
        wait_for(lambda: server.requests)
        deliver_webhook(runtime, due.event_id, due.attempt)
        assert not ended.done()
        (event,) = query(engine, "SELECT status, last_status_code FROM webhook_events")
        assert (event.status, event.last_status_code) == ("delivered", 200)
        runtime.abort()


def test_unexpected_failure_counts_as_an_attempt(
    database_url: str, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def post_event(*_: object) -> None:
        raise ArithmeticError

    monkeypatch.setattr(webhook, "post_event", post_event)
    due = _due_event(engine, "http://127.0.0.1/hook")
    with running_runtime(database_url, tmp_path) as runtime:
        deliver_webhook(runtime, due.event_id, due.attempt)
    (event,) = query(engine, "SELECT status, step, lease_until, last_error FROM webhook_events")
    assert tuple(event) == ("pending", 1, None, "Something went wrong on our side.")


@pytest.mark.parametrize("is_sealed", [True, False])
def test_password_in_the_url_reaches_the_receiver(
    database_url: str, engine: Engine, tmp_path: Path, origin: Origin, is_sealed: bool
) -> None:
    """Requests of versions before 0006 hold it in the clear."""
    url = origin.serve("/hook", b"").replace("http://", "http://anna:hunter2@")
    with running_runtime(database_url, tmp_path, fetch_allow=LOOPBACK) as runtime:
        due = _due_event(engine, url)
        if is_sealed:
            execute(
                engine,
                "UPDATE requests SET webhook_url = :shown, webhook_sealed_url = :sealed",
                shown=without_password(url),
                sealed=SecretBox(runtime.settings.webhook_secret).seal(url),
            )
        deliver_webhook(runtime, due.event_id, due.attempt)
    ((_, headers, body),) = origin.posts
    assert headers["authorization"] == "Basic YW5uYTpodW50ZXIy"
    assert b"hunter2" not in body


def test_delivery_is_recorded_once_however_often_it_is_told(engine: Engine) -> None:
    """The connection breaks after the first recording, so nobody knows whether it was committed."""
    due = _due_event(engine, "http://127.0.0.1/hook")
    with engine.connect() as connection:
        event = claim_event(connection, due.event_id, due.attempt, "http://halftone")
    assert event is not None
    for _ in range(2):
        with engine.connect() as connection:
            failed = Delivery(12, 503, "The receiver answered 503.")
            record_delivery(connection, event, failed, WebhookStatus.PENDING, 300)
    (row,) = query(
        engine,
        "SELECT status, step, lease_until, extract(epoch FROM next_attempt_at - now()) AS due FROM"
        " webhook_events",
    )
    assert (row.status, row.step, row.lease_until) == ("pending", 1, None)
    assert 290 < row.due <= 300
    (logged,) = query(engine, "SELECT attempt, status_code, error FROM webhook_attempts")
    assert tuple(logged) == (1, 503, "The receiver answered 503.")


def test_log_tells_when_an_attempt_began(engine: Engine) -> None:
    due = _due_event(engine, "http://127.0.0.1/hook")
    with engine.connect() as connection:
        event = claim_event(connection, due.event_id, due.attempt, "http://halftone")
        assert event is not None
        time.sleep(0.05)  # the duration that the attempt then reports
        record_delivery(connection, event, Delivery(50, 200), WebhookStatus.DELIVERED, None)
    (row,) = query(
        engine,
        "SELECT delivered_at, started_at, duration_ms FROM webhook_attempts JOIN webhook_events ON"
        " id = event_id",
    )
    assert row.started_at + timedelta(milliseconds=row.duration_ms) <= row.delivered_at


@pytest.mark.parametrize(
    ("delivery", "status", "delay"),
    [
        (Delivery(12, 200), WebhookStatus.DELIVERED, None),
        (Delivery(12, 503, "The receiver answered 503."), WebhookStatus.PENDING, 86400),
        (Delivery(12, 503, "The receiver answered 503."), WebhookStatus.FAILED, None),
    ],
    ids=["delivered", "to be tried again", "given up"],
)
def test_replay_stands_though_an_attempt_from_before_it_ends_afterwards(
    engine: Engine, delivery: Delivery, status: WebhookStatus, delay: float | None
) -> None:
    due = _due_event(engine, "http://127.0.0.1/hook")
    with engine.connect() as connection:
        before = claim_event(connection, due.event_id, due.attempt, "http://halftone")
        assert before is not None
        assert replay_event(connection, before.request_id)
        record_delivery(connection, before, delivery, status, delay)
        (again,) = take_due_events(connection, 10)
        replayed = claim_event(connection, again.event_id, again.attempt, "http://halftone")
    assert replayed is not None
    assert (replayed.attempt, replayed.step) == (2, 0)
    assert len(query(engine, "SELECT FROM webhook_attempts")) == 1
