"""How far behind the service is: what waits, since when, and who works on it, as `/metrics` and
`halftone queues` show.

Every figure comes from counters and partial indexes, so that asking costs the same behind a million
finished products.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from halftone_shared.db.engine import AnyRow
from halftone_shared.db.workers import ALIVE_SECONDS
from halftone_shared.model.states import Status

# A request that runs and of which nothing has ended for this long is stuck, or its shops are.
NO_PROGRESS_SECONDS = 600


@dataclass(frozen=True)
class Backlog:
    """One snapshot of the database.

    `waiting_products` may be worked on now, `postponed_products` wait for a time,
    `processing_products` are in a worker's hand. Ages are in seconds, 0 where nothing waits. Ended
    requests are those of the last 24 hours.
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


# A product waits since its request was uploaded, or since it fell due again. One that waits for a
# time of its own (a shop asked for patience) is no backlog and no standstill.
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
            SELECT sum(processed_products + failed_products + cancelled_products) AS ended,
                   max(updated_at) AS updated_at
            FROM request_shards
            WHERE request_id = r.id
              AND processed_products + failed_products + cancelled_products < total
        ) AS open ON true
        LEFT JOIN LATERAL (
            SELECT min(next_attempt_at) FILTER (WHERE next_attempt_at <= now()) AS due_at,
                   count(*) FILTER (WHERE next_attempt_at > now()) AS postponed
            FROM products WHERE request_id = r.id AND next_attempt_at IS NOT NULL
        ) AS again ON true
        WHERE r.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')
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
    """Where the service stands now, in one statement."""
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


_OPEN_SHARDS = """
    LEFT JOIN LATERAL (
        SELECT sum(processed_products + failed_products) AS products,
               sum(processed_images) AS processed_images,
               sum(failed_images) AS failed_images, sum(bytes_in - bytes_out) AS bytes_saved
        FROM request_shards
        WHERE r.open_shards > 0 AND request_id = r.id
          AND processed_products + failed_products + cancelled_products < total
    ) AS open ON true
"""

_TOTALS = text(
    f"""
    SELECT extract(epoch FROM clock_timestamp())::float AS seconds,
           coalesce(sum(r.processed_products + r.failed_products + coalesce(open.products, 0)), 0)
               ::bigint AS products,
           coalesce(sum(r.processed_images + coalesce(open.processed_images, 0)), 0)::bigint
               AS processed_images,
           coalesce(sum(r.failed_images + coalesce(open.failed_images, 0)), 0)::bigint
               AS failed_images,
           coalesce(sum(r.bytes_in - r.bytes_out + coalesce(open.bytes_saved, 0)), 0)::bigint
               AS bytes_saved
    FROM requests AS r {_OPEN_SHARDS}
    WHERE r.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')
      OR r.completed_at > now() - interval '24 hours'
    """  # noqa: S608 - the parts are constants
)


def read_totals(connection: Connection) -> AnyRow:
    """What running requests and those of the last 24 hours have come to, and when: two of these
    make a throughput.
    """
    return connection.execute(_TOTALS).one()


_RUNNING = text(
    f"""
    SELECT r.id, r.csv_filename, r.status, r.created_at, r.total_products,
           (r.processed_products + r.failed_products + coalesce(open.products, 0))::bigint
               AS ended_products,
           (r.failed_images + coalesce(open.failed_images, 0))::bigint AS failed_images
    FROM requests AS r {_OPEN_SHARDS}
    WHERE r.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')
    ORDER BY r.created_at LIMIT :limit
    """  # noqa: S608 - the parts are constants
)


def running_requests(connection: Connection, limit: int) -> Sequence[AnyRow]:
    """The oldest requests that run, with how far they are."""
    return connection.execute(_RUNNING, {"limit": limit}).all()


# Of the newest requests, and of each the first failures: a look, not a count of all.
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


def recent_failures(connection: Connection) -> Sequence[AnyRow]:
    """Error codes among the first 100 failed products of each of the newest 50 requests, the most
    frequent first.
    """
    return connection.execute(_FAILURES).all()
