"""Dispatch: every product once, fairly, and again after it was lost."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from sqlalchemy import Connection, Engine
from structlog.testing import capture_logs

from halftone_shared.db.barrier import Settled
from halftone_shared.db.cancel_retry import cancel_request
from halftone_shared.db.engine import always_by_index, database_seconds, make_engine
from halftone_shared.db.outbox import (
    Agenda,
    free_expired,
    read_agenda,
    take_due_events,
    take_due_products,
)
from halftone_shared.db.products import WORK_LEASE_SECONDS, Renewal, postpone_product, renew_leases
from halftone_shared.db.webhook_events import claim_event
from halftone_shared.errors import QueueUnavailable
from halftone_shared.model.messages import PRODUCTS_QUEUE, WEBHOOKS_QUEUE
from halftone_shared.model.results import ProductKey
from halftone_shared.service import dispatcher
from halftone_shared.service.dispatcher import Dispatcher
from halftone_workers.brokers import InProcessBroker, InProcessQueue
from tests.support.halftone import wait_for
from tests.support.postgres import running_postgres
from tests.support.stored import (
    before_statement,
    claim_product,
    claimed,
    execute,
    finish,
    good_image,
    query,
    settle,
    store_request,
)


@contextmanager
def _dispatching(url: str, *, max_attempts: int = 2) -> Iterator[InProcessBroker]:
    """A dispatcher that publishes to this broker, from which nobody takes messages."""
    broker = InProcessBroker(middleware=[])
    for name in (PRODUCTS_QUEUE, WEBHOOKS_QUEUE):
        broker.declare_queue(name)
    handing_out = Dispatcher(
        make_engine(url, pool_size=2), InProcessQueue(broker), max_attempts=max_attempts
    )
    handing_out.start()
    try:
        yield broker
    finally:
        handing_out.stop()


def test_everything_is_handed_out_once_in_the_order_of_the_file(engine: Engine) -> None:
    request_id = store_request(engine, 25)
    taken = [take_due_products(engine, 10) for _ in range(4)]
    assert [[key.seq for key in round_] for round_ in taken] == [
        list(range(1, 11)),
        list(range(11, 21)),
        list(range(21, 26)),
        [],
    ]
    assert {key.request_id for round_ in taken for key in round_} == {request_id}


def test_lease_that_ended_while_the_database_was_away_may_be_renewed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatcher, "LEASES_GRACE_SECONDS", 3.0)
    with running_postgres(durable=True) as postgres:
        url = postgres.new_database()
        engine = make_engine(url, pool_size=2)
        request_id = store_request(engine, 3)
        alive, _ = claimed(engine, request_id, 1), claimed(engine, request_id, 2)
        execute(
            engine,
            "UPDATE products SET lease_until = now() - interval '1 s' WHERE status = 'PROCESSING'",
        )
        engine.dispose()
        postgres.stop_immediately()
        with _dispatching(url) as broker:
            postgres.start()
            wait_for(
                lambda: broker.queues[PRODUCTS_QUEUE].qsize() == 1,
                what="what nobody had is handed out",
            )
            with engine.connect() as connection:
                renew_leases(connection, [Renewal(alive)])
            wait_for(
                lambda: broker.queues[PRODUCTS_QUEUE].qsize() == 2,
                what="the lost product is handed out",
            )
        rows = query(engine, "SELECT status, attempts FROM products ORDER BY seq")
        assert [tuple(row) for row in rows] == [("PROCESSING", 1), ("PENDING", 1), ("PENDING", 0)]
        engine.dispose()


def test_lease_that_ended_by_a_clock_set_forward_may_be_renewed(
    database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example after the machine slept: for its processes no time has passed."""
    monkeypatch.setattr(dispatcher, "REAP_EVERY_SECONDS", 0.1)
    monkeypatch.setattr(dispatcher, "LEASES_GRACE_SECONDS", 3.0)
    monkeypatch.setattr(dispatcher, "IDLE_SECONDS", 0.1)
    request_id = store_request(engine, 2)
    alive, _ = claimed(engine, request_id, 1), claimed(engine, request_id, 2)
    looked, asleep, awake = threading.Event(), threading.Event(), threading.Event()

    def later(connection: Connection) -> float:
        looked.set()
        if not asleep.is_set():
            return database_seconds(connection)
        if not awake.is_set():
            execute(engine, "UPDATE products SET lease_until = lease_until - interval '1 hour'")
            awake.set()
        return database_seconds(connection) + 3600

    monkeypatch.setattr(dispatcher, "database_seconds", later)
    with _dispatching(database_url) as broker:
        assert looked.wait(30)
        with capture_logs() as logged:
            asleep.set()
            assert awake.wait(30)
            with engine.connect() as connection:
                renew_leases(connection, [Renewal(alive)])
            wait_for(
                lambda: broker.queues[PRODUCTS_QUEUE].qsize() == 1,
                what="the lost product is handed out",
            )
    assert [line["reason"] for line in logged if line["event"].startswith("leases")] == [
        "the database's clock went forward by 3600 s"
    ]
    rows = query(engine, "SELECT status, attempts FROM products ORDER BY seq")
    assert [tuple(row) for row in rows] == [("PROCESSING", 1), ("PENDING", 1)]


def test_requests_take_turns(engine: Engine) -> None:
    large, small = store_request(engine, 1000), store_request(engine, 3)
    taken = take_due_products(engine, 10)
    assert Counter(key.request_id for key in taken) == {large: 7, small: 3}
    assert [key.request_id for key in taken[:3]] == [small] * 3, (
        "the small share is published first"
    )


def test_small_request_is_served_in_the_next_round_whatever_waits(engine: Engine) -> None:
    store_request(engine, 5000)
    take_due_products(engine, 50)
    small = store_request(engine, 5)
    assert sum(key.request_id == small for key in take_due_products(engine, 16)) == 5


def test_every_request_has_its_turn_where_there_is_not_room_for_one_of_each(engine: Engine) -> None:
    request_ids = [store_request(engine, 50) for _ in range(20)]
    served = Counter(key.request_id for _ in range(10) for key in take_due_products(engine, 8))
    assert {served[request_id] for request_id in request_ids} <= {3, 4, 5}


def test_taking_never_reads_the_whole_table_however_small_it_was_at_first(
    database_url: str,
) -> None:
    engine = make_engine(database_url, pool_size=1)
    always_by_index(engine)
    for _ in range(12):  # PostgreSQL caches a statement's plan after a few runs
        store_request(engine, 5)
        take_due_products(engine, 8)
    store_request(engine, 20_000)
    before = _rows_read_in_sequence(engine)
    for _ in range(12):
        assert len(take_due_products(engine, 5)) == 5
    assert _rows_read_in_sequence(engine) == before
    engine.dispose()


def _rows_read_in_sequence(engine: Engine) -> int:
    query(engine, "SELECT pg_stat_force_next_flush()")
    ((read,),) = query(
        engine, "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'products'"
    )
    return int(read)


def test_side_by_side_dispatchers_never_take_the_same_product(engine: Engine) -> None:
    for _ in range(5):
        store_request(engine, 100)
    taken: list[ProductKey] = []
    with ThreadPoolExecutor(6) as pool:
        while len(taken) < 500:
            for found in pool.map(lambda _: take_due_products(engine, 7), range(12)):
                taken += found
    assert len(taken) == len(set(taken)) == 500


def test_lost_message_is_handed_out_again_when_its_lease_ends(engine: Engine) -> None:
    request_id = store_request(engine, 1)
    assert take_due_products(engine, 10) == [ProductKey(request_id, 1)]
    assert _free(engine) == 0
    _expire(engine)
    assert _free(engine) == 1
    assert take_due_products(engine, 10) == [ProductKey(request_id, 1)]


def test_dead_workers_product_is_handed_out_again_when_its_lease_ends(engine: Engine) -> None:
    request_id = store_request(engine, 1)
    take_due_products(engine, 10)
    claimed(engine, request_id, 1)
    with engine.connect() as connection:
        assert claim_product(connection, ProductKey(request_id, 1)) is None
    _expire(engine)
    assert _free(engine) == 1
    assert take_due_products(engine, 10) == [ProductKey(request_id, 1)]
    assert claimed(engine, request_id, 1).attempt == 2


@pytest.mark.parametrize("max_attempts", [5, 1], ids=["any attempt", "the last attempt"])
def test_renewed_lease_keeps_the_product(engine: Engine, max_attempts: int) -> None:
    request_id = store_request(engine, 1)
    claim = claimed(engine, request_id, 1)
    _expire(engine)
    with engine.connect() as connection:
        renew_leases(connection, [Renewal(claim)])
    assert _free(engine, max_attempts) == 0
    assert settle(engine, claim) == Settled(counted=True, ended=True)


def test_lease_that_waited_for_a_table_is_whole_from_then_on(
    database_url: str, engine: Engine
) -> None:
    request_id = store_request(engine, 1)
    claim = claimed(engine, request_id, 1)
    with psycopg.connect(database_url) as admin, ThreadPoolExecutor() as pool:
        admin.execute("LOCK TABLE products")
        with engine.connect() as connection:
            renewal = pool.submit(renew_leases, connection, [Renewal(claim)])
            wait_for(
                lambda: query(engine, "SELECT FROM pg_locks WHERE NOT granted"),
                what="the renewal to wait",
            )
            time.sleep(1)  # a lease computed before the wait would be 1 s shorter
            admin.commit()
            renewal.result()
    left = "SELECT extract(epoch FROM lease_until - now()) AS seconds FROM products"
    assert query(engine, left)[0].seconds > WORK_LEASE_SECONDS - 0.9


def test_worker_that_is_being_taken_for_lost_in_its_last_attempt_renews_nothing(
    engine: Engine,
) -> None:
    request_id = store_request(engine, 1)
    claim = claimed(engine, request_id, 1)
    _expire(engine)
    leases = []

    def renew() -> None:
        leases.append(query(engine, "SELECT lease_until FROM products"))
        with engine.connect() as connection:
            renew_leases(connection, [Renewal(claim)])
        leases.append(query(engine, "SELECT lease_until FROM products"))

    with before_statement("WITH product AS", renew):  # the settlement
        _free(engine, max_attempts=1)
    assert leases[0] == leases[1], "a lease that was renewed would have been broken"
    assert settle(engine, claim) == Settled(counted=False, ended=False)
    assert query(engine, "SELECT status FROM products")[0].status == "FAILED"


def test_product_whose_worker_is_lost_every_time_fails_in_the_end(engine: Engine) -> None:
    request_id = store_request(engine, 1, images=2)
    for attempt in range(1, 4):
        take_due_products(engine, 10)
        assert claimed(engine, request_id, 1).attempt == attempt
        _expire(engine)
        _free(engine, max_attempts=3)
    (product,) = query(engine, "SELECT status, images, lease_until FROM products")
    assert product.status == "FAILED"
    assert [image["error"]["code"] for image in product.images] == ["internal", "internal"]
    (request,) = query(engine, "SELECT status FROM requests")
    assert request.status == "FAILED"


def test_postponed_product_is_due_after_its_delay_and_keeps_what_is_done(engine: Engine) -> None:
    request_id = store_request(engine, 1, images=2)
    take_due_products(engine, 10)
    claim = claimed(engine, request_id, 1)
    with engine.connect() as connection:
        postpone_product(connection, claim, [good_image("a.jpg"), None], delay_seconds=60)
        assert claim_product(connection, ProductKey(request_id, 1)) is None
    assert take_due_products(engine, 10) == []
    execute(engine, "UPDATE products SET next_attempt_at = now()")
    assert take_due_products(engine, 10) == [ProductKey(request_id, 1)]
    again = claimed(engine, request_id, 1)
    assert (again.attempt, [image and image.file for image in again.done]) == (2, ["a.jpg", None])


def test_product_handed_back_by_a_stopping_worker_has_lost_no_attempt(engine: Engine) -> None:
    request_id = store_request(engine, 1)
    claim = claimed(engine, request_id, 1)
    with engine.connect() as connection:
        postpone_product(connection, claim, [None], delay_seconds=0, counted=False)
    assert claimed(engine, request_id, 1).attempt == 1


def test_webhook_event_is_due_once_and_again_when_its_deliverer_is_lost(engine: Engine) -> None:
    request_id = store_request(engine, 1, webhook_url="http://127.0.0.1/hook")
    finish(engine, request_id, 1)
    with engine.connect() as connection:
        (event,) = take_due_events(connection, 10)
        assert event.attempt == 1
        assert take_due_events(connection, 10) == []
        assert claim_event(connection, event.event_id, 1, "http://halftone") is not None
        assert claim_event(connection, event.event_id, 1, "http://halftone") is None, (
            "a duplicate message"
        )
        execute(engine, "UPDATE webhook_events SET lease_until = now() - interval '1 s'")
        (again,) = take_due_events(connection, 10)
        assert (again.event_id, again.attempt) == (event.event_id, 2)


def test_events_that_nobody_takes_are_published_no_more_than_there_is_room_for(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "EVENTS_A_ROUND", 3)
    for _ in range(5):
        finish(engine, store_request(engine, 1, webhook_url="http://127.0.0.1/hook"), 1)
    with _dispatching(database_url) as broker:
        waiting = broker.queues[WEBHOOKS_QUEUE]
        wait_for(lambda: waiting.qsize() == 3, what="as many as there is room for are published")
        execute(engine, "UPDATE webhook_events SET lease_until = now() - interval '1 s'")
        waiting.get()
        wait_for(lambda: waiting.qsize() == 3, what="one more is published when one was taken")
    leased = query(engine, "SELECT FROM webhook_events WHERE lease_until > now()")
    assert len(leased) == 1, "the others that fell due again wait for room"


def test_what_needs_no_queue_goes_on_while_it_is_away(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waiting(*_: object) -> int:
        raise QueueUnavailable("RabbitMQ is away.")

    monkeypatch.setattr(InProcessQueue, "waiting", waiting)
    cancelled, lost = store_request(engine, 3), store_request(engine, 1)
    cancel_request(engine, cancelled, patience_seconds=0)
    claimed(engine, lost, 1)
    _expire(engine)
    ended = "SELECT status FROM requests WHERE completed_at IS NOT NULL ORDER BY status"
    with _dispatching(database_url, max_attempts=1):
        wait_for(lambda: len(query(engine, ended)) == 2, what="the end of both requests")
    assert [row.status for row in query(engine, ended)] == ["CANCELLED", "FAILED"]


def test_dispatcher_connects_as_the_engine_does(engine: Engine, database_url: str) -> None:
    """With a space in the password and in a server option."""
    url = (
        database_url.replace("postgres:@", "postgres:a%20secret@")
        + "&options=-c%20statement_timeout%3D60000"
    )
    store_request(engine, 1)
    with _dispatching(url) as broker:
        wait_for(
            lambda: broker.queues[PRODUCTS_QUEUE].qsize() == 1, what="the product is handed out"
        )


def test_agenda_tells_what_runs_and_when_the_next_event_is_due(engine: Engine) -> None:
    with engine.connect() as connection:
        assert read_agenda(connection) == Agenda(active=False, event_seconds=None)
        request_id = store_request(engine, 1, webhook_url="http://127.0.0.1/hook")
        assert read_agenda(connection) == Agenda(active=True, event_seconds=None)
        finish(engine, request_id, 1)
        assert read_agenda(connection) == Agenda(active=False, event_seconds=0)
        execute(engine, "UPDATE webhook_events SET next_attempt_at = now() + interval '5 s'")
        seconds = read_agenda(connection).event_seconds or 0
        (left,) = query(
            engine,
            "SELECT EXTRACT(epoch FROM next_attempt_at - clock_timestamp()) FROM webhook_events",
        )
        assert left[0] <= seconds <= 5


def test_product_that_lost_its_worker_in_the_last_attempt_is_in_the_log(engine: Engine) -> None:
    request_id = store_request(engine, 1)
    execute(engine, "UPDATE requests SET trace_id = 'shop-7'")
    claimed(engine, request_id, 1)
    _expire(engine)
    with capture_logs() as logged:
        _free(engine, max_attempts=1)
    about = {"request_id": str(request_id), "seq": 1, "x_request_id": "shop-7"}
    assert [
        (line["event"], line["log_level"], line.items() >= about.items()) for line in logged
    ] == [
        ("product given up", "error", True),
        ("request ended", "info", True),
    ]


def _free(engine: Engine, max_attempts: int = 5) -> int:
    with engine.connect() as connection:
        return free_expired(connection, max_attempts=max_attempts)


def _expire(engine: Engine) -> None:
    execute(
        engine,
        "UPDATE products SET lease_until = now() - interval '1 s' WHERE lease_until IS NOT NULL",
    )
