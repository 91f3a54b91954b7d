"""Consuming from RabbitMQ: what an earlier connection brought, a queue that was deleted, how much is taken at once."""

from uuid import uuid4

import pika
import pytest
from dramatiq.broker import Consumer

from halftone_shared.messages import PRODUCTS_QUEUE, QueueType, product_message
from halftone_shared.results import ProductKey
from halftone_workers.brokers import RabbitmqWorkerBroker
from tests.support.halftone import wait_for
from tests.support.rabbitmq import TestRabbitmq

pytestmark = pytest.mark.broker


def _publish(rabbitmq_url: str, count: int) -> None:
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_url)) as connection:
        channel = connection.channel()
        for seq in range(count):
            message = product_message(ProductKey(uuid4(), seq + 1))
            channel.basic_publish("", PRODUCTS_QUEUE, message.encode())


def _next(consumer: Consumer) -> object:
    return wait_for(lambda: next(consumer), what="message")


def _waiting(rabbitmq_url: str) -> int:
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_url)) as connection:
        return int(connection.channel().queue_declare(PRODUCTS_QUEUE, passive=True).method.message_count)


@pytest.mark.parametrize("verb", ["ack", "nack"])
def test_message_of_an_earlier_connection_acknowledges_no_other(rabbitmq_url: str, verb: str) -> None:
    broker = RabbitmqWorkerBroker(rabbitmq_url)
    first = broker.consume(PRODUCTS_QUEUE, prefetch=1, timeout=500)
    _publish(rabbitmq_url, 2)
    late = _next(first)
    first.close()
    second = broker.consume(PRODUCTS_QUEUE, prefetch=1, timeout=500)
    _next(second)  # whose number is that of the late one: 1
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
