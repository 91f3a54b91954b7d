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
    """The messages that wait for a thread. A waiting thread sleeps until a message arrives or the
    queue is closed; Dramatiq's own would wake each thread once a second, and so take a second to
    stop.
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
        threads: list[WorkerThread | ConsumerThread] = [*self.workers, *self.consumers.values()]
        # A thread that begins after it was told to stop would not notice.
        while any(thread.is_alive() and not thread.running for thread in threads):
            time.sleep(0.001)
        for thread in self.workers:
            thread.stop()
        self.work_queue.close()
        super().stop(timeout)
