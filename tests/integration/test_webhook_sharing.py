"""Webhooks are sent in turns by owner: a hanging receiver does not hold up other owners' events."""

from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine

from halftone_shared.db.outbox import EventKey, take_due_events
from halftone_workers.jobs import webhook
from halftone_workers.jobs.webhook import WebhookJobs
from tests.support.halftone import wait_for
from tests.support.hostile import Visitor, answering, hostile_server, response
from tests.support.runtime import running_runtime
from tests.support.stored import execute, finish, query, store_request


def _events(engine: Engine, url: str, number: int, owner: UUID) -> None:
    execute(
        engine,
        "INSERT INTO owners (id, name) VALUES (:id, CAST(:id AS text)) ON CONFLICT DO NOTHING",
        id=owner,
    )
    for _ in range(number):
        request_id = store_request(engine, 1, webhook_url=url)
        execute(
            engine,
            "UPDATE requests SET owner_id = :owner WHERE id = :id",
            owner=owner,
            id=request_id,
        )
        finish(engine, request_id, 1)


def _due(engine: Engine, room: int) -> list[EventKey]:
    with engine.connect() as connection:
        return take_due_events(connection, room)


def test_due_events_are_taken_in_turns_by_owner(engine: Engine) -> None:
    hog, other = uuid4(), uuid4()
    _events(engine, "http://hog.test/", 12, hog)
    _events(engine, "http://other.test/", 2, other)
    taken = [event.event_id for event in _due(engine, 4)]
    owners = query(
        engine,
        "SELECT owner_id FROM webhook_events JOIN requests ON requests.id = request_id"
        " WHERE webhook_events.id = ANY(:ids)",
        ids=taken,
    )
    assert sorted(str(row.owner_id) for row in owners) == sorted([str(hog)] * 2 + [str(other)] * 2)


def test_receiver_that_hangs_holds_up_no_other(
    engine: Engine, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "MAX_ACTIVE_WEBHOOKS", 8)
    monkeypatch.setattr(webhook, "ATTEMPT_TIMEOUT_SECONDS", 5.0)
    with (
        hostile_server(Visitor.wait_until_gone) as hanging,
        hostile_server(answering(response())) as good,
        running_runtime(database_url, tmp_path, fetch_allow="127.0.0.0/8") as runtime,
    ):
        _events(engine, hanging.url, 20, uuid4())
        jobs = WebhookJobs(runtime)
        for due in _due(engine, 100):
            jobs.accept(due.event_id, due.attempt)
        _events(engine, good.url, 1, uuid4())
        (event,) = _due(engine, 1)
        delivered = jobs.accept(event.event_id, event.attempt)
        assert delivered is not None
        delivered.result()
        # The other owner's attempts still hang, on four connections at most. (Later the server may
        # see a new connection before the end of the one that it replaces.)
        assert jobs._active._held.total() > 0
        assert 0 < hanging.most_open <= 4
        wait_for(lambda: not jobs._active._held.total(), 40)
        jobs.close()
        # The owner's other events returned without counting an attempt.
        waiting = query(
            engine,
            "SELECT count(*) AS events FROM webhook_events"
            " WHERE status = 'pending' AND attempts = 0 AND lease_until IS NULL",
        )
        assert waiting[0].events >= 12
