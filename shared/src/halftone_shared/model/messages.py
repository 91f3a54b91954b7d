"""The messages on the queues, by name: who publishes them never imports the actors that take them.

A message carries IDs only. It is a hint to hurry; what is to be done stands in PostgreSQL.
"""

from typing import Literal
from uuid import UUID

from dramatiq import Message

from halftone_shared.model.results import ProductKey

QueueType = Literal["classic", "quorum"]

PRODUCTS_QUEUE = "products"
WEBHOOKS_QUEUE = "webhooks"
PROCESS_PRODUCT = "process_product"
DELIVER_WEBHOOK = "deliver_webhook"


def product_message(key: ProductKey) -> Message[None]:
    return _message(PRODUCTS_QUEUE, PROCESS_PRODUCT, str(key.request_id), key.seq)


def webhook_message(event_id: UUID, attempt: int) -> Message[None]:
    return _message(WEBHOOKS_QUEUE, DELIVER_WEBHOOK, str(event_id), attempt)


def _message(queue: str, actor: str, *args: str | int) -> Message[None]:
    return Message(queue_name=queue, actor_name=actor, args=args, kwargs={}, options={})


def queue_arguments(queue: str, queue_type: QueueType) -> dict[str, str]:
    """What publisher and consumer declare a queue with; were they to differ, RabbitMQ would refuse
    the second.
    """
    arguments = {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead_letter_queue(queue),
    }
    return arguments | ({"x-queue-type": "quorum"} if queue_type == "quorum" else {})


def dead_letter_queue(queue: str) -> str:
    """Where messages end that no actor can read; the name is Dramatiq's."""
    return f"{queue}.XQ"


# Seven days, in milliseconds, as Dramatiq declares them.
DEAD_LETTER_ARGUMENTS = {"x-message-ttl": 7 * 24 * 3600 * 1000}
