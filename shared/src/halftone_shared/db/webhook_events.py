"""Queries on webhook events: one for each time a request ends, written by the statement that ends
it (barrier.py).

An event is pending until a 2xx answer (delivered), or until a 410 or the end of the schedule
(failed). Its body is written before the first attempt, and all attempts send the same body. An
ended request does not change, so writing the body late loses nothing. A retry changes the request,
so it writes the body first.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, select, text, update

from halftone_shared.db.requests import WORK_CHANNEL, get_status
from halftone_shared.db.tables import webhook_attempts, webhook_events
from halftone_shared.model.states import WebhookStatus
from halftone_shared.model.status_object import event_type, status_object, timestamp

# Longer than any attempt can take. A worker that does not record its attempt by then counts as
# dead.
DELIVERY_LEASE_SECONDS = 20


@dataclass(frozen=True)
class DueEvent:
    """An event that this worker claimed at `claimed_at`. `attempt` counts all attempts from 1,
    `step` those of the current schedule from 0. `due_at` is when this attempt was due: a replay
    changes it. `sealed_url` is set if the URL has a password, which `url` then does not show.
    """

    id: UUID
    request_id: UUID
    attempt: int
    step: int
    due_at: datetime
    claimed_at: datetime
    url: str
    sealed_secret: str | None
    body: str
    trace_id: str | None = None
    sealed_url: str | None = None


@dataclass(frozen=True)
class Delivery:
    """The result of one attempt. `error` is a sentence, None if the receiver answered 2xx."""

    duration_ms: int
    status_code: int | None = None
    error: str | None = None


def freeze_event(
    connection: Connection, event_id: UUID, public_url: str, retention_days: int = 0
) -> None:
    """Write the event's body from its request, unless it has one. The request must have ended and
    not have been retried since.
    """
    event = connection.execute(
        select(webhook_events.c.request_id).where(
            webhook_events.c.id == event_id, webhook_events.c.body.is_(None)
        )
    ).one_or_none()
    row = get_status(connection, event.request_id, owner=None) if event else None
    if row is None:
        return
    body = {
        "type": event_type(row.status),
        "timestamp": timestamp(row.completed_at),
        "data": status_object(row, public_url, retention_days),
    }
    connection.execute(
        update(webhook_events)
        .where(webhook_events.c.id == event_id, webhook_events.c.body.is_(None))
        .values(body=json.dumps(body, ensure_ascii=False, separators=(",", ":")))
    )


# A message names its attempt: a duplicate finds that attempt counted and is refused.
_CLAIM = text(
    """
    UPDATE webhook_events AS event
    SET attempts = :attempt, lease_until = clock_timestamp() + make_interval(secs => :lease_seconds)
    FROM requests AS request
    WHERE event.id = :event_id AND event.status = 'pending' AND event.attempts = :attempt - 1
      AND event.next_attempt_at <= now() AND event.body IS NOT NULL
      AND request.id = event.request_id
    RETURNING event.id, event.request_id, event.attempts, event.step, event.next_attempt_at,
              now() AS claimed_at,
              event.body, request.webhook_url, request.webhook_sealed_url, request.webhook_secret,
              request.trace_id
    """
)


def claim_event(
    connection: Connection, event_id: UUID, attempt: int, public_url: str, retention_days: int = 0
) -> DueEvent | None:
    """Claim an event for its `attempt`-th delivery; None if that attempt was claimed before or the
    event is no longer pending.
    """
    freeze_event(connection, event_id, public_url, retention_days)
    row = connection.execute(
        _CLAIM, {"event_id": event_id, "attempt": attempt, "lease_seconds": DELIVERY_LEASE_SECONDS}
    ).one_or_none()
    if row is None:
        return None
    return DueEvent(
        id=row.id,
        request_id=row.request_id,
        attempt=row.attempts,
        step=row.step,
        due_at=row.next_attempt_at,
        claimed_at=row.claimed_at,
        url=row.webhook_url,
        sealed_secret=row.webhook_secret,
        body=row.body,
        trace_id=row.trace_id,
        sealed_url=row.webhook_sealed_url,
    )


# Idempotent: a repeated call, after a commit whose answer was lost, changes nothing. If the event
# was replayed since the attempt began, the attempt is logged and the event is not changed.
_RECORD = text(
    """
    WITH logged AS (
        INSERT INTO webhook_attempts (event_id, attempt, started_at, duration_ms, status_code,
            error)
        VALUES (:event_id, :attempt, :started_at, :duration_ms, :status_code, :error)
        ON CONFLICT DO NOTHING RETURNING event_id
    )
    UPDATE webhook_events
    SET status = :status, lease_until = NULL, step = step + 1,
        next_attempt_at = now() + make_interval(secs => CAST(:delay_seconds AS float)),
        last_status_code = :status_code, last_error = :error,
        delivered_at = CASE WHEN :status = 'delivered' THEN now() END
    FROM logged WHERE id = logged.event_id AND attempts = :attempt AND next_attempt_at = :due_at
    """
)


def record_delivery(
    connection: Connection,
    event: DueEvent,
    delivery: Delivery,
    status: WebhookStatus,
    delay_seconds: float | None,
) -> None:
    """Log an attempt and update the event, unless it was replayed in the meantime. With a delay it
    is `pending` and due after that; without one it has ended.
    """
    connection.execute(
        _RECORD,
        {
            "event_id": event.id,
            "attempt": event.attempt,
            "due_at": event.due_at,
            "started_at": event.claimed_at,
            "status": status,
            "delay_seconds": delay_seconds,
            "duration_ms": delivery.duration_ms,
            "status_code": delivery.status_code,
            "error": delivery.error,
        },
    )


_HAND_BACK = text(
    """
    UPDATE webhook_events
    SET attempts = attempts - 1, lease_until = NULL,
        next_attempt_at = now() + make_interval(secs => :delay_seconds)
    WHERE id = :event_id AND status = 'pending' AND attempts = :attempt
      AND next_attempt_at = :due_at
    """
)


def hand_back_event(connection: Connection, event: DueEvent, delay_seconds: float) -> None:
    """Give back an event that was not sent, due again after the delay. The attempt does not count.
    Does nothing if the event was replayed in the meantime.
    """
    connection.execute(
        _HAND_BACK,
        {
            "event_id": event.id,
            "attempt": event.attempt,
            "due_at": event.due_at,
            "delay_seconds": delay_seconds,
        },
    )


@dataclass(frozen=True)
class WebhookEventRow:
    """An event as its request's owner reads it. `body` is the body of every attempt, None before
    the first.
    """

    id: UUID
    run: int
    body: str | None
    status: WebhookStatus
    attempts: int
    next_attempt_at: datetime | None
    last_status_code: int | None
    last_error: str | None
    created_at: datetime
    delivered_at: datetime | None


@dataclass(frozen=True)
class WebhookAttemptRow:
    """One attempt to deliver an event: an entry in its log."""

    attempt: int
    started_at: datetime
    duration_ms: int
    status_code: int | None
    error: str | None


def events_of(connection: Connection, request_id: UUID) -> list[WebhookEventRow]:
    """A request's events, the newest run first."""
    columns = [webhook_events.c[field.name] for field in fields(WebhookEventRow)]
    query = select(*columns).where(webhook_events.c.request_id == request_id)
    rows = connection.execute(query.order_by(webhook_events.c.run.desc())).mappings()
    return [WebhookEventRow(**{**row, "status": WebhookStatus(row["status"])}) for row in rows]


def attempts_of(
    connection: Connection, event_ids: Sequence[UUID]
) -> dict[UUID, list[WebhookAttemptRow]]:
    """The delivery log of each of these events, the first attempt first."""
    logs: dict[UUID, list[WebhookAttemptRow]] = {event_id: [] for event_id in event_ids}
    columns = [webhook_attempts.c[field.name] for field in fields(WebhookAttemptRow)]
    query = (
        select(webhook_attempts.c.event_id, *columns)
        .where(webhook_attempts.c.event_id.in_(event_ids))
        .order_by(webhook_attempts.c.event_id, webhook_attempts.c.attempt)
    )
    for event_id, *values in connection.execute(query):
        logs[event_id].append(WebhookAttemptRow(*values))
    return logs


_REPLAY = text(
    f"""
    WITH request AS (
        SELECT id FROM requests WHERE id = :request_id AND expired_at IS NULL FOR NO KEY UPDATE
    ), newest AS (
        SELECT id FROM webhook_events WHERE request_id IN (SELECT id FROM request) ORDER BY run DESC
        LIMIT 1
    ), replayed AS (
        UPDATE webhook_events
        SET status = 'pending', step = 0, next_attempt_at = now(), delivered_at = NULL,
            lease_until = NULL
        FROM newest WHERE webhook_events.id = newest.id
        RETURNING webhook_events.id
    )
    SELECT count(*) AS replayed, pg_notify('{WORK_CHANNEL}', '') FROM replayed
    """  # noqa: S608 - a constant
)


def replay_event(connection: Connection, request_id: UUID) -> bool:
    """Send a request's newest event again, from the start of the schedule. False if the request has
    no event yet or is being deleted.
    """
    row = connection.execute(_REPLAY, {"request_id": request_id}).one()
    return bool(row.replayed)
