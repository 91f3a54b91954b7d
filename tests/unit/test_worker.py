"""The worker's queue: threads wait in it without polling, until it closes."""

from queue import Empty
from threading import Thread

import pytest
from dramatiq import Message
from dramatiq.broker import MessageProxy
from dramatiq.worker import _WorkQueueItem

from halftone_shared.model.messages import PRODUCTS_QUEUE, WEBHOOKS_QUEUE
from halftone_workers.brokers import InProcessBroker
from halftone_workers.worker import PromptWorker


@pytest.fixture
def worker() -> PromptWorker:
    broker = InProcessBroker(middleware=[])
    for queue in (PRODUCTS_QUEUE, WEBHOOKS_QUEUE):
        broker.declare_queue(queue)
    return PromptWorker(broker, threads=3, prefetch=2)


def waiting() -> _WorkQueueItem:
    message: Message[None] = Message(PRODUCTS_QUEUE, "product", (), {}, {})
    return _WorkQueueItem(0, MessageProxy(message))


def test_thread_that_waits_ends_when_the_queue_closes(worker: PromptWorker) -> None:
    ended: list[type[Exception]] = []

    def wait() -> None:
        try:
            worker.work_queue.get(timeout=0.001)  # the limit of Dramatiq, which would poll
        except Empty:
            ended.append(Empty)

    thread = Thread(target=wait, daemon=True)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    worker.work_queue.close()
    thread.join(30)
    assert ended == [Empty]


def test_messages_of_a_closed_queue_can_still_be_taken(worker: PromptWorker) -> None:
    item = waiting()
    worker.work_queue.put(item)
    worker.work_queue.close()
    assert worker.work_queue.get_nowait() is item
    with pytest.raises(Empty):
        worker.work_queue.get()


def test_stopped_worker_has_no_thread_left(worker: PromptWorker) -> None:
    worker.start()
    worker.stop(30_000)
    assert not [thread for thread in worker.workers if thread.is_alive()]
    assert not [thread for thread in worker.consumers.values() if thread.is_alive()]
