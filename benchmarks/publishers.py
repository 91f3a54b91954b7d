"""What publishing a message costs with our publisher on pika, and with aio-pika.

`python -m benchmarks.publishers`: processor time of this process for each message, and messages a
second, in batches as the dispatcher sends them. Both wait until RabbitMQ has confirmed every
message of a batch; both ask for messages without a queue to be returned. The rounds alternate.
"""

import asyncio
import statistics
import time
from collections.abc import Callable

import aio_pika
from dramatiq import Message

from halftone_api.server.rabbitmq_publisher import RabbitmqPublisher
from tests.support.rabbitmq import running_rabbitmq

BATCH, BATCHES, ROUNDS = 200, 10, 7
MESSAGE: Message[None] = Message(
    queue_name="bench",
    actor_name="process_product",
    args=("8243ff57-0000-4000-8000-000000000000", 1),
    kwargs={},
    options={},
)
Publish = Callable[[], None]


class _AioPika:
    """aio-pika on a loop that runs only during calls, as our publisher's does."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._loop = asyncio.new_event_loop()
        self._channel = self._loop.run_until_complete(self._open())

    async def _open(self) -> aio_pika.abc.AbstractChannel:
        self._connection = await aio_pika.connect(self._url)
        channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
        await channel.declare_queue(MESSAGE.queue_name, durable=True)
        return channel

    def publish(self) -> None:
        self._loop.run_until_complete(self._publish())

    async def _publish(self) -> None:
        exchange = self._channel.default_exchange
        messages = (
            aio_pika.Message(MESSAGE.encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            for _ in range(BATCH)
        )
        await asyncio.gather(*(exchange.publish(each, MESSAGE.queue_name) for each in messages))

    def close(self) -> None:
        self._loop.run_until_complete(self._connection.close())


def _measure(publishers: dict[str, Publish]) -> dict[str, list[tuple[float, float]]]:
    """Microseconds of processor time for each message, and messages a second, by round."""
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in publishers}
    for round_ in range(ROUNDS + 1):
        for name, publish in publishers.items():
            used, started = time.process_time(), time.perf_counter()
            for _ in range(BATCHES):
                publish()
            used, took = time.process_time() - used, time.perf_counter() - started
            if round_:  # the first one warms up
                measured[name].append((1e6 * used / BATCH / BATCHES, BATCH * BATCHES / took))
    return measured


def main() -> None:
    with running_rabbitmq() as rabbitmq:
        ours, theirs = RabbitmqPublisher(rabbitmq.new_vhost()), _AioPika(rabbitmq.new_vhost())
        ours.waiting(MESSAGE.queue_name)
        measured = _measure(
            {
                "our publisher": lambda: ours.publish(MESSAGE.queue_name, [MESSAGE] * BATCH),
                "aio-pika": theirs.publish,
            }
        )
        ours.close()
        theirs.close()
    print(f"batches of {BATCH} messages")
    for name, rounds in measured.items():
        used, rates = zip(*rounds, strict=True)
        print(
            f"  {name:14} {statistics.median(used):4.0f} µs a message"
            f" ({min(used):.0f} to {max(used):.0f}), {statistics.median(rates):,.0f} messages/s"
        )


if __name__ == "__main__":
    main()
