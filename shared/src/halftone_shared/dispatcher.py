"""The loop that hands out due work: runs in a thread of the API, or of the embedded worker.

It keeps the queue short on purpose: what waits in the queue is served in the order of publishing, so that five products
uploaded behind a million would wait for all that was published before them. The window grows only while the workers
empty it between two rounds.
"""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

import psycopg
import structlog
from dramatiq import Message
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from halftone_shared.dispatch import free_expired, seconds_until_due, take_due_events, take_due_products
from halftone_shared.idempotency import forget_old_keys
from halftone_shared.lifecycle import cancels_under_way, carry_out_cancel
from halftone_shared.messages import PRODUCTS_QUEUE, WEBHOOKS_QUEUE, product_message, webhook_message
from halftone_shared.rate_limits import forget_callers
from halftone_shared.requests import WORK_CHANNEL

log = structlog.get_logger(__name__)

ROUND_SECONDS = 0.025
REAP_EVERY_SECONDS = 2.0
IDLE_SECONDS = 10.0
STOP_CHECK_SECONDS = 0.5
FAILURE_PAUSE_SECONDS = 1.0
MIN_WINDOW = 8
MAX_WINDOW = 4096
EVENTS_A_ROUND = 100
CANCEL_SECONDS_A_ROUND = 0.2


class QueueUnavailable(Exception):
    """The queue cannot take messages now; the message says why. Nothing is lost: what was taken falls due again."""


class WorkQueue(Protocol):
    """Where due work is published: RabbitMQ, or a queue inside the embedded worker."""

    def waiting(self, queue: str) -> int:
        """How many messages no consumer has taken yet. Raises QueueUnavailable."""

    def publish(self, queue: str, messages: Sequence[Message[None]]) -> None:
        """Publish all, and return when the queue has taken responsibility for each. Raises QueueUnavailable."""

    def close(self) -> None:
        """Close whatever is open."""


class Window:
    """How many messages may wait in the queue: doubles when the workers found it empty, shrinks when they lag
    behind.
    """

    def __init__(self) -> None:
        self.size = MIN_WINDOW

    def room(self, waiting: int) -> int:
        """How many may be published now, with `waiting` in the queue; adapts the size to what that says."""
        if waiting == 0:
            self.size = min(self.size * 2, MAX_WINDOW)
        elif waiting > self.size // 2:
            self.size = max(self.size * 3 // 4, MIN_WINDOW)
        return max(self.size - waiting, 0)


class Dispatcher:
    """Publishes what is due and frees what was lost, until stopped. Survives the database and the queue being away.

    Engine and queue are the dispatcher's own, and closed by it.
    """

    def __init__(self, engine: Engine, queue: WorkQueue, *, max_attempts: int) -> None:
        self._engine = engine
        self._queue = queue
        self._max_attempts = max_attempts
        self._window = Window()
        self._next_reap = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop after the round in hand and close the queue."""
        self._stopping.set()
        self._thread.join(timeout=10)

    def run_round(self) -> int:
        """One round: reap when it is time, publish what is due and fits. How many messages were published."""
        if time.monotonic() >= self._next_reap:
            self._next_reap = time.monotonic() + REAP_EVERY_SECONDS
            with self._engine.connect() as connection:
                freed = free_expired(connection, max_attempts=self._max_attempts)
                cancels = cancels_under_way(connection)
                forget_old_keys(connection)
                forget_callers(connection)
            if freed:
                log.warning("products freed", count=freed, reason="their message or their worker was lost")
            if cancels:
                self._next_reap = 0.0  # a large one goes on in the next round
            for request_id in cancels:
                carry_out_cancel(self._engine, request_id, patience_seconds=CANCEL_SECONDS_A_ROUND)
        return self._publish_events() + self._publish_products()

    def _publish_events(self) -> int:
        with self._engine.connect() as connection:
            due = take_due_events(connection, EVENTS_A_ROUND)
        if due:
            self._queue.publish(WEBHOOKS_QUEUE, [webhook_message(event.event_id, event.attempt) for event in due])
        return len(due)

    def _publish_products(self) -> int:
        room = self._window.room(self._queue.waiting(PRODUCTS_QUEUE))
        due = take_due_products(self._engine, room)
        if due:
            self._queue.publish(PRODUCTS_QUEUE, [product_message(key) for key in due])
        return len(due)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._listen() as listener:
                    while not self._stopping.is_set():
                        self.run_round()
                        self._wait(listener)
            except (QueueUnavailable, SQLAlchemyError, psycopg.Error) as error:
                log.warning("dispatch waits", reason=str(error).strip().splitlines()[0])
                self._stopping.wait(FAILURE_PAUSE_SECONDS)
        self._queue.close()
        self._engine.dispose()

    def _listen(self) -> "psycopg.Connection[tuple[object, ...]]":
        url = self._engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        listener = psycopg.connect(url, autocommit=True, connect_timeout=5, application_name="halftone dispatcher")
        listener.execute(f"LISTEN {WORK_CHANNEL}")
        return listener

    def _wait(self, listener: "psycopg.Connection[tuple[object, ...]]") -> None:
        with self._engine.connect() as connection:
            idle = seconds_until_due(connection, at_most=IDLE_SECONDS)
        deadline = time.monotonic() + idle
        if not idle:
            self._stopping.wait(ROUND_SECONDS)
        while (remaining := deadline - time.monotonic()) > 0 and not self._stopping.is_set():
            with suppress(StopIteration):
                next(listener.notifies(timeout=min(remaining, STOP_CHECK_SECONDS), stop_after=1))
                return
