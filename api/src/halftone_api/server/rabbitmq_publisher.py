"""Publishes to RabbitMQ in batches. A batch counts as published once every message is confirmed.

Waiting for each confirm in turn costs a round trip a message (1,100/s measured); waiting for all of
them together, the same broker confirms many thousands a second. With `mandatory`, RabbitMQ returns
a message that has no queue instead of dropping it.
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
    """One connection, opened on first use and reopened after it is lost. For one thread only.

    The connection lives on its own event loop, which runs only during calls. The dispatcher calls
    at least every 10 s, which keeps the heartbeats going.
    """

    def __init__(self, rabbitmq_url: str, queue_type: QueueType = "classic") -> None:
        self._parameters = pika.URLParameters(rabbitmq_url)
        self._queue_type = queue_type
        self._loop = asyncio.new_event_loop()
        self._session: _Session | None = None

    def waiting(self, queue: str) -> int:
        """How many messages wait in the queue. Declares the queue, which restores it if it was
        deleted.
        """
        return self._run(self._waiting(queue))

    def publish(self, queue: str, messages: Sequence[Message[None]]) -> None:
        """Publish, and return when RabbitMQ has confirmed every message. Raises QueueUnavailable;
        some messages may have been published nevertheless.
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
        await asyncio.sleep(0)  # lets the loop notice a lost connection and send heartbeats
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
    """A connection with one channel in confirm mode. Once `lost` is set, it cannot be used
    again.
    """

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
        # A channel numbers its messages from 1 and confirms them by that number (delivery tag).
        self._unconfirmed = set(range(self._next_tag, self._next_tag + len(bodies)))
        self._next_tag += len(bodies)
        for body in bodies:
            self._channel.basic_publish("", queue, body, _PERSISTENT, mandatory=True)
        await self._unless_lost(self._all_confirmed)

    async def close(self) -> None:
        """Close the connection, waiting at most CLOSE_SECONDS for the broker."""
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
            self.lost.exception()  # marks it as retrieved, so that asyncio logs nothing
            if self._awaited is not None and not self._awaited.done():
                self._awaited.set_exception(QueueUnavailable(reason))

    async def _unless_lost(self, wanted: "asyncio.Future[T]") -> T:
        """Wait for `wanted`; raise QueueUnavailable if the connection is lost. One wait at a
        time.
        """
        if self.lost.done():
            self.lost.result()
        self._awaited = wanted
        try:
            result = await asyncio.shield(wanted)  # it may still complete after we stop waiting
        finally:
            self._awaited = None
        if self.lost.done():
            self.lost.result()
        return result
