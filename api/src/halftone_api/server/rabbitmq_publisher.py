"""Publishing to RabbitMQ in batches: every message of a batch is confirmed before the batch counts
as published.

A confirm for each message in turn costs a round trip a message (1,100/s measured); asked for all
together, the same broker confirms many thousands a second. `mandatory` makes a message without a
queue come back instead of vanishing.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import pika
from dramatiq import Message
from pika.adapters.asyncio_connection import AsyncioConnection

from halftone_shared.errors import QueueUnavailable
from halftone_shared.model.messages import (
    DEAD_LETTER_ARGUMENTS,
    QueueType,
    dead_letter_queue,
    queue_arguments,
)

TIMEOUT_SECONDS = 10.0
CLOSE_SECONDS = 2.0
_PERSISTENT = pika.BasicProperties(delivery_mode=2)

T = TypeVar("T")


class RabbitmqPublisher:
    """One connection, opened when it is first needed and again after it was lost. For one thread.

    The connection lives on an event loop of its own that runs during calls; the dispatcher calls at
    least every ten s, which keeps the heartbeats going.
    """

    def __init__(self, rabbitmq_url: str, queue_type: QueueType = "classic") -> None:
        self._parameters = pika.URLParameters(rabbitmq_url)
        self._queue_type = queue_type
        self._loop = asyncio.new_event_loop()
        self._session: _Session | None = None

    def waiting(self, queue: str) -> int:
        """How many messages wait in the queue. Declares it, so that a queue that was deleted is
        there again.
        """
        return self._run(self._waiting(queue))

    def publish(self, queue: str, messages: Sequence[Message[None]]) -> None:
        """Publish, and return when RabbitMQ has confirmed every message. Raises QueueUnavailable; a
        part may have gone out.
        """
        self._run(self._publish(queue, [message.encode() for message in messages]))

    def close(self) -> None:
        self._abandon()
        self._loop.close()

    async def _waiting(self, queue: str) -> int:
        return await (await self._open()).declare(queue, queue_arguments(queue, self._queue_type))

    async def _publish(self, queue: str, bodies: list[bytes]) -> None:
        await (await self._open()).publish(queue, bodies)

    async def _open(self) -> "_Session":
        await asyncio.sleep(0)  # lets the loop hear that the connection is gone, and beat its heart
        if self._session is not None and self._session.lost.done():
            await self._session.close()
            self._session = None
        if self._session is None:
            self._session = _Session(self._loop)
            await self._session.open(self._parameters)
        return self._session

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._loop.run_until_complete(_within(TIMEOUT_SECONDS, work))
        except TimeoutError:
            self._abandon()
            raise QueueUnavailable(
                f"RabbitMQ did not answer within {TIMEOUT_SECONDS:g} s."
            ) from None
        except QueueUnavailable:
            self._abandon()
            raise

    def _abandon(self) -> None:
        if self._session is not None:
            self._loop.run_until_complete(self._session.close())
            self._session = None


async def _within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(seconds):
        return await work


class _Session:
    """A connection with one channel in confirm mode. After `lost`, it is of no more use."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.lost: asyncio.Future[None] = loop.create_future()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._connection: Any = None
        self._channel: Any = None
        self._next_tag = 1
        self._unconfirmed: set[int] = set()
        self._all_confirmed: asyncio.Future[None] | None = None
        self._awaited: asyncio.Future[Any] | None = None
        self._declared: set[str] = set()

    async def open(self, parameters: pika.URLParameters) -> None:
        opened: asyncio.Future[Any] = self._loop.create_future()
        self._connection = AsyncioConnection(
            parameters,
            on_open_callback=lambda connection: connection.channel(
                on_open_callback=opened.set_result
            ),
            on_open_error_callback=lambda _, error: self._end(
                f"RabbitMQ cannot be reached: {error!r}"
            ),
            on_close_callback=lambda _, reason: self._end(
                f"RabbitMQ closed the connection: {reason}"
            ),
            custom_ioloop=self._loop,
        )
        self._channel = await self._unless_lost(opened)
        self._channel.add_on_close_callback(
            lambda _, reason: self._lose(f"RabbitMQ closed the channel: {reason}")
        )
        self._channel.add_on_return_callback(
            lambda *_: self._lose("RabbitMQ returned a message: its queue is gone.")
        )
        confirming: asyncio.Future[Any] = self._loop.create_future()
        self._channel.confirm_delivery(self._on_confirm, callback=confirming.set_result)
        await self._unless_lost(confirming)

    async def declare(self, queue: str, arguments: dict[str, str]) -> int:
        """Declare a queue and its dead-letter queue; return how many messages wait in it."""
        declared: asyncio.Future[Any] = self._loop.create_future()
        if queue not in self._declared:
            self._channel.queue_declare(
                dead_letter_queue(queue), durable=True, arguments=DEAD_LETTER_ARGUMENTS
            )
            self._declared.add(queue)
        self._channel.queue_declare(
            queue, durable=True, arguments=arguments, callback=declared.set_result
        )
        return int((await self._unless_lost(declared)).method.message_count)

    async def publish(self, queue: str, bodies: list[bytes]) -> None:
        self._all_confirmed = self._loop.create_future()
        # A channel counts its messages from 1 and confirms them by that tag.
        self._unconfirmed = set(range(self._next_tag, self._next_tag + len(bodies)))
        self._next_tag += len(bodies)
        for body in bodies:
            self._channel.basic_publish("", queue, body, _PERSISTENT, mandatory=True)
        await self._unless_lost(self._all_confirmed)

    async def close(self) -> None:
        """Say goodbye, as far as the other side listens."""
        if self._connection is None or self._closed.done():
            return
        if self._connection.is_open:
            self._connection.close()
        await asyncio.wait((self._closed,), timeout=CLOSE_SECONDS)

    def _on_confirm(self, frame: Any) -> None:
        if isinstance(frame.method, pika.spec.Basic.Nack):
            self._lose("RabbitMQ refused a message.")
        tag = frame.method.delivery_tag
        self._unconfirmed -= (
            {each for each in self._unconfirmed if each <= tag} if frame.method.multiple else {tag}
        )
        if not self._unconfirmed and self._all_confirmed and not self._all_confirmed.done():
            self._all_confirmed.set_result(None)

    def _end(self, reason: str) -> None:
        self._lose(reason)
        if not self._closed.done():
            self._closed.set_result(None)

    def _lose(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_exception(QueueUnavailable(reason))
            self.lost.exception()  # looked at, so that asyncio does not report it when nobody waits
            if self._awaited is not None and not self._awaited.done():
                self._awaited.set_exception(QueueUnavailable(reason))

    async def _unless_lost(self, wanted: "asyncio.Future[T]") -> T:
        """What is wanted, once it is there. One at a time."""
        if self.lost.done():
            self.lost.result()
        self._awaited = wanted
        try:
            result = await asyncio.shield(
                wanted
            )  # the answer may still come when we wait no longer
        finally:
            self._awaited = None
        if self.lost.done():
            self.lost.result()
        return result
