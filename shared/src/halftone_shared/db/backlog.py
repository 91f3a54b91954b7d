"""How far behind the service is: how much work waits, since when, and how much is being done.
`/metrics` and `halftone queues` show these figures.

Every figure comes from counters and partial indexes, so a query costs the same with a million
finished products.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from halftone_shared.db.fragments import OPEN_SHARDS, counted
from halftone_shared.db.tables import ENDED_PRODUCTS, FINAL
from halftone_shared.db.workers import ALIVE_SECONDS
from halftone_shared.model.states import Status

# A running request without a newly finished product for this long is stuck, or its shops are.
NO_PROGRESS_SECONDS = 600


@dataclass(frozen=True)
class Backlog:
    """One snapshot of the database.

    `waiting_products` are due now, `postponed_products` are due later, `processing_products` are
    held by a worker. Ages are in seconds, 0 if nothing waits. Ended requests are those of the last
    24 hours.
    """

    requests: dict[str, int]
    waiting_products: int
    postponed_products: int
    processing_products: int
    oldest_waiting_seconds: float
    requests_without_progress: int
    pending_events: int
    oldest_due_event_seconds: float
    live_workers: int


# A product has been waiting since its request was uploaded, or since it became due again. A product
# that is due later (a shop asked to wait) counts neither as backlog nor as stuck.
_BACKLOG = text(
    f"""
    WITH active AS (
        SELECT r.id, r.status, r.created_at, r.updated_at,
               r.dispatch_cursor < r.total_products AS has_fresh,
               r.total_products - r.processed_products - r.failed_products - r.cancelled_products
               - coalesce(open.ended, 0) AS left_over,
               greatest(r.updated_at, open.updated_at) AS progress_at,
               again.due_at, again.postponed
        FROM requests AS r
        LEFT JOIN LATERAL (
            SELECT sum({ENDED_PRODUCTS}) AS ended, max(updated_at) AS updated_at
            FROM request_shards
            WHERE request_id = r.id AND {ENDED_PRODUCTS} < total
        ) AS open ON true
        LEFT JOIN LATERAL (
            SELECT min(next_attempt_at) FILTER (WHERE next_attempt_at <= now()) AS due_at,
                   count(*) FILTER (WHERE next_attempt_at > now()) AS postponed
            FROM products WHERE request_id = r.id AND next_attempt_at IS NOT NULL
        ) AS again ON true
        WHERE r.status NOT IN {FINAL}
    ), leased AS (
        SELECT count(*) FILTER (WHERE p.status = 'PROCESSING') AS processing,
               min(active.created_at) FILTER (
                   WHERE p.status = 'PENDING' AND p.next_attempt_at IS NULL) AS fresh_since
        FROM products AS p JOIN active ON active.id = p.request_id
        WHERE p.lease_until IS NOT NULL
    ), counts AS (
        SELECT count(*) FILTER (WHERE status = 'PENDING') AS pending,
               count(*) FILTER (WHERE status = 'PROCESSING') AS processing,
               coalesce(sum(left_over), 0)::bigint AS left_over,
               coalesce(sum(postponed), 0)::bigint AS postponed,
               least(min(created_at) FILTER (WHERE has_fresh), min(due_at)) AS waiting_since,
               count(*) FILTER (
                   WHERE postponed = 0
                     AND progress_at < now() - interval '{NO_PROGRESS_SECONDS} seconds')
                   AS without_progress
        FROM active
    ), ended AS (
        SELECT count(*) FILTER (WHERE status = 'COMPLETED') AS completed,
               count(*) FILTER (WHERE status = 'FAILED') AS failed,
               count(*) FILTER (WHERE status = 'CANCELLED') AS cancelled
        FROM requests WHERE completed_at > now() - interval '24 hours'
    ), events AS (
        SELECT count(*) AS pending,
               min(next_attempt_at) FILTER (WHERE next_attempt_at <= now()) AS due_since
        FROM webhook_events WHERE status = 'pending'
    ), living AS (
        SELECT count(*) AS workers FROM workers
        WHERE last_seen_at > now() - interval '{ALIVE_SECONDS} seconds'
    )
    SELECT counts.pending, counts.processing, ended.completed, ended.failed, ended.cancelled,
           counts.left_over, counts.postponed, leased.processing AS in_process,
           counts.without_progress,
           extract(epoch FROM now() - least(counts.waiting_since, leased.fresh_since))::float
               AS waiting_seconds,
           events.pending AS pending_events,
           extract(epoch FROM now() - events.due_since)::float AS due_seconds,
           living.workers
    FROM counts, leased, ended, events, living
    """  # noqa: S608 - the parts are constants
)


def read_backlog(connection: Connection) -> Backlog:
    """Read the backlog in one statement."""
    row: Any = connection.execute(_BACKLOG).one()
    return Backlog(
        requests={
            Status.PENDING: row.pending,
            Status.PROCESSING: row.processing,
            Status.COMPLETED: row.completed,
            Status.FAILED: row.failed,
            Status.CANCELLED: row.cancelled,
        },
        waiting_products=max(row.left_over - row.postponed - row.in_process, 0),
        postponed_products=row.postponed,
        processing_products=row.in_process,
        oldest_waiting_seconds=row.waiting_seconds or 0.0,
        requests_without_progress=row.without_progress,
        pending_events=row.pending_events,
        oldest_due_event_seconds=row.due_seconds or 0.0,
        live_workers=row.workers,
    )


@dataclass(frozen=True)
class Totals:
    """Sums over running and recently ended requests, at a time in Unix seconds. The difference of
    two gives the throughput. Counts products that succeeded or failed.
    """

    seconds: float
    products: int
    processed_images: int
    failed_images: int
    bytes_saved: int


_TOTALS = text(
    f"""
    SELECT extract(epoch FROM clock_timestamp())::float AS seconds,
           coalesce(sum({counted("processed_products")} + {counted("failed_products")}), 0)::bigint
               AS products,
           coalesce(sum({counted("processed_images")}), 0)::bigint AS processed_images,
           coalesce(sum({counted("failed_images")}), 0)::bigint AS failed_images,
           coalesce(sum({counted("bytes_in")} - {counted("bytes_out")}), 0)::bigint AS bytes_saved
    FROM requests AS r {OPEN_SHARDS}
    WHERE r.status NOT IN {FINAL} OR r.completed_at > now() - make_interval(hours => :hours)
    """  # noqa: S608 - the parts are constants
)


def read_totals(connection: Connection, *, hours: int = 24) -> Totals:
    """Sums over requests that are running or ended in the last `hours`."""
    return Totals(**connection.execute(_TOTALS, {"hours": hours}).mappings().one())


@dataclass(frozen=True)
class RunningRequest:
    """How far a running request is. `ended_products` leaves out cancelled ones. `last_progress_at`:
    when a product last ended, or else when the request last changed.
    """

    id: UUID
    csv_filename: str
    status: Status
    created_at: datetime
    last_progress_at: datetime
    total_products: int
    ended_products: int
    failed_images: int


_RUNNING = text(
    f"""
    SELECT r.id, r.csv_filename, r.status, r.created_at, r.total_products,
           greatest(r.updated_at, open.updated_at) AS last_progress_at,
           ({counted("processed_products")} + {counted("failed_products")})::bigint
               AS ended_products,
           {counted("failed_images")}::bigint AS failed_images
    FROM requests AS r {OPEN_SHARDS}
    WHERE r.status NOT IN {FINAL}
    ORDER BY r.created_at LIMIT :limit
    """  # noqa: S608 - the parts are constants
)


def running_requests(connection: Connection, limit: int) -> list[RunningRequest]:
    """The oldest running requests."""
    rows = connection.execute(_RUNNING, {"limit": limit}).mappings()
    return [RunningRequest(**{**row, "status": Status(row["status"])}) for row in rows]


@dataclass(frozen=True)
class FailureCount:
    """How many images failed with this error code, and in how many requests."""

    code: str
    images: int
    requests: int


# Reads only the newest requests and the first failures of each: a sample, not a full count.
_FAILURES = text(
    """
    SELECT image #>> '{error,code}' AS code, count(*) AS images,
           count(DISTINCT failed.request_id) AS requests
    FROM (SELECT id FROM requests ORDER BY created_at DESC LIMIT 50) AS newest
    CROSS JOIN LATERAL (
        SELECT request_id, images FROM products
        WHERE request_id = newest.id AND failed_images > 0 ORDER BY seq LIMIT 100
    ) AS failed
    CROSS JOIN LATERAL jsonb_array_elements(failed.images) AS image
    WHERE image ->> 'status' = 'FAILED'
    GROUP BY 1 ORDER BY images DESC
    """
)


def recent_failures(connection: Connection) -> list[FailureCount]:
    """Error codes among the first 100 failed products of each of the newest 50 requests, the most
    frequent first.
    """
    return [FailureCount(**row) for row in connection.execute(_FAILURES).mappings()]
