"""The loop that hands out due work: runs in a thread of the API, or of the embedded worker.

It keeps the queue short on purpose. The queue is first in, first out, so five products uploaded
after a million would wait for everything published before them.
"""

import select
import time
from collections.abc import Sequence
from typing import Protocol

import psycopg
import structlog
from dramatiq import Message
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from halftone_shared.db.cancel_retry import cancels_under_way, carry_out_cancel
from halftone_shared.db.engine import always_by_index, database_seconds, make_engine
from halftone_shared.db.idempotency import forget_old_keys
from halftone_shared.db.outbox import (
    Agenda,
    free_expired,
    read_agenda,
    take_due_events,
    take_due_products,
)
from halftone_shared.db.products import RENEW_EVERY_SECONDS
from halftone_shared.db.requests import WORK_CHANNEL
from halftone_shared.db.upload_rates import forget_callers
from halftone_shared.model.messages import (
    PRODUCTS_QUEUE,
    WEBHOOKS_QUEUE,
    product_message,
    webhook_message,
)
from halftone_shared.runtime.settings import CommonSettings
from halftone_shared.service.periodic import PeriodicThread

log = structlog.get_logger(__name__)

MIN_LOOK_SECONDS = 0.01
MAX_LOOK_SECONDS = 0.1
AGENDA_EVERY_SECONDS = 0.1
REAP_EVERY_SECONDS = 2.0
IDLE_SECONDS = 10.0
STOP_CHECK_SECONDS = 0.5
FAILURE_PAUSE_SECONDS = 1.0
# Workers cannot renew leases while the database is down, and a clock set forward, as after a
# machine slept, ends leases early. Workers then have this long to renew before ended leases count
# as lost.
LEASES_GRACE_SECONDS = 2.0 * RENEW_EVERY_SECONDS
CLOCK_TOLERANCE_SECONDS = 5.0
MIN_WINDOW = 8
MAX_WINDOW = 4096
EVENTS_A_ROUND = 100
CANCEL_SECONDS_A_ROUND = 0.2


class WorkQueue(Protocol):
    """Where due work is published: RabbitMQ, or a queue inside the embedded worker."""

    def waiting(self, queue: str) -> int:
        """How many messages no consumer has taken yet. Raises QueueUnavailable."""

    def publish(self, queue: str, messages: Sequence[Message[None]]) -> None:
        """Publish all messages, and return when the queue has confirmed each. Raises
        QueueUnavailable.
        """

    def close(self) -> None:
        """Close all connections."""


class Window:
    """How many messages may wait in the queue, and how often to check it. Messages in the queue
    delay small uploads, so the window stays small.

    If the workers empty the queue between two checks, checks become more frequent; at the shortest
    interval, the window grows instead. If the workers lag behind, the window shrinks first, then
    checks become less frequent.
    """

    def __init__(self) -> None:
        self.size = MIN_WINDOW
        self.look_seconds = MAX_LOOK_SECONDS
        self._was_filled = False

    def room(self, waiting: int) -> int:
        """How many messages may be published now. Adapts the window to `waiting`, the queue's
        length.
        """
        if waiting == 0 and self._was_filled:
            self._keep_up()
        elif waiting > self.size // 2:
            self._slow_down()
        return max(self.size - waiting, 0)

    def filled(self, taken: int, room: int) -> None:
        """Record how many due products there were for this room. If too few, an empty queue says
        nothing about the workers' speed, and the window starts small again. If none, the next check
        comes later: all requests have been handed out, or are held for a moment.
        """
        self._was_filled = taken == room
        if not self._was_filled:
            self.size = MIN_WINDOW
        if taken == 0:
            self.look_seconds = min(2 * self.look_seconds, MAX_LOOK_SECONDS)

    def _keep_up(self) -> None:
        if self.look_seconds > MIN_LOOK_SECONDS:
            self.look_seconds = max(self.look_seconds / 2, MIN_LOOK_SECONDS)
        else:
            self.size = min(self.size * 2, MAX_WINDOW)

    def _slow_down(self) -> None:
        if self.size > MIN_WINDOW:
            self.size = max(self.size * 3 // 4, MIN_WINDOW)
        else:
            self.look_seconds = min(self.look_seconds * 1.25, MAX_LOOK_SECONDS)


class Dispatcher:
    """Publishes due work and frees lost work until stopped. Continues after an outage of the
    database or the queue.

    The dispatcher owns its engine and queue, and closes them.
    """

    def __init__(self, engine: Engine, queue: WorkQueue, *, max_attempts: int) -> None:
        always_by_index(engine)
        self._engine = engine
        self._queue = queue
        self._max_attempts = max_attempts
        self._window = Window()
        self._next_reap = 0.0
        self._was_away = False
        self._next_agenda = 0.0
        self._database_ahead: float | None = None
        self._agenda = Agenda(active=False, event_seconds=None)
        self._told = False
        self._thread = PeriodicThread(
            "dispatcher", self._dispatch, every_seconds=FAILURE_PAUSE_SECONDS
        )
        self._stopping = self._thread.stopping

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current round and close the queue."""
        self._thread.stop()
        self._queue.close()
        self._engine.dispose()

    def _run_round(self) -> None:
        """Reap and read the agenda when they are due, then publish due products up to the
        window.
        """
        if time.monotonic() >= self._next_reap:
            self._reap()
        if time.monotonic() >= self._next_agenda:
            self._read_agenda()
        if self._agenda.active:
            self._publish_products()

    def _reap(self) -> None:
        self._next_reap = time.monotonic() + REAP_EVERY_SECONDS
        with self._engine.connect() as connection:
            if self._was_clock_set_forward(connection):
                self._next_reap = time.monotonic() + LEASES_GRACE_SECONDS
                return
            freed = free_expired(connection, max_attempts=self._max_attempts)
            cancels = cancels_under_way(connection)
            forget_old_keys(connection)
            forget_callers(connection)
        if freed:
            log.warning(
                "products freed", count=freed, reason="their message or their worker was lost"
            )
        if cancels:
            self._next_reap = 0.0  # continue a large cancellation in the next round
        for request_id in cancels:
            carry_out_cancel(self._engine, request_id, patience_seconds=CANCEL_SECONDS_A_ROUND)
        # Use the queue's connection at least every IDLE_SECONDS, for its heartbeat. This comes
        # last, so that an outage of the queue does not delay the steps above.
        self._queue.waiting(PRODUCTS_QUEUE)

    def _was_clock_set_forward(self, connection: Connection) -> bool:
        """Whether the database's clock advanced more than this process's since the last call."""
        before, self._database_ahead = (
            self._database_ahead,
            database_seconds(connection) - time.monotonic(),
        )
        jump = 0.0 if before is None else self._database_ahead - before
        if jump <= CLOCK_TOLERANCE_SECONDS:
            return False
        log.warning(
            "leases have time to be renewed",
            reason=f"the database's clock went forward by {jump:.0f} s",
        )
        return True

    def _read_agenda(self) -> None:
        self._next_agenda = time.monotonic() + AGENDA_EVERY_SECONDS
        with self._engine.connect() as connection:
            self._agenda = read_agenda(connection)
        if self._agenda.event_seconds == 0:
            self._publish_events()

    def _publish_events(self) -> None:
        # Events that no worker takes become due at the end of each lease and would be published
        # again each time. So count the waiting messages first.
        room = EVENTS_A_ROUND - self._queue.waiting(WEBHOOKS_QUEUE)
        if room <= 0:
            return
        with self._engine.connect() as connection:
            due = take_due_events(connection, room)
        if due:
            self._queue.publish(
                WEBHOOKS_QUEUE, [webhook_message(event.event_id, event.attempt) for event in due]
            )

    def _publish_products(self) -> None:
        room = self._window.room(self._queue.waiting(PRODUCTS_QUEUE))
        if self._told:
            room = max(room, 2 * MIN_WINDOW)  # serve a new upload at once
        elif room < self._window.size // 2:
            return  # taking one product costs as much as taking many
        due = take_due_products(self._engine, room)
        self._window.filled(len(due), room)
        if due:
            self._queue.publish(PRODUCTS_QUEUE, [product_message(key) for key in due])

    def _dispatch(self) -> None:
        """Run rounds until stopped. Raises the errors of the database and the queue."""
        try:
            with self._listen() as listener:
                if self._was_away:
                    self._next_reap = time.monotonic() + LEASES_GRACE_SECONDS
                    self._was_away = False
                while not self._stopping.is_set():
                    self._run_round()
                    self._wait(listener)
        except (SQLAlchemyError, psycopg.Error):
            # Workers could not renew their leases either; they get LEASES_GRACE_SECONDS after the
            # outage.
            self._was_away = True
            raise

    def _listen(self) -> "psycopg.Connection[tuple[object, ...]]":
        # Connects from the URL's parts, as the engine does: in a reassembled URL, a space would be
        # encoded differently.
        conninfo, parts = self._engine.dialect.create_connect_args(self._engine.url)
        parts.update(autocommit=True, application_name="halftone dispatcher")
        listener = psycopg.connect(*conninfo, **parts)
        listener.execute(f"LISTEN {WORK_CHANNEL}")
        return listener

    def _wait(self, listener: "psycopg.Connection[tuple[object, ...]]") -> None:
        """Wait until the next round is due or a notification announces new work."""
        deadline = time.monotonic() + self._seconds_to_next_round()
        self._told = False
        # Polls the socket directly: psycopg's `notifies` took 0.9 ms of CPU time per round, ten
        # times as much as taking products.
        readable = select.poll()
        readable.register(listener, select.POLLIN)
        while (
            not self._told
            and not self._stopping.is_set()
            and (remaining := deadline - time.monotonic()) > 0
        ):
            if readable.poll(1000 * min(remaining, STOP_CHECK_SECONDS)):
                listener.pgconn.consume_input()  # raises when the connection is gone
                while listener.pgconn.notifies() is not None:
                    self._told, self._next_agenda = True, 0.0

    def _seconds_to_next_round(self) -> float:
        if self._agenda.active:
            return self._window.look_seconds
        if self._agenda.event_seconds is None:
            return IDLE_SECONDS
        return min(max(self._agenda.event_seconds, AGENDA_EVERY_SECONDS), IDLE_SECONDS)


def make_dispatcher(settings: CommonSettings, queue: WorkQueue) -> Dispatcher:
    """A dispatcher with its own connections: API calls that wait for a connection do not delay
    it.
    """
    engine = make_engine(settings.database_url, pool_size=2, pre_ping=False)
    return Dispatcher(engine, queue, max_attempts=settings.max_attempts)
