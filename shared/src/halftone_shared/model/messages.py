"""The messages on the queues. Actors are named by strings, so publishers do not import them.

A message carries IDs only. It only wakes a worker; PostgreSQL holds the work to do.
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
    """The arguments with which both publisher and consumer declare a queue. RabbitMQ refuses a
    second declaration with other arguments.
    """
    arguments = {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead_letter_queue(queue),
    }
    return arguments | ({"x-queue-type": "quorum"} if queue_type == "quorum" else {})


def dead_letter_queue(queue: str) -> str:
    """The queue for messages that no actor can read; Dramatiq's naming."""
    return f"{queue}.XQ"


# Seven days, in milliseconds, as Dramatiq declares them.
DEAD_LETTER_ARGUMENTS = {"x-message-ttl": 7 * 24 * 3600 * 1000}
