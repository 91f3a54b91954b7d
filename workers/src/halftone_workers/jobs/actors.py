"""The actors: they read a message and call one function. Publishers know them by name
(halftone_shared.model.messages).
"""

from uuid import UUID

import dramatiq

from halftone_shared.model.messages import (
    DELIVER_WEBHOOK,
    PROCESS_PRODUCT,
    PRODUCTS_QUEUE,
    WEBHOOKS_QUEUE,
)
from halftone_shared.model.results import ProductKey
from halftone_workers.jobs.product import ProductJobs
from halftone_workers.jobs.webhook import WebhookJobs


def declare_actors(broker: dramatiq.Broker, products: ProductJobs, webhooks: WebhookJobs) -> None:
    """Declare both actors on a broker. Webhooks have priority over products: they are short, and a
    receiver waits for them.
    """

    @dramatiq.actor(
        broker=broker, actor_name=PROCESS_PRODUCT, queue_name=PRODUCTS_QUEUE, priority=10
    )
    def _(request_id: str, seq: int) -> None:
        products.accept(ProductKey(UUID(request_id), seq))

    @dramatiq.actor(
        broker=broker, actor_name=DELIVER_WEBHOOK, queue_name=WEBHOOKS_QUEUE, priority=0
    )
    def _(event_id: str, attempt: int) -> None:
        webhooks.accept(UUID(event_id), attempt)
