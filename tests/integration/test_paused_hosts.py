"""Hosts that an operator has paused: their products wait in every worker, and go on afterwards."""

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Engine

from halftone_shared.db.paused_hosts import list_paused_hosts, pause_host, paused_name, resume_host
from halftone_shared.db.requests import get_status
from halftone_shared.model.request_status import WaitingHost
from halftone_shared.model.results import ProductKey
from halftone_shared.model.states import WaitReason
from halftone_workers.http.refreshed import REFRESH_SECONDS
from halftone_workers.jobs.product import ProductJobs
from halftone_workers.runtime import Runtime
from tests.support.images import jpeg
from tests.support.origin import Answer, Origin
from tests.support.runtime import running_runtime
from tests.support.stored import query, store_request


@pytest.fixture
def runtime(database_url: str, tmp_path: Path) -> Iterator[Runtime]:
    with running_runtime(database_url, tmp_path, fetch_allow="127.0.0.0/8") as runtime:
        yield runtime


def name_of(origin: Origin) -> str:
    return origin.url.removeprefix("http://")


def pause(engine: Engine, host: str) -> None:
    with engine.connect() as connection:
        pause_host(connection, host)


def process(runtime: Runtime, request_id: UUID) -> None:
    ProductJobs(runtime).process(ProductKey(request_id, 1))


def product_of(engine: Engine, request_id: UUID) -> tuple[str, int, float | None]:
    """Its status, its attempts, and in how many seconds it is due."""
    (row,) = query(
        engine,
        "SELECT status, attempts,"
        " extract(epoch FROM next_attempt_at - now())::float AS due"
        " FROM products WHERE request_id = :id",
        id=request_id,
    )
    return row.status, row.attempts, row.due


def test_product_of_a_paused_host_waits_without_an_attempt_and_says_why(
    runtime: Runtime, engine: Engine, origin: Origin
) -> None:
    request_id = store_request(engine, urls=[origin.serve("/a.jpg", jpeg())])
    pause(engine, name_of(origin))
    process(runtime, request_id)
    status, attempts, due = product_of(engine, request_id)
    assert (status, attempts) == ("PENDING", 0)
    assert due is not None
    assert due > 60
    assert origin.hits["/a.jpg"] == 0
    with engine.connect() as connection:
        found = get_status(connection, request_id, owner=None)
    assert found is not None
    assert found.waiting_for == [WaitingHost(name_of(origin), WaitReason.PAUSED, 1)]


def test_resumed_host_is_due_at_once(runtime: Runtime, engine: Engine, origin: Origin) -> None:
    request_id = store_request(engine, urls=[origin.serve("/a.jpg", jpeg())])
    pause(engine, name_of(origin))
    process(runtime, request_id)
    assert resume_host(engine, name_of(origin))
    _, _, due = product_of(engine, request_id)
    assert due is not None
    assert due <= 0
    time.sleep(REFRESH_SECONDS)
    process(runtime, request_id)
    assert product_of(engine, request_id)[:2] == ("COMPLETED", 1)
    assert not resume_host(engine, name_of(origin)), "it is resumed already"


def test_worker_that_has_not_heard_of_the_end_of_a_pause_delays_nothing(
    runtime: Runtime, engine: Engine, origin: Origin
) -> None:
    first, second = (
        store_request(engine, urls=[origin.serve(path, jpeg())]) for path in ("/a.jpg", "/b.jpg")
    )
    pause(engine, name_of(origin))
    process(runtime, first)
    resume_host(engine, name_of(origin))
    process(runtime, second)  # within REFRESH_SECONDS
    _, _, due = product_of(engine, second)
    assert due is not None
    assert due <= 0


def test_pause_holds_in_every_worker_within_seconds(
    database_url: str, runtime: Runtime, engine: Engine, origin: Origin, tmp_path: Path
) -> None:
    with running_runtime(database_url, tmp_path, fetch_allow="127.0.0.0/8") as other:
        workers = [runtime, other]
        for number, worker in enumerate(workers):
            url = origin.serve(f"/before{number}.jpg", jpeg())
            process(worker, store_request(engine, urls=[url]))
        pause(engine, "127.0.0.1")
        time.sleep(REFRESH_SECONDS)
        for number, worker in enumerate(workers):
            url = origin.serve(f"/after{number}.jpg", jpeg())
            process(worker, store_request(engine, urls=[url]))
    assert [origin.hits[f"/before{number}.jpg"] for number in (0, 1)] == [1, 1]
    assert [origin.hits[f"/after{number}.jpg"] for number in (0, 1)] == [0, 0]


def test_finished_images_are_kept_and_failing_ones_use_no_attempt_up(
    runtime: Runtime, engine: Engine, origin: Origin, other_origin: Origin
) -> None:
    urls = [
        origin.serve("/paused.jpg", jpeg()),
        other_origin.serve("/good.jpg", jpeg()),
        other_origin.serve("/bad.jpg", Answer(status=503)),
    ]
    request_id = store_request(engine, urls=urls)
    pause(engine, name_of(origin))
    for _ in range(runtime.settings.max_attempts + 1):
        process(runtime, request_id)
    assert product_of(engine, request_id)[:2] == ("PENDING", 0)
    assert other_origin.hits["/good.jpg"] == 1
    assert origin.hits["/paused.jpg"] == 0


def test_redirect_to_a_paused_host_is_not_followed(
    runtime: Runtime, engine: Engine, origin: Origin, other_origin: Origin
) -> None:
    target = origin.serve("/a.jpg", jpeg())
    start = other_origin.serve("/start", Answer(status=302, headers={"Location": target}))
    pause(engine, name_of(origin))
    process(runtime, store_request(engine, urls=[start]))
    assert (other_origin.hits["/start"], origin.hits["/a.jpg"]) == (1, 0)


def test_pausing_twice_is_the_same(engine: Engine) -> None:
    pause(engine, "shop.example")
    with engine.connect() as connection:
        first = list_paused_hosts(connection)
        pause_host(connection, "shop.example")
        assert list_paused_hosts(connection) == first


@pytest.mark.parametrize(
    ("host", "entry"),
    [
        ("shop.example", "shop.example"),
        ("shop.example:8080", "shop.example"),
        ("other.example:81", "other.example:81"),
        ("other.example", None),
        ("[::1]:8080", "[::1]"),
        ("[::1]", "[::1]"),
        ("not.shop.example", None),
    ],
)
def test_pause_without_a_port_is_for_all_ports(host: str, entry: str | None) -> None:
    assert paused_name({"shop.example", "other.example:81", "[::1]"}, host) == entry
