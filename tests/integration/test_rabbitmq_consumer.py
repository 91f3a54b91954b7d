"""Consuming from RabbitMQ: messages of an earlier connection, a deleted queue, and the prefetch
limit.
"""

import json
import threading
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pika
import pytest
from dramatiq import Worker
from dramatiq.broker import Consumer
from sqlalchemy import Engine

from halftone_shared.model.messages import (
    PRODUCTS_QUEUE,
    QueueType,
    dead_letter_queue,
    product_message,
)
from halftone_shared.model.results import ProductKey
from halftone_workers.brokers import RabbitmqWorkerBroker
from halftone_workers.jobs import product
from halftone_workers.jobs.active_product import ActiveProduct
from halftone_workers.jobs.actors import declare_actors
from halftone_workers.jobs.image import ImageAttempt
from halftone_workers.jobs.product import ProductJobs
from halftone_workers.jobs.webhook import WebhookJobs
from halftone_workers.runtime import Runtime
from tests.support.halftone import wait_for
from tests.support.rabbitmq import TestRabbitmq
from tests.support.runtime import running_runtime
from tests.support.stored import good_image, query, store_request

pytestmark = pytest.mark.broker


def _publish(rabbitmq_url: str, count: int, request_id: UUID | None = None) -> None:
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_url)) as connection:
        channel = connection.channel()
        for seq in range(count):
            message = product_message(ProductKey(request_id or uuid4(), seq + 1))
            channel.basic_publish("", PRODUCTS_QUEUE, message.encode())


def _next(consumer: Consumer) -> object:
    return wait_for(lambda: next(consumer), what="message")


def _waiting(rabbitmq_url: str, queue: str = PRODUCTS_QUEUE) -> int:
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_url)) as connection:
        return int(connection.channel().queue_declare(queue, passive=True).method.message_count)


@pytest.mark.parametrize("verb", ["ack", "nack"])
def test_message_of_an_earlier_connection_acknowledges_no_other(
    rabbitmq_url: str, verb: str
) -> None:
    broker = RabbitmqWorkerBroker(rabbitmq_url)
    first = broker.consume(PRODUCTS_QUEUE, prefetch=1, timeout=500)
    _publish(rabbitmq_url, 2)
    late = _next(first)
    first.close()
    second = broker.consume(PRODUCTS_QUEUE, prefetch=1, timeout=500)
    _next(second)  # this one also has the late message's number, 1
    getattr(second, verb)(late)
    second.close()
    wait_for(lambda: _waiting(rabbitmq_url) == 2, what="both messages back in the queue")
    broker.close()


def test_own_message_is_acknowledged(rabbitmq_url: str) -> None:
    broker = RabbitmqWorkerBroker(rabbitmq_url)
    consumer = broker.consume(PRODUCTS_QUEUE, prefetch=1, timeout=500)
    _publish(rabbitmq_url, 2)
    consumer.ack(_next(consumer))  # type: ignore[arg-type]
    consumer.close()
    wait_for(lambda: _waiting(rabbitmq_url) == 1, what="the other message")
    broker.close()


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_queue_is_declared_as_asked_and_again_when_it_was_deleted(
    broker: TestRabbitmq, rabbitmq_url: str, queue_type: QueueType
) -> None:
    worker_broker = RabbitmqWorkerBroker(rabbitmq_url, queue_type)
    vhost = rabbitmq_url.rpartition("/")[2]
    for _ in range(2):
        worker_broker.consume(PRODUCTS_QUEUE, prefetch=1, timeout=500).close()
        found = wait_for(lambda: broker.queue(rabbitmq_url, PRODUCTS_QUEUE), what="queue")
        assert found["type"] == queue_type
        assert found["durable"]
        broker.call("DELETE", f"/api/queues/{vhost}/{PRODUCTS_QUEUE}")
    worker_broker.close()


def test_no_more_is_taken_than_can_be_run(rabbitmq_url: str) -> None:
    broker = RabbitmqWorkerBroker(rabbitmq_url)
    consumer = broker.consume(PRODUCTS_QUEUE, prefetch=3, timeout=500)
    _publish(rabbitmq_url, 10)
    _next(consumer)
    wait_for(lambda: _waiting(rabbitmq_url) == 7, what="three taken")
    consumer.close()
    broker.close()


@pytest.mark.parametrize(
    "wrong", [{"options": None}, {"actor_name": []}, {"queue_name": "elsewhere"}]
)
def test_message_that_no_actor_can_read_goes_to_the_dead_letters(
    rabbitmq_url: str, wrong: dict[str, Any]
) -> None:
    broker = RabbitmqWorkerBroker(rabbitmq_url)
    consumer = broker.consume(PRODUCTS_QUEUE, prefetch=1, timeout=500)
    message = json.loads(product_message(ProductKey(uuid4(), 1)).encode())
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_url)) as connection:
        channel = connection.channel()
        channel.basic_publish("", PRODUCTS_QUEUE, json.dumps(message | wrong).encode())
        channel.basic_publish("", PRODUCTS_QUEUE, json.dumps(message).encode())
    readable: Any = _next(consumer)
    assert json.loads(readable.encode()) == message
    wait_for(
        lambda: _waiting(rabbitmq_url, dead_letter_queue(PRODUCTS_QUEUE)) == 1, what="dead letter"
    )
    consumer.close()
    broker.close()


def test_what_has_not_begun_at_the_end_goes_back_to_the_queue(
    rabbitmq_url: str,
    database_url: str,
    engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, may_end = [], threading.Event()

    def attempt_images(_: Runtime, product: ActiveProduct) -> list[ImageAttempt | None]:
        begun.append(product.claim.key.seq)
        may_end.wait(30)
        return [ImageAttempt(good_image())]

    monkeypatch.setattr(product, "attempt_images", attempt_images)
    broker = RabbitmqWorkerBroker(rabbitmq_url)
    with running_runtime(database_url, tmp_path, products_at_once=1) as runtime:
        jobs = ProductJobs(runtime)
        declare_actors(broker, jobs, WebhookJobs(runtime))
        broker.consume(PRODUCTS_QUEUE).close()  # declares it
        _publish(rabbitmq_url, 3, store_request(engine, 3))
        worker = Worker(broker, worker_threads=3)
        worker.queue_prefetch = 3
        worker.start()
        wait_for(
            lambda: len(begun) == 2 and jobs._admission._turns,
            what="the active products that each request may have, and one that waits for its turn",
        )
        jobs.stop()
        may_end.set()
        worker.stop()
        jobs.close()
    broker.close()
    assert len(begun) == 2
    rows = query(engine, "SELECT status, attempts FROM products ORDER BY status")
    assert [tuple(row) for row in rows] == [
        ("COMPLETED", 1),
        ("COMPLETED", 1),
        ("PENDING", 0),
    ]
    wait_for(lambda: _waiting(rabbitmq_url) == 1, what="the other message back in the queue")
