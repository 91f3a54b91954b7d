"""Publishing to RabbitMQ: confirmed or refused. It recovers after the broker or the queue was
away.
"""

import time
from uuid import uuid4

import pika
import pytest

from halftone_api.server.rabbitmq_publisher import RabbitmqPublisher
from halftone_shared.errors import QueueUnavailable
from halftone_shared.model.messages import PRODUCTS_QUEUE, dead_letter_queue, product_message
from halftone_shared.model.results import ProductKey
from tests.support.halftone import free_port, wait_for
from tests.support.rabbitmq import TestRabbitmq

pytestmark = pytest.mark.broker

MESSAGES = [product_message(ProductKey(uuid4(), seq)) for seq in range(1, 301)]


def test_batch_is_in_the_queue_when_publish_returns(rabbitmq_url: str) -> None:
    publisher = RabbitmqPublisher(rabbitmq_url)
    assert publisher.waiting(PRODUCTS_QUEUE) == 0
    publisher.publish(PRODUCTS_QUEUE, MESSAGES)
    assert _stored_bodies(rabbitmq_url) == [message.encode() for message in MESSAGES]
    publisher.close()


def test_batches_follow_each_other_on_one_connection(rabbitmq_url: str) -> None:
    publisher = RabbitmqPublisher(rabbitmq_url)
    publisher.waiting(PRODUCTS_QUEUE)
    for start in range(0, 300, 100):
        publisher.publish(PRODUCTS_QUEUE, MESSAGES[start : start + 100])
    assert publisher.waiting(PRODUCTS_QUEUE) == 300
    publisher.close()


def test_deleted_queue_is_noticed_and_declared_again(
    broker: TestRabbitmq, rabbitmq_url: str
) -> None:
    publisher = RabbitmqPublisher(rabbitmq_url)
    publisher.waiting(PRODUCTS_QUEUE)
    broker.call("DELETE", f"/api/queues/{_vhost(rabbitmq_url)}/{PRODUCTS_QUEUE}")
    with pytest.raises(QueueUnavailable, match="its queue is gone"):
        publisher.publish(PRODUCTS_QUEUE, MESSAGES[:3])
    assert publisher.waiting(PRODUCTS_QUEUE) == 0
    publisher.publish(PRODUCTS_QUEUE, MESSAGES[:3])
    assert publisher.waiting(PRODUCTS_QUEUE) == 3
    publisher.close()


def test_closed_connection_is_opened_again(broker: TestRabbitmq, rabbitmq_url: str) -> None:
    publisher = RabbitmqPublisher(rabbitmq_url)
    publisher.waiting(PRODUCTS_QUEUE)

    def connections() -> list[str]:
        return [
            c["name"]
            for c in broker.call("GET", "/api/connections")
            if c.get("vhost") == _vhost(rabbitmq_url)
        ]

    (name,) = wait_for(connections, what="connection in the management API")
    broker.call("DELETE", f"/api/connections/{name.replace(' ', '%20').replace('>', '%3E')}")
    deadline = time.monotonic() + 20
    while True:
        try:
            publisher.publish(PRODUCTS_QUEUE, MESSAGES[:1])
            break
        except QueueUnavailable:
            assert time.monotonic() < deadline
    assert publisher.waiting(PRODUCTS_QUEUE) >= 1
    publisher.close()


def test_dead_letter_queue_is_declared_with_its_queue(
    broker: TestRabbitmq, rabbitmq_url: str
) -> None:
    publisher = RabbitmqPublisher(rabbitmq_url)
    for _ in range(2):
        publisher.waiting(PRODUCTS_QUEUE)
    assert broker.queue(rabbitmq_url, dead_letter_queue(PRODUCTS_QUEUE))["name"] == "products.XQ"
    publisher.close()


def test_broker_that_is_away_is_said_at_once() -> None:
    publisher = RabbitmqPublisher(f"amqp://guest:guest@127.0.0.1:{free_port()}/")
    started = time.monotonic()
    with pytest.raises(QueueUnavailable, match="cannot be reached"):
        publisher.waiting(PRODUCTS_QUEUE)
    assert time.monotonic() - started < 8
    publisher.close()


def test_wrong_password_is_said(rabbitmq_url: str) -> None:
    publisher = RabbitmqPublisher(rabbitmq_url.replace("guest:guest", "guest:wrong"))
    with pytest.raises(QueueUnavailable):
        publisher.waiting(PRODUCTS_QUEUE)
    publisher.close()


def _vhost(rabbitmq_url: str) -> str:
    return rabbitmq_url.rpartition("/")[2]


def _stored_bodies(rabbitmq_url: str) -> list[bytes]:
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq_url))
    channel = connection.channel()
    bodies = []
    while (found := channel.basic_get(PRODUCTS_QUEUE, auto_ack=True))[0] is not None:
        bodies.append(found[2])
    connection.close()
    return bodies
