"""Jobs of the image processing service: pending, called back, overdue, cancelled, repeated."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine

from halftone_shared.db.cancel_retry import cancel_request, retry_request
from halftone_shared.db.engine import always_by_index, make_engine, transaction
from halftone_shared.db.outbox import free_expired, take_due_products
from halftone_shared.db.processor_jobs import (
    JobResult,
    JobStatus,
    Recorded,
    add_job,
    read_open_jobs,
    record_callbacks,
    send_away,
    take_jobs,
)
from halftone_shared.db.products import Claim
from tests.support.stored import (
    claimed,
    execute,
    failed_image,
    query,
    rows_read,
    settle,
    store_request,
)

URL = "https://processor.example/out.jpg"


def sent(engine: Engine, claim: Claim, position: int = 1, seconds: float = 60) -> UUID:
    job_id = uuid4()
    with engine.connect() as connection:
        assert add_job(
            connection, claim, job_id, position=position, variant="", timeout_seconds=seconds
        )
    return job_id


def away(engine: Engine, claim: Claim) -> bool:
    with transaction(engine) as connection:
        return send_away(connection, claim, [None] * len(claim.input_image_urls))


def called_back(engine: Engine, job_id: UUID, url: str = URL) -> Recorded:
    with transaction(engine) as connection:
        [handled] = record_callbacks(connection, [completed(job_id, url)])
    return handled.recorded


def completed(job_id: UUID, url: str = URL) -> JobResult:
    return JobResult(job_id, JobStatus.COMPLETED, url)


def results(engine: Engine, claim: Claim) -> dict[int, JobStatus]:
    with engine.connect() as connection:
        return {job.position: job.status for job in take_jobs(connection, claim)}


def state(engine: Engine, request_id: UUID) -> tuple[str, bool, int]:
    [row] = query(
        engine,
        "SELECT status, away, attempts FROM products WHERE request_id = :id",
        id=request_id,
    )
    return row.status, row.away, row.attempts


def test_product_is_away_until_its_last_job_is_called_back(engine: Engine) -> None:
    request_id = store_request(engine, images=2)
    claim = claimed(engine, request_id, 1)
    first, second = sent(engine, claim, 1), sent(engine, claim, 2)
    assert away(engine, claim)
    assert state(engine, request_id) == ("PROCESSING", True, 0)
    assert take_due_products(engine, 10) == []

    assert called_back(engine, first) is Recorded.RECORDED
    assert state(engine, request_id) == ("PROCESSING", True, 0)
    assert called_back(engine, second) is Recorded.RECORDED
    assert state(engine, request_id) == ("PENDING", False, 0)
    assert [key.seq for key in take_due_products(engine, 10)] == [1]

    again = claimed(engine, request_id, 1)
    assert again.attempt == 1
    assert results(engine, again) == {1: JobStatus.COMPLETED, 2: JobStatus.COMPLETED}
    assert results(engine, again) == {}


def test_callback_before_the_product_is_away_makes_it_due_at_once(engine: Engine) -> None:
    request_id = store_request(engine)
    claim = claimed(engine, request_id, 1)
    job_id = sent(engine, claim)
    assert called_back(engine, job_id) is Recorded.RECORDED

    assert away(engine, claim)

    assert state(engine, request_id) == ("PENDING", False, 0)


def test_last_two_callbacks_at_once_bring_the_product_back_once(engine: Engine) -> None:
    request_id = store_request(engine, images=8)
    claim = claimed(engine, request_id, 1)
    jobs = [sent(engine, claim, position) for position in range(1, 9)]
    assert away(engine, claim)

    with ThreadPoolExecutor(8) as pool:
        recorded = list(pool.map(lambda job: called_back(engine, job), jobs))

    assert set(recorded) == {Recorded.RECORDED}
    assert state(engine, request_id) == ("PENDING", False, 0)


def test_same_callback_again_changes_nothing_and_another_is_refused(engine: Engine) -> None:
    request_id = store_request(engine)
    claim = claimed(engine, request_id, 1)
    job_id = sent(engine, claim)
    assert away(engine, claim)
    assert called_back(engine, job_id) is Recorded.RECORDED

    assert called_back(engine, job_id) is Recorded.REPEATED
    assert called_back(engine, job_id, URL + "?other") is Recorded.ENDED_OTHERWISE
    assert called_back(engine, uuid4()) is Recorded.UNKNOWN
    settle(engine, claimed(engine, request_id, 1))
    assert called_back(engine, job_id) is Recorded.REPEATED


def test_callbacks_of_several_products_are_recorded_together(engine: Engine) -> None:
    whole, half = (store_request(engine, images=2) for _ in range(2))
    claims = [claimed(engine, request_id, 1) for request_id in (whole, half)]
    jobs = [[sent(engine, claim, position) for position in (1, 2)] for claim in claims]
    assert all(away(engine, claim) for claim in claims)
    failed = JobResult(jobs[1][0], JobStatus.FAILED, error="The image has no subject.")

    with transaction(engine) as connection:
        found = record_callbacks(
            connection,
            [
                completed(jobs[0][1]),
                completed(uuid4()),
                failed,
                completed(jobs[0][0]),
                failed,
                completed(jobs[0][0], URL + "?other"),
            ],
        )

    assert [handled.recorded for handled in found] == [
        Recorded.RECORDED,
        Recorded.UNKNOWN,
        Recorded.RECORDED,
        Recorded.RECORDED,
        Recorded.REPEATED,
        Recorded.ENDED_OTHERWISE,
    ]
    assert {handled.product for handled in found} == {None, claims[0].key, claims[1].key}
    assert state(engine, whole) == ("PENDING", False, 0)
    assert state(engine, half) == ("PROCESSING", True, 0)
    assert results(engine, claimed(engine, whole, 1)) == dict.fromkeys((1, 2), JobStatus.COMPLETED)


def test_batches_of_callbacks_for_the_same_products_take_turns(engine: Engine) -> None:
    requests = [store_request(engine, images=8) for _ in range(4)]
    claims = [claimed(engine, request_id, 1) for request_id in requests]
    jobs = [[sent(engine, claim, position) for position in range(1, 9)] for claim in claims]
    assert all(away(engine, claim) for claim in claims)
    # Each batch has one job of every product, in an order of its own.
    batches = [[of_product[at] for of_product in jobs] for at in range(8)]
    batches = [batch[at % 4 :] + batch[: at % 4] for at, batch in enumerate(batches)]

    def record(batch: list[UUID]) -> list[Recorded]:
        with transaction(engine) as connection:
            handled = record_callbacks(connection, [completed(job_id) for job_id in batch])
        return [one.recorded for one in handled]

    with ThreadPoolExecutor(8) as pool:
        recorded = list(pool.map(record, batches))

    assert recorded == [[Recorded.RECORDED] * 4] * 8
    assert {state(engine, request_id) for request_id in requests} == {("PENDING", False, 0)}


def test_overdue_job_gives_the_product_back_and_refuses_its_callback(engine: Engine) -> None:
    request_id = store_request(engine)
    claim = claimed(engine, request_id, 1)
    job_id = sent(engine, claim)
    assert away(engine, claim)
    execute(engine, "UPDATE processor_jobs SET expires_at = now() - interval '1 s'")
    execute(engine, "UPDATE products SET lease_until = now() - interval '1 s'")
    with engine.connect() as connection:
        assert read_open_jobs(connection).overdue == 1
        assert free_expired(connection, max_attempts=1) == 1

    assert called_back(engine, job_id) is Recorded.ENDED_OTHERWISE
    again = claimed(engine, request_id, 1)
    assert again.attempt == 1
    assert results(engine, again) == {1: JobStatus.EXPIRED}


def test_worker_that_died_before_letting_go_finds_its_jobs(engine: Engine) -> None:
    request_id = store_request(engine)
    job_id = sent(engine, claimed(engine, request_id, 1))
    execute(engine, "UPDATE products SET lease_until = now() - interval '1 s'")
    with engine.connect() as connection:
        free_expired(connection, max_attempts=5)
    again = claimed(engine, request_id, 1)
    assert results(engine, again) == {1: JobStatus.SENT}
    assert away(engine, again)

    assert called_back(engine, job_id) is Recorded.RECORDED

    assert state(engine, request_id) == ("PENDING", False, 1)


def test_void_claim_adds_no_job_and_sends_nothing_away(engine: Engine) -> None:
    request_id = store_request(engine)
    claim = claimed(engine, request_id, 1)
    settle(engine, claim)
    with engine.connect() as connection:
        assert (
            add_job(connection, claim, uuid4(), position=1, variant="", timeout_seconds=60) is None
        )

    assert not away(engine, claim)


@pytest.mark.parametrize("retried", [False, True])
def test_callback_for_a_cancelled_request_is_refused(engine: Engine, retried: bool) -> None:
    request_id = store_request(engine)
    claim = claimed(engine, request_id, 1)
    job_id = sent(engine, claim)
    assert away(engine, claim)
    cancel_request(engine, request_id, patience_seconds=5)
    if retried:
        retry_request(engine, request_id, "https://halftone.example")

    assert called_back(engine, job_id) is Recorded.ENDED_OTHERWISE
    if retried:
        assert results(engine, claimed(engine, request_id, 1)) == {}


def test_retry_does_not_use_results_of_the_run_before(engine: Engine) -> None:
    request_id = store_request(engine)
    claim = claimed(engine, request_id, 1)
    job_id = sent(engine, claim)
    assert called_back(engine, job_id) is Recorded.RECORDED
    settle(engine, claim, failed_image())

    retry_request(engine, request_id, "https://halftone.example")

    assert results(engine, claimed(engine, request_id, 1)) == {}


def test_callbacks_never_read_all_open_jobs_however_few_there_were_at_first(
    database_url: str,
) -> None:
    engine = make_engine(database_url, pool_size=1)
    always_by_index(engine)

    def call_back(jobs: list[UUID]) -> None:
        for start in range(0, len(jobs), 4):  # PostgreSQL caches a statement's plan
            with transaction(engine) as connection:
                handled = record_callbacks(
                    connection, [completed(job_id) for job_id in jobs[start : start + 4]]
                )
            assert {one.recorded for one in handled} == {Recorded.RECORDED}

    def sent_away(products: int) -> list[UUID]:
        request_id = store_request(engine, products)
        claims = [claimed(engine, request_id, seq) for seq in range(1, products + 1)]
        jobs = [sent(engine, claim) for claim in claims]
        assert all(away(engine, claim) for claim in claims)
        return jobs

    call_back(sent_away(4))
    jobs = sent_away(1000)
    before = rows_read(engine, "processor_jobs")
    call_back(jobs[:48])
    # Each statement looks up the jobs that are called back, and those of their products.
    assert rows_read(engine, "processor_jobs") - before < 48 * 20
    assert take_due_products(engine, 100)
    engine.dispose()
