"""The two brokers that deliver messages to actors: RabbitMQ, and an in-process queue for the
embedded default.

Neither uses Dramatiq's delay queues or retries: PostgreSQL records what is due again, and when.
"""

import logging
from collections.abc import Sequence
from queue import Queue
from typing import Any

import structlog
from dramatiq import Message
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.brokers.rabbitmq import RabbitmqBroker, _RabbitmqConsumer
from dramatiq.brokers.stub import StubBroker

from halftone_shared.model.messages import (
    PRODUCTS_QUEUE,
    WEBHOOKS_QUEUE,
    QueueType,
    queue_arguments,
)
from halftone_shared.service.outages import report_outage
from halftone_workers.runtime import Stopping
from halftone_workers.settings import WEBHOOKS_AT_ONCE

log = structlog.get_logger(__name__)


class _OneLine(logging.Filter):
    """Drops the critical line that Dramatiq logs per queue every 3 s while RabbitMQ is down."""

    def filter(self, record: logging.LogRecord) -> bool:
        error: object = record.exc_info[1] if record.exc_info else None
        if str(record.msg).startswith("Consumer encountered a connection error"):
            error = record.args[0] if isinstance(record.args, tuple) and record.args else None
        elif not isinstance(error, OSError):  # such as a host that is not found
            return True
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        report_outage(
            "worker waits", f"RabbitMQ cannot be used ({reason}). See HALFTONE_RABBITMQ_URL."
        )
        return False


for _queue in (PRODUCTS_QUEUE, WEBHOOKS_QUEUE):
    logging.getLogger(f"dramatiq.worker.ConsumerThread({_queue})").addFilter(_OneLine())


def _prefetch(queue: str, prefetch: int) -> int:
    return WEBHOOKS_AT_ONCE if queue == WEBHOOKS_QUEUE else prefetch


class BoundConsumer(_RabbitmqConsumer):
    """Acknowledges only messages that arrived over its own connection.

    Delivery tags count from 1 on every channel. On this connection, the tag of a message from an
    earlier connection denotes another message: acknowledging it would lose that one. The earlier
    message needs no acknowledgement: RabbitMQ requeued it when its connection ended.
    """

    def __next__(self) -> Any:
        message = super().__next__()
        if message is None:
            return None
        message.consumer = self
        if not self._is_readable(message):
            log.error(
                "message that no actor can read moved to the dead letters",
                body=message.encode().decode(),
            )
            self.nack(message)
            return None
        return message

    def _is_readable(self, message: Any) -> bool:
        """Check what Dramatiq assumes about a message. A malformed one would end the thread that
        receives it, and would then be redelivered to the next thread.
        """
        is_here = message.queue_name == self.queue_name
        return is_here and isinstance(message.actor_name, str) and isinstance(message.options, dict)

    def ack(self, message: MessageProxy) -> None:
        """Leave a message that the stopping worker did not process to redelivery."""
        if self._is_own(message) and not isinstance(message._exception, Stopping):  # noqa: SLF001 - it is said nowhere else
            super().ack(message)

    def nack(self, message: MessageProxy) -> None:
        if self._is_own(message):
            super().nack(message)

    def _is_own(self, message: Any) -> bool:
        if message.consumer is self:
            return True
        log.info(
            "message of an earlier connection left to its redelivery", message_id=message.message_id
        )
        return False


class RabbitmqWorkerBroker(RabbitmqBroker):
    """RabbitMQ as halftone's workers consume it. Each consumer declares its queue when it starts,
    because the queue may have been deleted.
    """

    def __init__(self, rabbitmq_url: str, queue_type: QueueType = "classic") -> None:
        self._queue_type = queue_type
        super().__init__(url=rabbitmq_url, middleware=[])

    @property
    def consumer_class(self) -> type[BoundConsumer]:
        return BoundConsumer

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        self.queues_pending.add(queue_name)
        try:
            return super().consume(queue_name, _prefetch(queue_name, prefetch), timeout)
        finally:
            del self.connection  # it only declared the queue; the consumer opens its own

    def declare_queue(self, queue_name: str, *, ensure: bool = False) -> None:
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)
        if ensure:
            self._ensure_queue(queue_name)

    def _build_queue_arguments(self, queue_name: str) -> dict[str, str]:
        return queue_arguments(queue_name, self._queue_type)

    def _declare_dq_queue(self, queue_name: str) -> None:
        """Declare no delay queue: RabbitMQ holds no delayed messages."""


class InProcessBroker(StubBroker):
    """A queue in this process's memory. If the process dies, its messages are published again from
    the products table.
    """

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 100) -> Consumer:
        return super().consume(queue_name, _prefetch(queue_name, prefetch), timeout)

    def declare_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = Queue()
            self.emit_after("declare_queue", queue_name)


class InProcessQueue:
    """The dispatcher's side of an InProcessBroker."""

    def __init__(self, broker: InProcessBroker) -> None:
        self._broker = broker

    def waiting(self, queue: str) -> int:
        return int(self._broker.queues[queue].qsize())

    def publish(self, queue: str, messages: Sequence[Message[None]]) -> None:
        for message in messages:
            self._broker.enqueue(message)

    def close(self) -> None:
        """Do nothing: there is no connection."""
