"""Dramatiq's worker, whose idle threads do not poll, and which stops within 0.3 s."""

import time
from queue import Empty, PriorityQueue
from typing import Any

from dramatiq import Broker, Worker
from dramatiq.worker import ConsumerThread, WorkerThread

# How often a consumer looks whether the worker stops. An idle worker uses no less processor time
# with Dramatiq's default of 1000.
_CONSUMER_LOOKS_MS = 250


class _WorkQueue(PriorityQueue[Any]):
    """The messages that wait for a thread. A thread sleeps here until a message arrives or the
    queue is closed. In Dramatiq's own queue it wakes once a second, to look whether it must stop.
    """

    is_closed = False

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        del timeout  # close() ends the wait
        return super().get(block)

    def close(self) -> None:
        """From now on, get() raises Empty instead of waiting."""
        with self.not_empty:
            self.is_closed = True
            self.not_empty.notify_all()

    def _qsize(self) -> int:
        size = super()._qsize()
        if self.is_closed and not size:
            raise Empty
        return size


class PromptWorker(Worker):
    """A worker with `threads` threads that holds at most `prefetch` messages of the products'
    queue.
    """

    def __init__(self, broker: Broker, *, threads: int, prefetch: int) -> None:
        super().__init__(broker, worker_threads=threads, worker_timeout=_CONSUMER_LOOKS_MS)
        self.queue_prefetch = prefetch
        self.work_queue: _WorkQueue = _WorkQueue()

    def stop(self, timeout: int = 600_000) -> None:
        """Finish the messages that threads are working on, within `timeout` milliseconds."""
        self._wait_until_all_run()
        # Before the queue is closed: a thread that may go on would ask it again and again.
        for thread in self.workers:
            thread.stop()
        self.work_queue.close()
        super().stop(timeout)

    def _wait_until_all_run(self) -> None:
        """A new thread sets `running` itself. If it did so after stop(), it would never end."""
        threads: list[WorkerThread | ConsumerThread] = [*self.workers, *self.consumers.values()]
        while any(thread.is_alive() and not thread.running for thread in threads):
            time.sleep(0.001)  # Dramatiq gives no notice, and a new thread needs microseconds
