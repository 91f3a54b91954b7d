"""Delivers webhook events: one signed POST an attempt, recorded, and repeated on a schedule until
the receiver answers 2xx.
"""

import random
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID

import httpx
import structlog

from halftone_shared.db.webhook_events import (
    Delivery,
    DueEvent,
    claim_event,
    hand_back_event,
    record_delivery,
)
from halftone_shared.errors import SecretUnreadable
from halftone_shared.model.secret_box import SecretBox
from halftone_shared.model.signing import signed_headers
from halftone_shared.model.states import WebhookStatus
from halftone_shared.model.urls import without_password
from halftone_shared.runtime.tracing import mark_failed, span
from halftone_workers.errors import BadHttp, BlockedAddress, HostBusy, HostDown, HostNotFound
from halftone_workers.http.client import OutgoingHttp
from halftone_workers.http.connection import Response
from halftone_workers.http.deadline import Deadline
from halftone_workers.http.retry_after import retry_after_seconds
from halftone_workers.jobs.product import Owners
from halftone_workers.metrics import count_delivery, count_waiting_delivery
from halftone_workers.runtime import Runtime
from halftone_workers.sharing import NOBODY, Share, Who

log = structlog.get_logger(__name__)

# Pauses before each attempt, in seconds: at once, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h,
# 24 h.
SCHEDULE_SECONDS = (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
ATTEMPT_TIMEOUT_SECONDS = 15.0
# The response body is irrelevant. A body that fits into the first packets is read, so that the
# connection can be reused.
MAX_ANSWER_BYTES = 16 * 1024
_GONE = 410
# Concurrent deliveries; an owner gets at most three quarters of them. An event beyond its owner's
# share waits for this time.
MAX_ACTIVE_WEBHOOKS = 64
SHARE_PAUSE_SECONDS = 2.0
# A receiver that does not answer gets no requests for at most this time.
MAX_SILENCE_SECONDS = 60.0


class WebhookJobs:
    """The webhook deliveries of this worker. Actor threads call accept(); each delivery then runs
    in its own thread and waits there for its receiver.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._owners = Owners(runtime)
        self._active = Share(MAX_ACTIVE_WEBHOOKS)
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(MAX_ACTIVE_WEBHOOKS, thread_name_prefix="webhook")

    def close(self) -> None:
        """Wait until the running deliveries have ended."""
        self._threads.shutdown()

    def accept(self, event_id: UUID, attempt: int) -> "Future[None] | None":
        """Start the `attempt`-th delivery of an event in another thread.

        Returns None if there is nothing to do: the attempt has begun before, the event has ended,
        or its owner has used its share of deliveries, so that the event is postponed.
        """
        url, days = self._runtime.settings.public_url, self._runtime.settings.retention_days
        event = self._runtime.persist(
            lambda connection: claim_event(connection, event_id, attempt, url, days)
        )
        if event is None:
            return None
        who = self._receiver_of(event)
        with self._lock:
            if has_room := self._active.allows(who):
                self._active.take(who)
        if not has_room:
            _hand_back(self._runtime, event, SHARE_PAUSE_SECONDS)
            return None
        return self._threads.submit(self._run, event, who)

    def _receiver_of(self, event: DueEvent) -> Who:
        """Share by owner alone: each of an owner's events belongs to a different request."""
        return Who(self._owners.of(event.request_id).owner, None)

    def _run(self, event: DueEvent, who: Who) -> None:
        try:
            _attempt(self._runtime, event, who)
        except Exception:
            log.exception("webhook failed unexpectedly", event_id=str(event.id))
            raise
        finally:
            with self._lock:
                self._active.give_back(who)


def deliver_webhook(runtime: Runtime, event_id: UUID, attempt: int) -> None:
    """Make the `attempt`-th delivery of an event, and return when it is recorded."""
    jobs = WebhookJobs(runtime)
    try:
        if delivered := jobs.accept(event_id, attempt):
            delivered.result()
    finally:
        jobs.close()


def _attempt(runtime: Runtime, event: DueEvent, who: Who) -> None:
    with (
        span("webhook", event.request_id, **{"halftone.attempt": event.attempt}),
        structlog.contextvars.bound_contextvars(
            x_request_id=event.trace_id,
            request_id=str(event.request_id),
            event_id=str(event.id),
            attempt=event.attempt,
        ),
    ):
        try:
            delivery, asked_seconds = _deliver(runtime, event, who)
        except HostDown as down:
            _hand_back(runtime, event, min(down.seconds, MAX_SILENCE_SECONDS))
            return
        except HostBusy as busy:
            _hand_back(runtime, event, busy.appointment_seconds(1))
            return
        if delivery.error:
            mark_failed(delivery.error)
        status, delay = _next(event, delivery, asked_seconds)
        runtime.persist(
            lambda connection: record_delivery(connection, event, delivery, status, delay)
        )
        count_delivery(status, delivery.duration_ms)
        log.info(
            "webhook attempted",
            status=status,
            status_code=delivery.status_code,
            error=delivery.error,
            next_attempt_seconds=delay,
        )


def _hand_back(runtime: Runtime, event: DueEvent, seconds: float) -> None:
    """Postpone an event that was not sent. The attempt does not count."""
    delay = seconds * random.uniform(1.0, 1.25)  # noqa: S311 - jitter
    runtime.persist(lambda connection: hand_back_event(connection, event, delay))
    count_waiting_delivery()
    log.info("webhook waits", seconds=round(delay, 1), url=without_password(event.url))


def _deliver(runtime: Runtime, event: DueEvent, who: Who) -> tuple[Delivery, float | None]:
    own_secret = runtime.settings.webhook_secret
    box = SecretBox(own_secret)
    try:
        secret = own_secret if event.sealed_secret is None else box.open(event.sealed_secret)
        if event.sealed_url is not None:
            event = replace(event, url=box.open(event.sealed_url))
    except SecretUnreadable:
        error = (
            "The client's secret was sealed under another HALFTONE_WEBHOOK_SECRET than this"
            " worker has."
        )
        log.error("webhook secret unreadable", error=error)
        return Delivery(0, error=error), None
    try:
        return runtime.run(post_event(runtime.webhook_http, event, secret, who))
    except (HostBusy, HostDown):
        raise
    except Exception:
        # Record it like any failed attempt: an unrecorded one would start again after each lease,
        # forever.
        log.exception("webhook failed unexpectedly")
        return Delivery(0, error="Something went wrong on our side."), None


async def post_event(
    http: OutgoingHttp, event: DueEvent, secret: str, who: Who = NOBODY
) -> tuple[Delivery, float | None]:
    """Send one POST, signed now. Returns the outcome and the answer's Retry-After in seconds.

    Raises HostBusy or HostDown if no request may be sent to the receiver now.
    """
    started = time.monotonic()
    status_code, error, asked = None, None, None
    headers = {
        "Content-Type": "application/json",
        **signed_headers(secret, event.id, event.body),
    }
    try:
        async with (
            Deadline(
                ATTEMPT_TIMEOUT_SECONDS, counts_all=True
            ) as until,  # as the event's lease does
            http.request(
                "POST", event.url, until, content=event.body.encode(), headers=headers, who=who
            ) as response,
        ):
            status_code = response.status_code
            asked = retry_after_seconds(response.headers)
            await _read_a_little(response)
    except TimeoutError:
        # If the status has arrived, it counts, although the body is still trickling in.
        error = (
            None
            if status_code
            else f"The receiver did not answer within {ATTEMPT_TIMEOUT_SECONDS:g} s."
        )
    except (BlockedAddress, HostNotFound) as refused:
        error = str(refused)
    except (BadHttp, httpx.HTTPError, httpx.InvalidURL) as broken:
        error = (
            None if status_code else f"The receiver cannot be reached ({type(broken).__name__})."
        )
    if status_code is not None and not 200 <= status_code <= 299:
        error = f"The receiver answered {status_code}."
    return Delivery(round((time.monotonic() - started) * 1000), status_code, error), asked


async def _read_a_little(response: Response) -> None:
    received = 0
    async for chunk in response.body:
        received += len(chunk)
        if received > MAX_ANSWER_BYTES:
            return


def _next(
    event: DueEvent, delivery: Delivery, asked_seconds: float | None
) -> tuple[WebhookStatus, float | None]:
    """The event's status after a delivery, and in how many seconds it is due again."""
    if delivery.error is None:
        return WebhookStatus.DELIVERED, None
    if delivery.status_code == _GONE or event.step + 1 >= len(SCHEDULE_SECONDS):
        return WebhookStatus.FAILED, None
    pause = SCHEDULE_SECONDS[event.step + 1] * random.uniform(1.0, 1.1)  # noqa: S311 - jitter
    return WebhookStatus.PENDING, max(pause, asked_seconds or 0.0)
