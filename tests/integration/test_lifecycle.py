"""Cancelling and retrying whole requests is correct at every moment, with messages in flight
too.
"""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Engine, event, text
from structlog.contextvars import bound_contextvars
from structlog.testing import capture_logs

from halftone_shared.db.barrier import Settled
from halftone_shared.db.cancel_retry import (
    cancel_request,
    cancels_under_way,
    carry_out_cancel,
    retry_request,
)
from halftone_shared.db.invariants import examine
from halftone_shared.db.outbox import take_due_products
from halftone_shared.db.products import postpone_product
from halftone_shared.db.requests import get_status
from halftone_shared.db.webhook_events import claim_event
from halftone_shared.errors import AlreadyEnded, NotEnded, NothingToRetry
from halftone_shared.model.results import ProductKey
from halftone_shared.model.status_object import status_object
from tests.support.stored import (
    claim_product,
    claimed,
    execute,
    failed_image,
    finish,
    good_image,
    query,
    settle,
    store_request,
)

URL = "http://halftone"


def test_cancel_ends_what_waits_and_keeps_what_has_finished(engine: Engine) -> None:
    request_id = store_request(engine, 100, webhook_url="http://127.0.0.1/hook")
    finish(engine, request_id, 30)
    cancel_request(engine, request_id, patience_seconds=10)
    status = _status(engine, request_id)
    assert (status["status"], status["outcome"], status["progress"]) == (
        "CANCELLED",
        "partial",
        100,
    )
    assert (status["processed_products"], status["cancelled_products"]) == (30, 70)
    assert len(query(engine, "SELECT FROM webhook_events")) == 1
    _assert_sound(engine)


def test_request_that_was_cancelled_before_it_began_has_never_started(engine: Engine) -> None:
    request_id = store_request(engine, 100)
    cancel_request(engine, request_id, patience_seconds=10)
    status = _status(engine, request_id)
    assert (status["status"], status["started_at"]) == ("CANCELLED", None)
    assert status["completed_at"] is not None


def test_end_of_a_cancelled_request_is_in_the_log_once_under_its_upload_s_id(
    engine: Engine,
) -> None:
    request_id = store_request(engine, 10)
    execute(engine, "UPDATE requests SET trace_id = 'shop-7'")
    with bound_contextvars(x_request_id="the cancelling call's"), capture_logs() as logged:
        for _ in range(2):
            cancel_request(engine, request_id, patience_seconds=10)
    assert [line for line in logged if line["event"] == "request ended"] == [
        {
            "event": "request ended",
            "log_level": "info",
            "request_id": str(request_id),
            "x_request_id": "shop-7",
            "cancelled": True,
        }
    ]


def test_cancelled_request_is_handed_out_no_more(engine: Engine) -> None:
    request_id = store_request(engine, 10)
    cancel_request(engine, request_id, patience_seconds=10)
    assert take_due_products(engine, 10) == []
    with engine.connect() as connection:
        assert claim_product(connection, ProductKey(request_id, 1)) is None


def test_worker_with_an_active_cancelled_product_settles_nothing(engine: Engine) -> None:
    request_id = store_request(engine, 2)
    claim = claimed(engine, request_id, 1)
    cancel_request(engine, request_id, patience_seconds=10)
    assert settle(engine, claim) == Settled(counted=False, ended=False)
    with engine.connect() as connection:
        postpone_product(connection, claim, [None], delay_seconds=0)
    assert _status(engine, request_id)["cancelled_products"] == 2
    _assert_sound(engine)


def test_cancelling_again_changes_nothing_and_an_ended_request_cannot_be_cancelled(
    engine: Engine,
) -> None:
    request_id = store_request(engine, 2, webhook_url="http://127.0.0.1/hook")
    cancel_request(engine, request_id, patience_seconds=10)
    cancel_request(engine, request_id, patience_seconds=10)
    assert len(query(engine, "SELECT FROM webhook_events")) == 1
    ended = store_request(engine, 1)
    finish(engine, ended, 1)
    with pytest.raises(AlreadyEnded):
        cancel_request(engine, ended, patience_seconds=10)


def test_large_cancellation_goes_on_in_steps(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("halftone_shared.db.cancel_retry.CANCEL_STEP_PRODUCTS", 7)
    request_id = store_request(engine, 100)
    cancel_request(engine, request_id, patience_seconds=0)
    assert _status(engine, request_id)["status"] == "PENDING"
    with engine.connect() as connection:
        assert list(cancels_under_way(connection)) == [request_id]
    carry_out_cancel(engine, request_id, patience_seconds=30)
    assert _status(engine, request_id)["cancelled_products"] == 100
    with engine.connect() as connection:
        assert list(cancels_under_way(connection)) == []
    _assert_sound(engine)


def test_cancel_against_workers_and_dispatchers_ends_once_and_counts_right(engine: Engine) -> None:
    for _ in range(5):
        request_id = store_request(engine, 300, webhook_url="http://127.0.0.1/hook")
        go = threading.Barrier(8)
        endings: list[bool] = []

        def work(go: threading.Barrier = go, endings: list[bool] = endings) -> None:
            go.wait()
            while keys := take_due_products(engine, 11):
                for key in keys:
                    with engine.connect() as connection:
                        claim = claim_product(connection, key)
                    if claim is not None:
                        endings.append(settle(engine, claim).ended)

        def cancel(request_id: UUID = request_id, go: threading.Barrier = go) -> None:
            go.wait()
            with suppress(AlreadyEnded):
                cancel_request(engine, request_id, patience_seconds=30)

        with ThreadPoolExecutor(8) as pool:
            for future in [pool.submit(work) for _ in range(6)] + [
                pool.submit(cancel) for _ in range(2)
            ]:
                future.result(60)
        status = _status(engine, request_id)
        assert status["completed_at"] is not None
        assert status["processed_products"] + status["cancelled_products"] == 300
        assert sum(endings) <= 1
        _assert_sound(engine)


def test_retry_runs_only_what_failed_and_keeps_the_rest(engine: Engine) -> None:
    request_id = store_request(engine, 80, images=2)
    for seq in range(1, 81):
        images = (
            [good_image(f"{seq}-1.jpg"), failed_image()]
            if seq % 10 == 0
            else [good_image(), good_image()]
        )
        settle(engine, claimed(engine, request_id, seq), *images)
    before = _status(engine, request_id)
    assert (before["outcome"], before["failed_images"]) == ("partial", 8)

    retry_request(engine, request_id, URL)
    during = _status(engine, request_id)
    assert (during["status"], during["outcome"], during["completed_at"]) == ("PENDING", None, None)
    assert (during["progress"], during["failed_images"]) == (90.0, 0)
    assert during["processed_images"] == 144
    _assert_sound(engine)

    due = take_due_products(engine, 100)
    assert sorted(key.seq for key in due) == list(range(10, 81, 10))
    for key in due:
        claim = claimed(engine, *_parts(key))
        assert claim.attempt == 1
        done, missing = claim.done
        assert done is not None
        assert done.file == f"{key.seq}-1.jpg"
        assert missing is None
        settle(engine, claim, done, good_image(f"{key.seq}-2.jpg"))
    after = _status(engine, request_id)
    assert (after["status"], after["outcome"]) == ("COMPLETED", "succeeded")
    assert (after["processed_images"], after["failed_images"], after["progress"]) == (160, 0, 100)
    _assert_sound(engine)


def test_retry_of_a_cancelled_request_runs_what_was_cancelled(engine: Engine) -> None:
    request_id = store_request(engine, 20)
    finish(engine, request_id, 5)
    cancel_request(engine, request_id, patience_seconds=10)
    retry_request(engine, request_id, URL)
    due = take_due_products(engine, 100)
    assert sorted(key.seq for key in due) == list(range(6, 21))
    for key in due:
        settle(engine, claimed(engine, *_parts(key)))
    assert _status(engine, request_id)["outcome"] == "succeeded"
    _assert_sound(engine)


@pytest.mark.parametrize("is_claimed", [False, True])
def test_cancelled_retry_keeps_the_images_that_succeeded_before(
    engine: Engine, is_claimed: bool
) -> None:
    request_id = store_request(engine, 70, images=2)
    for seq in range(1, 71):
        settle(engine, claimed(engine, request_id, seq), good_image(f"{seq}-1.jpg"), failed_image())
    before = _status(engine, request_id)
    retry_request(engine, request_id, URL)
    if is_claimed:
        claimed(engine, request_id, 1)
    cancel_request(engine, request_id, patience_seconds=10)
    after = _status(engine, request_id)
    assert (after["status"], after["outcome"], after["cancelled_products"]) == (
        "CANCELLED",
        "partial",
        70,
    )
    counted = ("processed_images", "bytes_in", "bytes_out", "bytes_saved")
    assert {name: after[name] for name in counted} == {name: before[name] for name in counted}
    files = query(engine, "SELECT output_files FROM products ORDER BY seq")
    assert [row.output_files for row in files] == [[f"{seq}-1.jpg", None] for seq in range(1, 71)]
    _assert_sound(engine)

    retry_request(engine, request_id, URL)
    for seq in range(1, 71):
        claim = claimed(engine, request_id, seq)
        assert claim.done[0] is not None
        settle(engine, claim, claim.done[0], good_image(f"{seq}-2.jpg"))
    assert _status(engine, request_id)["outcome"] == "succeeded"
    _assert_sound(engine)


def test_cancellation_that_is_over_leaves_the_next_run_alone(engine: Engine) -> None:
    request_id = store_request(engine, 5)
    execute(engine, "UPDATE requests SET cancel_requested_at = now()")
    with engine.connect() as connection:
        assert cancels_under_way(connection) == [request_id]
    cancel_request(engine, request_id, patience_seconds=10)
    retry_request(engine, request_id, URL)
    carry_out_cancel(engine, request_id, patience_seconds=10)
    status = _status(engine, request_id)
    assert (status["status"], status["cancelled_products"]) == ("PENDING", 0)
    _assert_sound(engine)


def test_retry_of_a_running_or_flawless_request_is_refused_and_changes_nothing(
    engine: Engine,
) -> None:
    request_id = store_request(engine, 2)
    with pytest.raises(NotEnded):
        retry_request(engine, request_id, URL)
    finish(engine, request_id, 2)
    with pytest.raises(NothingToRetry):
        retry_request(engine, request_id, URL)
    assert query(engine, "SELECT run FROM requests")[0].run == 1
    _assert_sound(engine)


def test_claim_of_the_run_before_settles_nothing_in_the_next(engine: Engine) -> None:
    request_id = store_request(engine, 1)
    late = claimed(engine, request_id, 1)
    cancel_request(engine, request_id, patience_seconds=10)
    retry_request(engine, request_id, URL)
    current = claimed(engine, request_id, 1)
    assert late.attempt == current.attempt
    assert settle(engine, late, failed_image()) == Settled(counted=False, ended=False)
    assert settle(engine, current) == Settled(counted=True, ended=True)


def test_each_ending_has_its_own_event_and_the_first_keeps_what_it_was_to_say(
    engine: Engine,
) -> None:
    request_id = store_request(engine, 1, webhook_url="http://127.0.0.1/hook")
    settle(engine, claimed(engine, request_id, 1), failed_image())
    retry_request(engine, request_id, URL)
    finish(engine, request_id, 1)
    events = query(engine, "SELECT id, run, attempts FROM webhook_events ORDER BY run")
    assert [event.run for event in events] == [1, 2]
    with engine.connect() as connection:
        bodies = [claim_event(connection, event.id, 1, URL) for event in events]
    said = [json.loads(body.body) for body in bodies if body is not None]
    assert [body["type"] for body in said] == ["request.failed", "request.completed"]
    assert [body["data"]["failed_images"] for body in said] == [1, 0]
    _assert_sound(engine)


def test_retry_side_by_side_starts_one_run(engine: Engine) -> None:
    request_id = store_request(engine, 3)
    for seq in (1, 2, 3):
        settle(engine, claimed(engine, request_id, seq), failed_image())

    def retry() -> bool:
        try:
            retry_request(engine, request_id, URL)
        except NotEnded:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        started = [future.result() for future in [pool.submit(retry) for _ in range(6)]]
    assert started.count(True) == 1
    assert query(engine, "SELECT run FROM requests")[0].run == 2


def test_first_claim_that_meets_a_dispatcher_leaves_the_start_to_the_next(engine: Engine) -> None:
    request_id = store_request(engine, 1)
    with (
        engine.connect().execution_options(isolation_level="READ COMMITTED") as other,
        other.begin(),
    ):
        other.execute(text("SELECT FROM requests FOR NO KEY UPDATE"))
        claim = claimed(engine, request_id, 1)
        assert _status(engine, request_id)["status"] == "PENDING"
    settle(engine, claim)
    status = _status(engine, request_id)
    assert status["status"] == "COMPLETED"
    assert status["started_at"] is not None


def test_request_that_is_newer_than_the_statistics_is_cancelled_and_reopened_at_once(
    engine: Engine,
) -> None:
    """PostgreSQL then expects one or two rows. With a join by the wrong column, it takes
    minutes.
    """
    store_request(engine, 3000)
    execute(engine, "ANALYZE")
    request_id = store_request(engine, 40_000)
    event.listen(
        engine,
        "checkout",
        lambda connection, *_: connection.execute("SET statement_timeout = '5s'"),
    )
    cancel_request(engine, request_id, patience_seconds=60)
    assert _status(engine, request_id)["status"] == "CANCELLED"
    retry_request(engine, request_id, URL)
    assert _status(engine, request_id)["status"] == "PENDING"


def _parts(key: ProductKey) -> tuple[UUID, int]:
    return key.request_id, key.seq


def _status(engine: Engine, request_id: UUID) -> dict[str, Any]:
    with engine.connect() as connection:
        row = get_status(connection, request_id, owner=None)
    assert row is not None
    return {**status_object(row, URL)}


def _assert_sound(engine: Engine) -> None:
    assert [finding for _, finding in examine(engine) if finding is not None] == []
