"""A worker's products between its threads and the database: batched, each once, and no failure
affects another product.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
import structlog
from prometheus_client import REGISTRY
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from halftone_shared.db.barrier import Settled, settle_products
from halftone_shared.db.cancel_retry import cancel_request, retry_request
from halftone_shared.db.products import Claim
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.options import ImageOptions
from halftone_shared.model.results import ImageError, ImageResult, ProductKey, ProductResult
from halftone_shared.model.states import WaitReason
from halftone_shared.storage import ImageStore
from halftone_workers.jobs import product
from halftone_workers.jobs.active_product import PARK_AFTER_SECONDS, ActiveProduct, Waiting
from halftone_workers.jobs.image import ImageAttempt
from halftone_workers.jobs.product import FRUITLESS_IN_A_ROW, ProductJobs
from halftone_workers.runtime import Runtime
from tests.support.halftone import wait_for
from tests.support.hostile import Visitor, hostile_server
from tests.support.images import jpeg
from tests.support.origin import Answer, Origin
from tests.support.runtime import running_runtime
from tests.support.stored import execute, failed_image, good_image, query, store_request

BAD, BROKEN, LATER = 3, 5, 7


@pytest.fixture
def runtime(database_url: str, tmp_path: Path) -> Iterator[Runtime]:
    # A place for each message, so that none is returned for another time.
    with running_runtime(database_url, tmp_path, products_at_once=48) as runtime:
        yield runtime


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[Claim]:
    """The claims that were attempted. One gets a result that the database refuses, one raises, one
    is postponed.
    """
    seen: list[Claim] = []

    def attempt_images(_: Runtime, product: ActiveProduct) -> list[ImageAttempt | None]:
        claim = product.claim
        seen.append(claim)
        time.sleep(0.05)  # the product's second message arrives meanwhile
        if claim.key.seq == BROKEN:
            raise RuntimeError("broken")
        if claim.key.seq == BAD:
            return [ImageAttempt(good_image("a name with \0 in it"))]
        if claim.key.seq == LATER:
            error = ImageError(
                ImageErrorCode.HTTP_ERROR, "The server answered 503.", 503, retryable=True
            )
            return [ImageAttempt(ImageResult(error=error), retry_after_seconds=60)]
        return [ImageAttempt(good_image())]

    monkeypatch.setattr(product, "attempt_images", attempt_images)
    return seen


def _statuses(engine: Engine) -> list[str]:
    return [row.status for row in query(engine, "SELECT status FROM products ORDER BY seq")]


def _processed(
    jobs: ProductJobs, request_id: UUID, seqs: Sequence[int]
) -> list[BaseException | None]:
    """The outcome of each message. Every message is processed in its own thread, all at once."""
    with ThreadPoolExecutor(len(seqs)) as pool:
        done = [pool.submit(jobs.process, ProductKey(request_id, seq)) for seq in seqs]
        wait(done)
    return [job.exception() for job in done]


def test_product_that_cannot_be_recorded_costs_no_other(
    engine: Engine, runtime: Runtime, attempts: list[Claim]
) -> None:
    request_id = store_request(engine, 12)
    errors = _processed(
        ProductJobs(runtime), request_id, [*range(1, 13)] * 2
    )  # every message comes twice
    assert sorted(claim.key.seq for claim in attempts) == list(range(1, 13))
    assert sum(error is None for error in errors) == 22
    assert sum(isinstance(error, RuntimeError) for error in errors) == 1
    assert sum(isinstance(error, SQLAlchemyError | ValueError) for error in errors) == 1
    expected = ["COMPLETED"] * 12
    expected[BAD - 1] = expected[BROKEN - 1] = "PROCESSING"  # until their leases end
    expected[LATER - 1] = "PENDING"
    assert _statuses(engine) == expected
    assert runtime.leases.count == 0


def test_products_that_come_together_share_a_statement(
    engine: Engine, runtime: Runtime, attempts: list[Claim], monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[int] = []
    jobs = ProductJobs(runtime)

    def settle(
        connection: Connection, settlements: Sequence[tuple[Claim, ProductResult]]
    ) -> list[Settled]:
        settled.append(len(settlements))
        if len(settled) == 1:
            wait_for(lambda: len(jobs._statements._brought) > 1, what="others to settle meanwhile")
        return settle_products(connection, settlements)

    monkeypatch.setattr("halftone_workers.jobs.product.settle_products", settle)
    seqs = [seq for seq in range(1, 21) if seq not in (BAD, BROKEN, LATER)]
    assert _processed(jobs, store_request(engine, 20), seqs) == [None] * len(seqs)
    assert sum(settled) == len(seqs)
    assert max(settled) > 1


def test_statement_that_is_interrupted_by_the_database_is_tried_again(
    engine: Engine, runtime: Runtime, attempts: list[Claim]
) -> None:
    request_id = store_request(engine, 2)
    jobs = ProductJobs(runtime)
    jobs.process(ProductKey(request_id, 1))
    query(
        engine,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
    )
    jobs.process(ProductKey(request_id, 2))
    assert len(attempts) == 2
    assert _statuses(engine) == ["COMPLETED", "COMPLETED"]


def test_image_is_counted_once_however_often_its_product_is_tried(
    engine: Engine, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postponed for its second image, settled with that image failed, and retried by the client."""
    later = ImageAttempt(failed_image(retryable=True))
    ways = iter([later, ImageAttempt(failed_image()), ImageAttempt(good_image())])
    monkeypatch.setattr(
        product,
        "attempt_images",
        lambda _, product: [ImageAttempt(product.claim.done[0] or good_image()), next(ways)],
    )
    names = (
        "halftone_images_total",
        "halftone_image_input_bytes_total",
        "halftone_products_settled_total",
    )
    before = {name: _counted(name) for name in names}
    key = ProductKey(store_request(engine, 1, images=2), 1)
    jobs = ProductJobs(runtime)
    jobs.process(key)
    execute(engine, "UPDATE products SET next_attempt_at = now()")
    jobs.process(key)
    retry_request(engine, key.request_id, "http://halftone")
    jobs.process(key)
    assert _statuses(engine) == ["COMPLETED"]
    assert [_counted(name) - before[name] for name in names] == [3, 200, 2]


def test_product_that_was_cancelled_meanwhile_counts_nothing(
    engine: Engine, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ProductKey(store_request(engine, 1), 1)

    def cancelled_meanwhile(_: Runtime, __: ActiveProduct) -> list[ImageAttempt | None]:
        cancel_request(engine, key.request_id, patience_seconds=10)
        return [ImageAttempt(failed_image(retryable=True))]

    monkeypatch.setattr(product, "attempt_images", cancelled_meanwhile)
    before = _counted("halftone_products_postponed_total")
    ProductJobs(runtime).process(key)
    assert _statuses(engine) == ["CANCELLED"]
    assert _counted("halftone_products_postponed_total") == before


def test_cancelled_request_closes_its_connections_to_a_silent_host(
    engine: Engine, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("halftone_workers.leases.RENEW_EVERY_SECONDS", 0.5)
    closed: list[None] = []

    def silent(visitor: Visitor) -> None:
        visitor.read_request()
        visitor.wait_until_gone()
        closed.append(None)

    request_id = store_request(engine, 3, images=4)
    with (
        hostile_server(silent) as host,
        running_runtime(
            database_url, tmp_path, download_timeout_seconds=60, fetch_allow="127.0.0.0/8"
        ) as worker,
        ThreadPoolExecutor(3) as threads,
    ):
        execute(
            engine,
            "UPDATE products SET input_image_urls ="
            " (SELECT array_agg(:url || seq || '-' || n) FROM generate_series(1, 4) AS n)",
            url=f"{host.url}/",
        )
        jobs = ProductJobs(worker)
        running = [threads.submit(jobs.process, ProductKey(request_id, n)) for n in (1, 2, 3)]
        wait_for(lambda: host.requests, what="a connection to the silent host")
        assert not closed
        cancel_request(engine, request_id, patience_seconds=10)
        assert not wait(running, 20).not_done
        wait_for(lambda: worker.leases.count == 0, what="no product to be active")
        opened = len(host.requests)
        wait_for(lambda: len(closed) == opened, what="the connections to be closed")
        time.sleep(1)
        assert len(host.requests) == opened
    assert set(_statuses(engine)) == {"CANCELLED"}


def _counted(name: str) -> float:
    samples = [
        sample for family in REGISTRY.collect() for sample in family.samples if sample.name == name
    ]
    return sum(sample.value for sample in samples)


def test_images_are_stored_side_by_side_where_the_store_is_far_away(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageStore, "is_remote", True)
    together = threading.Barrier(4)

    def store(images: Sequence[int]) -> list[tuple[int, str]]:
        together.wait(5)  # no call ends before all four have begun
        return [(n, structlog.contextvars.get_contextvars()["request_id"]) for n in images]

    with structlog.contextvars.bound_contextvars(request_id="that of the log lines"):
        assert list(runtime.in_parts(store, [1, 2, 3, 4])) == [
            (n, "that of the log lines") for n in (1, 2, 3, 4)
        ]


def test_product_that_waits_for_the_network_takes_no_place(
    database_url: str, engine: Engine, tmp_path: Path, origin: Origin
) -> None:
    places = 2
    active: list[int] = []

    def asked() -> Answer:
        active.append(worker.leases.count)
        return Answer(jpeg((64, 48)), delay_seconds=2 * PARK_AFTER_SECONDS)

    urls = [origin.serve(f"/{seq}.jpg", asked) for seq in range(1, 25)]
    request_id = store_request(engine, 24)
    execute(
        engine,
        "UPDATE products SET input_image_urls = ARRAY[(CAST(:urls AS text[]))[seq]]",
        urls=urls,
    )
    with running_runtime(
        database_url, tmp_path, products_at_once=places, fetch_allow="127.0.0.0/8"
    ) as worker:
        jobs = ProductJobs(worker)
        left = list(range(1, 25))
        while left:  # products that would wait too long are sent back
            assert _processed(jobs, request_id, left) == [None] * len(left)
            execute(engine, "UPDATE products SET next_attempt_at = NULL")
            pending = query(engine, "SELECT seq FROM products WHERE status = 'PENDING'")
            left = [row.seq for row in pending]
    assert set(_statuses(engine)) == {"COMPLETED"}
    assert max(active) > 2 * places


@pytest.mark.parametrize(
    "between",
    [ImageAttempt(good_image()), ImageAttempt(ImageResult(), is_away=True)],
    ids=["settled", "away"],
)
def test_request_is_paused_only_when_nothing_but_waiting_products_came_in_a_row(
    engine: Engine, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, between: ImageAttempt
) -> None:
    good = 2 * FRUITLESS_IN_A_ROW

    def attempt_images(_: Runtime, product: ActiveProduct) -> list[ImageAttempt | None]:
        if product.claim.key.seq == good:
            return [between]
        error = ImageError(ImageErrorCode.TIMEOUT, "The host is busy.", retryable=True)
        waiting = Waiting("shop.example", WaitReason.BUSY, 60)
        return [ImageAttempt(ImageResult(error=error), 60, waiting, was_tried=False)]

    def is_paused() -> bool:
        [row] = query(engine, "SELECT held_until FROM requests")
        return row.held_until is not None

    monkeypatch.setattr(product, "attempt_images", attempt_images)
    request_id = store_request(engine, good)
    jobs = ProductJobs(runtime)
    waiting = iter(range(1, good))
    for _ in range(FRUITLESS_IN_A_ROW - 1):
        jobs.process(ProductKey(request_id, next(waiting)))
    jobs.process(ProductKey(request_id, good))
    for _ in range(FRUITLESS_IN_A_ROW - 1):
        jobs.process(ProductKey(request_id, next(waiting)))
    assert not is_paused()
    jobs.process(ProductKey(request_id, next(waiting)))
    assert is_paused()


# --- API and workers of different versions ---


def _with_options(engine: Engine, options: str) -> UUID:
    request_id = store_request(engine)
    execute(engine, "UPDATE requests SET options = CAST(:options AS jsonb)", options=options)
    return request_id


def test_product_with_an_option_of_a_newer_version_waits_for_a_newer_worker(
    runtime: Runtime, engine: Engine
) -> None:
    request_id = _with_options(engine, '{"mode": "quality", "hologram": 3}')
    jobs = ProductJobs(runtime)
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            execute(engine, "UPDATE products SET next_attempt_at = NULL")
            (before,) = query(engine, "SELECT now()")
            jobs.process(ProductKey(request_id, 1))
    (row,) = query(
        engine,
        "SELECT status, attempts, lease_until, next_attempt_at, next_attempt_at - now() AS wait"
        " FROM products",
    )
    assert (row.status, row.attempts, row.lease_until) == ("PENDING", 0, None)
    assert row.next_attempt_at - before[0] >= timedelta(seconds=7.5)
    assert row.wait <= timedelta(seconds=12.5)
    warnings = [each for each in logs if each["event"] == "product is newer than this worker"]
    assert [each["option"] for each in warnings] == ["hologram"]


def test_value_of_a_newer_version_waits_for_a_newer_worker(
    runtime: Runtime, engine: Engine
) -> None:
    request_id = _with_options(engine, '{"mode": "neural"}')
    ProductJobs(runtime).process(ProductKey(request_id, 1))
    assert _statuses(engine) == ["PENDING"]


def test_options_of_an_older_api_are_completed_by_their_defaults(
    runtime: Runtime, engine: Engine, attempts: list[Claim]
) -> None:
    request_id = _with_options(engine, '{"mode": "quality", "quality": 50, "format": "keep"}')
    ProductJobs(runtime).process(ProductKey(request_id, 1))
    assert ImageOptions.from_json(attempts[0].options) == ImageOptions()
    assert _statuses(engine) == ["COMPLETED"]
