"""A host that answers 429 or 503 with Retry-After gets no more requests of that owner until then,
from no worker.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine

from halftone_shared.db.asked_pauses import list_asked_pauses, record_pause
from halftone_shared.db.requests import get_status
from halftone_shared.model.request_status import WaitingHost
from halftone_shared.model.results import ProductKey
from halftone_shared.model.states import WaitReason
from halftone_shared.service.sweeper import Sweeper
from halftone_workers.http import asked_pauses
from halftone_workers.http.refreshed import REFRESH_SECONDS
from halftone_workers.jobs.product import ProductJobs
from halftone_workers.runtime import Runtime
from tests.support.halftone import wait_for
from tests.support.images import jpeg
from tests.support.origin import Answer, Origin
from tests.support.runtime import running_runtime
from tests.support.stored import execute, query, store_request

OWNER, OTHER_OWNER = uuid4(), uuid4()


@pytest.fixture
def runtime(database_url: str, engine: Engine, tmp_path: Path) -> Iterator[Runtime]:
    for owner in (OWNER, OTHER_OWNER):
        execute(engine, "INSERT INTO owners (id, name) VALUES (:id, :id)", id=owner)
    with running_runtime(database_url, tmp_path, fetch_allow="127.0.0.0/8") as runtime:
        yield runtime


def asking(seconds: int, status: int = 429) -> Answer:
    return Answer(b"slow down", status, {"Retry-After": str(seconds)})


def process(runtime: Runtime, engine: Engine, url: str, owner: UUID | None = OWNER) -> UUID:
    request_id = store_request(engine, urls=[url], owner_id=owner)
    ProductJobs(runtime).process(ProductKey(request_id, 1))
    return request_id


def product_of(engine: Engine, request_id: UUID) -> tuple[str, int]:
    (row,) = query(
        engine, "SELECT status, attempts FROM products WHERE request_id = :id", id=request_id
    )
    return row.status, row.attempts


@pytest.mark.parametrize("status", [429, 503])
def test_host_that_asked_for_a_pause_gets_no_request_from_any_worker(
    database_url: str,
    runtime: Runtime,
    engine: Engine,
    origin: Origin,
    tmp_path: Path,
    status: int,
) -> None:
    good = origin.serve("/good.jpg", jpeg())
    with running_runtime(database_url, tmp_path, fetch_allow="127.0.0.0/8") as other:
        asked = process(runtime, engine, origin.serve("/busy.jpg", asking(120, status)))
        time.sleep(REFRESH_SECONDS)
        waiting = [process(worker, engine, good) for worker in (runtime, other)]
    assert origin.hits == {"/busy.jpg": 1}
    assert product_of(engine, asked) == ("PENDING", 1)
    assert [product_of(engine, one) for one in waiting] == [("PENDING", 0)] * 2


def test_status_names_the_host_and_the_time_that_it_asked_for(
    runtime: Runtime, engine: Engine, origin: Origin
) -> None:
    request_id = process(runtime, engine, origin.serve("/busy.jpg", asking(120)))
    with engine.connect() as connection:
        found = get_status(connection, request_id, owner=None)
    assert found is not None
    ((waiting),) = found.waiting_for
    due = query(engine, "SELECT next_attempt_at AS due FROM products")[0].due
    host = origin.url.removeprefix("http://")
    assert waiting == WaitingHost(host, WaitReason.RETRY_AFTER, 1, due)


def test_pause_holds_for_its_owner_alone(runtime: Runtime, engine: Engine, origin: Origin) -> None:
    good = origin.serve("/good.jpg", jpeg())
    process(runtime, engine, origin.serve("/busy.jpg", asking(120)))
    held, other = (process(runtime, engine, good, owner) for owner in (OWNER, OTHER_OWNER))
    assert product_of(engine, held) == ("PENDING", 0)
    assert product_of(engine, other) == ("COMPLETED", 1)


def test_pause_ends_when_the_host_said(runtime: Runtime, engine: Engine, origin: Origin) -> None:
    good = origin.serve("/good.jpg", jpeg())
    process(runtime, engine, origin.serve("/busy.jpg", asking(1)))
    assert product_of(engine, process(runtime, engine, good)) == ("PENDING", 0)
    time.sleep(1)
    assert product_of(engine, process(runtime, engine, good)) == ("COMPLETED", 1)


def test_answer_without_retry_after_holds_up_nothing(
    runtime: Runtime, engine: Engine, origin: Origin
) -> None:
    process(runtime, engine, origin.serve("/busy.jpg", Answer(b"", 503)))
    good = process(runtime, engine, origin.serve("/good.jpg", jpeg()))
    assert product_of(engine, good) == ("COMPLETED", 1)


def test_host_that_never_recovers_is_not_waited_for_forever(
    runtime: Runtime, engine: Engine, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked_pauses, "MAX_PAUSE_SECONDS", 0.01)
    url = origin.serve("/busy.jpg", asking(120))
    for _ in range(asked_pauses.MAX_IN_A_ROW):
        process(runtime, engine, url)
        time.sleep(0.02)
    monkeypatch.setattr(asked_pauses, "MAX_PAUSE_SECONDS", 60.0)
    tried = [process(runtime, engine, url) for _ in range(2)]
    assert [product_of(engine, one) for one in tried] == [("PENDING", 1)] * 2
    process(runtime, engine, origin.serve("/good.jpg", jpeg()))
    asked, held = (process(runtime, engine, url) for _ in range(2))
    assert [product_of(engine, one)[1] for one in (asked, held)] == [1, 0]


def test_longer_pause_stays_and_ended_ones_are_forgotten(runtime: Runtime, engine: Engine) -> None:
    with engine.connect() as connection:
        for host, seconds in (("a.example", 60.0), ("a.example", 1.0), ("b.example", 0.0)):
            record_pause(connection, OWNER, host, seconds)
        assert [key for key, left in list_asked_pauses(connection).items() if left > 50] == [
            (OWNER, "a.example")
        ]
    sweeper = Sweeper(engine, runtime.store, retention_days=0)
    sweeper.start()
    try:
        wait_for(
            lambda: (
                [row.host for row in query(engine, "SELECT host FROM asked_pauses")]
                == ["a.example"]
            )
        )
    finally:
        sweeper.stop()
