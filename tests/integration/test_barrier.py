"""The completion barrier: every product counts once, exactly one caller ends its request."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import Engine

from halftone_shared.db.barrier import Settled, settle_products
from halftone_shared.db.cancel_retry import cancel_request, retry_request
from halftone_shared.db.engine import always_by_index, make_engine
from halftone_shared.db.products import (
    Claim,
    Renewal,
    claim_products,
    postpone_product,
    renew_leases,
)
from halftone_shared.db.requests import get_status
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.results import (
    ImageError,
    ImageResult,
    ProductKey,
    ProductResult,
    StoredImage,
)
from halftone_shared.model.states import Action
from halftone_shared.model.status_object import StatusObject, status_object
from tests.support.stored import (
    claim_product,
    claimed,
    failed_image,
    finish,
    good_image,
    query,
    rows_read,
    settle,
    store_request,
)


@pytest.mark.parametrize("products", [1, 2, 63, 64, 65, 200])
def test_request_ends_with_its_last_product_and_not_before(engine: Engine, products: int) -> None:
    request_id = store_request(engine, products)
    settled = finish(engine, request_id, products)
    assert [result.ended for result in settled] == [False] * (products - 1) + [True]
    (row,) = query(engine, "SELECT * FROM requests")
    assert (row.status, row.outcome, row.open_shards) == ("COMPLETED", "succeeded", 0)
    assert (row.processed_products, row.processed_images, row.bytes_in) == (
        products,
        products,
        100 * products,
    )


def test_settling_twice_counts_once(engine: Engine) -> None:
    request_id = store_request(engine, 2)
    claim = claimed(engine, request_id, 1)
    assert settle(engine, claim) == Settled(counted=True, ended=False)
    assert settle(engine, claim) == Settled(counted=False, ended=False)
    assert _status(engine, request_id)["processed_products"] == 1
    assert settle(engine, claimed(engine, request_id, 2)) == Settled(counted=True, ended=True)


def test_claim_that_passed_to_another_attempt_settles_nothing(engine: Engine) -> None:
    request_id = store_request(engine, 1)
    late = claimed(engine, request_id, 1)
    with engine.connect() as connection:
        postpone_product(connection, late, [None], delay_seconds=0)
    current = claimed(engine, request_id, 1)
    assert settle(engine, late, failed_image()) == Settled(counted=False, ended=False)
    assert settle(engine, current) == Settled(counted=True, ended=True)
    assert _status(engine, request_id)["failed_products"] == 0


def test_finished_product_cannot_be_claimed_again(engine: Engine) -> None:
    request_id = store_request(engine, 1)
    finish(engine, request_id, 1)
    with engine.connect() as connection:
        assert claim_product(connection, ProductKey(request_id, 1)) is None


def test_request_without_any_good_image_fails(engine: Engine) -> None:
    request_id = store_request(engine, 2)
    for seq in (1, 2):
        settle(engine, claimed(engine, request_id, seq), failed_image())
    status = _status(engine, request_id)
    assert (status["status"], status["outcome"], status["failed_products"]) == (
        "FAILED",
        "failed",
        2,
    )


def test_one_good_image_among_failed_ones_completes_in_part(engine: Engine) -> None:
    request_id = store_request(engine, 70, images=2)
    for seq in range(1, 71):
        images = [good_image(), failed_image()] if seq == 70 else [failed_image(), failed_image()]
        settle(engine, claimed(engine, request_id, seq), *images)
    status = _status(engine, request_id)
    assert (status["status"], status["outcome"]) == ("COMPLETED", "partial")
    assert (status["processed_products"], status["failed_products"]) == (1, 69)
    assert (status["processed_images"], status["failed_images"]) == (1, 139)


def test_progress_counts_full_and_open_shards(engine: Engine) -> None:
    request_id = store_request(engine, 100)
    for seq in range(1, 101):
        assert _status(engine, request_id)["progress"] == seq - 1
        settle(engine, claimed(engine, request_id, seq))
    assert _status(engine, request_id)["progress"] == 100


def test_webhook_event_is_written_once_by_the_ending(engine: Engine) -> None:
    request_id = store_request(engine, 3, webhook_url="http://127.0.0.1/hook")
    for seq in (1, 2):
        settle(engine, claimed(engine, request_id, seq))
        assert query(engine, "SELECT FROM webhook_events") == []
    last = claimed(engine, request_id, 3)
    settle(engine, last)
    settle(engine, last)
    assert [row.run for row in query(engine, "SELECT run FROM webhook_events")] == [1]


def test_batch_is_settled_as_its_products_would_be_one_by_one(engine: Engine) -> None:
    request_id = store_request(engine, 70, images=2, webhook_url="http://127.0.0.1/hook")
    late = claimed(engine, request_id, 1)
    with engine.connect() as connection:
        postpone_product(connection, late, [None, None], delay_seconds=0)
    claims = [claimed(engine, request_id, seq) for seq in range(1, 71)]
    good, mixed = ProductResult([good_image()] * 2), ProductResult([good_image(), failed_image()])
    with engine.connect() as connection:
        # A stale claim next to the valid one, in either order, and the same claim twice.
        first = settle_products(
            connection, [(late, mixed), (claims[0], good), (claims[5], mixed), (claims[5], mixed)]
        )
        assert [settled.counted for settled in first[:2]] == [False, True]
        assert not any(settled.ended for settled in first)
        assert _status(engine, request_id)["processed_products"] == 2
        rest = settle_products(connection, [(claim, good) for claim in claims])
    assert [settled.counted for settled in rest] == [seq not in (1, 6) for seq in range(1, 71)]
    assert [settled.ended for settled in rest] == [False] * 69 + [True]
    status = _status(engine, request_id)
    assert (status["status"], status["outcome"], status["progress"]) == (
        "COMPLETED",
        "partial",
        100,
    )
    assert (status["processed_images"], status["failed_images"]) == (139, 1)
    assert len(query(engine, "SELECT FROM webhook_events")) == 1
    (row,) = query(
        engine, "SELECT status, failed_images, output_files, images FROM products WHERE seq = 6"
    )
    assert (row.status, row.failed_images) == ("COMPLETED", 1)
    assert row.output_files == [good_image().file, None]
    assert row.images == [image.to_json() for image in mixed.images]


def test_batches_of_requests_that_end_side_by_side_do_not_deadlock(engine: Engine) -> None:
    requests = [store_request(engine, 128) for _ in range(3)]
    batches = []
    for request_id in requests:
        claims = [claimed(engine, request_id, seq) for seq in range(1, 129)]
        random.Random(7).shuffle(claims)
        batches += [
            [(claim, ProductResult([good_image()])) for claim in claims[at::16]] for at in range(16)
        ]

    def work(batch: list[tuple[Claim, ProductResult]]) -> list[Settled]:
        with engine.connect() as connection:
            renew_leases(connection, [Renewal(claim) for claim, _ in batch])
            return settle_products(connection, batch)

    with ThreadPoolExecutor(8) as pool:
        settled = [one for batch in pool.map(work, batches) for one in batch]
    assert all(one.counted for one in settled)
    assert sum(one.ended for one in settled) == len(requests)


def test_messages_are_claimed_together_and_each_product_once(engine: Engine) -> None:
    request_id = store_request(engine, 4)
    taken = claimed(engine, request_id, 2)
    keys = [ProductKey(request_id, seq) for seq in (3, 1, 2, 3, 9)]
    with engine.connect() as connection:
        claims = claim_products(connection, keys)
    assert [claim and claim.key for claim in claims] == [keys[0], keys[1], None, None, None]
    assert settle(engine, taken).counted


def test_batches_never_read_the_whole_table_however_small_it_was_at_first(
    database_url: str,
) -> None:
    engine = make_engine(database_url, pool_size=1)
    always_by_index(engine)

    def work(request_id: UUID) -> None:
        with engine.connect() as connection:
            for start in range(1, 49, 4):  # PostgreSQL caches a statement's plan after a few runs
                keys = [ProductKey(request_id, seq) for seq in range(start, start + 4)]
                claims = [claim for claim in claim_products(connection, keys) if claim]
                renew_leases(connection, [Renewal(claim) for claim in claims])
                settled = settle_products(
                    connection, [(claim, ProductResult([good_image()])) for claim in claims]
                )
                assert len(settled) == 4

    work(store_request(engine, 48))
    large = store_request(engine, 20_000)
    before = rows_read(engine, "products")
    work(large)
    # Claim, renewal and settlement look up each of the 48 products a few times.
    assert rows_read(engine, "products") - before < 48 * 20
    engine.dispose()


def test_many_workers_with_duplicates_end_a_request_exactly_once(engine: Engine) -> None:
    products = 600
    request_id = store_request(engine, products, webhook_url="http://127.0.0.1/hook")
    deliveries = [seq for seq in range(1, products + 1) for _ in range(2)]
    random.Random(7).shuffle(deliveries)
    ended, counted, lock = 0, 0, threading.Lock()

    def work(seq: int) -> None:
        nonlocal ended, counted
        with engine.connect() as connection:
            claim = claim_product(connection, ProductKey(request_id, seq))
        if claim is None:
            return
        for result in (settle(engine, claim), settle(engine, claim)):
            with lock:
                ended += result.ended
                counted += result.counted

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, deliveries))
    assert (counted, ended) == (products, 1)
    assert len(query(engine, "SELECT FROM webhook_events")) == 1
    (sums,) = query(
        engine, "SELECT sum(processed_products) AS done, sum(total) AS total FROM request_shards"
    )
    assert (sums.done, sums.total) == (products, products)


def test_requests_that_end_side_by_side_do_not_deadlock(engine: Engine) -> None:
    requests = [store_request(engine, 40) for _ in range(6)]
    work = [(request_id, seq) for seq in range(1, 41) for request_id in requests]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda item: settle(engine, claimed(engine, *item)), work))
    assert sum(result.ended for result in results) == len(requests)


def _status(engine: Engine, request_id: UUID) -> StatusObject:
    with engine.connect() as connection:
        row = get_status(connection, request_id, owner=None)
    assert row is not None
    return status_object(row, "http://halftone")


# --- errors by code ---


def _errors(engine: Engine, request_id: UUID) -> dict[str, int]:
    with engine.connect() as connection:
        found = get_status(connection, request_id, owner=None)
    assert found is not None
    return found.errors


def test_errors_are_counted_by_code_while_it_runs_and_when_it_has_ended(engine: Engine) -> None:
    request_id = store_request(engine, 3, images=2)
    settle(engine, claimed(engine, request_id, 1), good_image(), failed_image())
    assert _errors(engine, request_id) == {"http_error": 1}
    claims = [claimed(engine, request_id, seq) for seq in (2, 3)]
    timeout = ImageResult(error=ImageError(ImageErrorCode.TIMEOUT, "It took too long."))
    results = [ProductResult([failed_image(), timeout]), ProductResult([timeout, timeout])]
    with engine.connect() as connection:
        settle_products(connection, list(zip(claims, results, strict=True)))
    assert _errors(engine, request_id) == {"http_error": 2, "timeout": 3}


def test_retry_takes_the_errors_back_out(engine: Engine) -> None:
    request_id = store_request(engine, 2)
    settle(engine, claimed(engine, request_id, 1), failed_image())
    settle(engine, claimed(engine, request_id, 2), good_image())
    retry_request(engine, request_id, "http://api.example")
    assert _errors(engine, request_id) == {}
    settle(engine, claimed(engine, request_id, 1), failed_image())
    assert _errors(engine, request_id) == {"http_error": 1}


def test_retry_by_code_leaves_the_other_errors_counted(engine: Engine) -> None:
    request_id = store_request(engine, 65)
    timeout = ImageResult(error=ImageError(ImageErrorCode.TIMEOUT, "It took too long."))
    settle(engine, claimed(engine, request_id, 1), timeout)
    for seq in range(2, 66):
        settle(engine, claimed(engine, request_id, seq), failed_image())
    retry_request(engine, request_id, "http://api.example", code="timeout")
    assert _errors(engine, request_id) == {"http_error": 64}
    settle(engine, claimed(engine, request_id, 1), good_image())
    assert _errors(engine, request_id) == {"http_error": 64}


def test_error_of_an_earlier_attempt_counts_in_a_cancelled_product(engine: Engine) -> None:
    request_id = store_request(engine, 1, images=2)
    claim = claimed(engine, request_id, 1)
    with engine.connect() as connection:
        postpone_product(connection, claim, [failed_image(), None], delay_seconds=60)
    cancel_request(engine, request_id, patience_seconds=5)
    assert _errors(engine, request_id) == {"http_error": 1}


def test_reused_images_are_counted(engine: Engine) -> None:
    request_id = store_request(engine, 1, images=2)
    output = good_image().output
    assert output is not None
    facts = replace(output.facts, action=Action.REUSED)
    reused = ImageResult(StoredImage("y", facts))
    settle(engine, claimed(engine, request_id, 1), good_image(), reused)
    with engine.connect() as connection:
        found = get_status(connection, request_id, owner=None)
    assert found is not None
    assert (found.processed_images, found.reused_images) == (2, 1)
