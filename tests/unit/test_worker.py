"""How a worker waits for messages and for its signal, and that no thread outlives its stop."""

import subprocess
import time
from queue import Empty
from threading import Thread

import pytest
from dramatiq import Message
from dramatiq.broker import MessageProxy
from dramatiq.worker import ConsumerThread, WorkerThread, _WorkQueueItem

from halftone_shared.model.messages import PRODUCTS_QUEUE, WEBHOOKS_QUEUE
from halftone_workers.brokers import InProcessBroker
from halftone_workers.worker import PromptWorker
from tests.support.halftone import PYTHON


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


@pytest.mark.parametrize("late", [WorkerThread, ConsumerThread, None])
def test_stopped_worker_has_no_thread_left(
    worker: PromptWorker,
    monkeypatch: pytest.MonkeyPatch,
    late: type[WorkerThread | ConsumerThread] | None,
) -> None:
    """Not even if some of its threads have not begun to run when it is stopped."""
    if late is not None:
        begin = late.run

        def begin_late(thread: WorkerThread | ConsumerThread) -> None:
            time.sleep(0.2)
            begin(thread)  # type: ignore[arg-type]

        monkeypatch.setattr(late, "run", begin_late)
    worker.start()
    worker.stop(5_000)
    assert not [thread for thread in worker.workers if thread.is_alive()]
    assert not [thread for thread in worker.consumers.values() if thread.is_alive()]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_signal_that_another_thread_gets_ends_the_wait(name: str) -> None:
    """As one that comes just before the wait: it does not interrupt the main thread's read()."""
    program = f"""
import signal, threading, time
from halftone_workers.main import _on_signals

def get_it():
    time.sleep(0.3)
    signal.pthread_kill(threading.get_ident(), signal.{name})

wait = _on_signals()
threading.Thread(target=get_it).start()
wait()
print("awake")
"""
    said = subprocess.run([PYTHON, "-c", program], capture_output=True, timeout=60, check=True)
    assert said.stdout == b"awake\n"
