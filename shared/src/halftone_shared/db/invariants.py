"""Every invariant of the database, as a query for the rows that break it. `halftone doctor` runs
them.

All checks read one snapshot, so they also pass while the service is working.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, text

from halftone_shared.db.barrier import SHARDS
from halftone_shared.db.outbox import DISPATCH_LEASE_SECONDS
from halftone_shared.db.products import WORK_LEASE_SECONDS
from halftone_shared.db.tables import COUNTERS, ENDED_PRODUCTS, FINAL

MAX_EXAMPLES = 5
# No dispatcher has handled a lease that ended this long ago, so none is running.
OVERDUE_SECONDS = 2 * max(DISPATCH_LEASE_SECONDS, WORK_LEASE_SECONDS)

_SHARD_FULL = f"{ENDED_PRODUCTS} = total"


@dataclass(frozen=True)
class Check:
    """An invariant: a short name, the rule in words, and the query for rows that break it. The
    query's first column names the place.
    """

    name: str
    rule: str
    query: str


@dataclass(frozen=True)
class Finding:
    """The result of a failed check: how many rows break the rule, and the first few of them."""

    count: int
    examples: Sequence[str]


def _unequal(left: str, right: str) -> str:
    return " OR ".join(
        f"coalesce({left}.{name}, 0) <> coalesce({right}.{name}, 0)" for name in COUNTERS
    )


# Each shard's counters, recomputed from its products.
_RECOUNT = f"""
    SELECT request_id, seq % {SHARDS} AS shard, count(*) AS total,
           count(*) FILTER (WHERE status = 'COMPLETED') AS processed_products,
           count(*) FILTER (WHERE status = 'FAILED') AS failed_products,
           count(*) FILTER (WHERE status = 'CANCELLED') AS cancelled_products,
           coalesce(sum(image.processed), 0) AS processed_images,
           coalesce(sum(image.failed), 0) AS failed_images,
           coalesce(sum(image.kept), 0) AS kept_original_images,
           coalesce(sum(image.reused), 0) AS reused_images,
           coalesce(sum(image.bytes_in), 0) AS bytes_in,
           coalesce(sum(image.bytes_out), 0) AS bytes_out
    FROM products
    LEFT JOIN LATERAL (
        SELECT count(*) FILTER (WHERE entry ->> 'status' = 'COMPLETED') AS processed,
               count(*) FILTER (WHERE entry ->> 'status' = 'FAILED') AS failed,
               count(*) FILTER (WHERE entry ->> 'action' = 'kept_original') AS kept,
               count(*) FILTER (WHERE entry ->> 'action' = 'reused') AS reused,
               sum(CAST(entry ->> 'bytes_in' AS bigint)) AS bytes_in,
               sum(CAST(entry ->> 'bytes_out' AS bigint)) AS bytes_out
        FROM jsonb_array_elements(products.images) AS entry
        WHERE products.status IN {FINAL}
    ) AS image ON true
    GROUP BY request_id, seq % {SHARDS}
"""  # noqa: S608 - the parts are this module's constants

CHECKS = (
    Check(
        "shard_counters",
        "The counters of a shard equal a count of its products, unless these are being deleted",
        f"""
        SELECT coalesce(shard.request_id, recount.request_id) || ' shard '
            || coalesce(shard.shard, recount.shard)
        FROM request_shards AS shard
        FULL JOIN ({_RECOUNT}) AS recount ON recount.request_id = shard.request_id
            AND recount.shard = shard.shard
        WHERE (coalesce(shard.total, 0) <> coalesce(recount.total, 0)
               OR {_unequal("shard", "recount")})
          AND NOT EXISTS
              (SELECT FROM requests WHERE id = shard.request_id AND expired_at IS NOT NULL)
        """,  # noqa: S608
    ),
    Check(
        "request_counters",
        "A request's counters are the sums of its full shards",
        f"""
        SELECT request.id FROM requests AS request
        LEFT JOIN (
            SELECT request_id, {", ".join(f"sum({name}) AS {name}" for name in COUNTERS)}
            FROM request_shards AS shard WHERE {_SHARD_FULL} GROUP BY request_id
        ) AS sums ON sums.request_id = request.id
        WHERE {_unequal("request", "sums")}
        """,  # noqa: S608
    ),
    Check(
        "error_counts",
        "The errors that a shard or request counts by their code are among its failed images",
        """
        SELECT counted.place FROM (
            SELECT request_id || ' shard ' || shard AS place, errors, failed_images
            FROM request_shards
            UNION ALL SELECT CAST(id AS text), errors, failed_images FROM requests
        ) AS counted
        WHERE failed_images < (
            SELECT coalesce(sum(CAST(value AS bigint)), 0) FROM jsonb_each_text(counted.errors))
        """,
    ),
    Check(
        "open_shards",
        "A request's open shards are those that are not full, and its total is that of its shards",
        f"""
        SELECT request.id FROM requests AS request
        LEFT JOIN (
            SELECT request_id, count(*) FILTER (WHERE NOT {_SHARD_FULL}) AS open,
                   sum(total) AS total
            FROM request_shards AS shard GROUP BY request_id
        ) AS sums ON sums.request_id = request.id
        WHERE request.open_shards <> coalesce(sums.open, 0)
          OR request.total_products <> coalesce(sums.total, 0)
        """,  # noqa: S608
    ),
    Check(
        "request_end",
        "A request has ended exactly when all of its products have",
        f"""
        SELECT request.id FROM requests AS request
        WHERE (request.status IN {FINAL})
              = EXISTS (SELECT FROM products WHERE request_id = request.id
                  AND status NOT IN {FINAL})
        """,  # noqa: S608
    ),
    Check(
        "webhook_events",
        "Every ending of a request with a webhook has one event, and no other has any",
        f"""
        SELECT coalesce(ending.request_id, event.request_id) || ' run '
            || coalesce(ending.run, event.run)
        FROM (
            SELECT request.id AS request_id, ended AS run
            FROM requests AS request CROSS JOIN LATERAL generate_series(1, request.run) AS ended
            WHERE request.webhook_url IS NOT NULL
              AND (ended < request.run OR request.status IN {FINAL})
        ) AS ending
        FULL JOIN webhook_events AS event ON event.request_id = ending.request_id
            AND event.run = ending.run
        WHERE ending.request_id IS NULL OR event.request_id IS NULL
        """,  # noqa: S608
    ),
    Check(
        "results",
        "A finished product has a result and a file slot for every input URL",
        f"""
        SELECT request_id || ' product ' || seq FROM products
        WHERE status IN {FINAL} AND status <> 'CANCELLED'
          AND (jsonb_array_length(images) IS DISTINCT FROM cardinality(input_image_urls)
               OR cardinality(output_files) IS DISTINCT FROM cardinality(input_image_urls)
               OR failed_images IS DISTINCT FROM cardinality(array_positions(output_files, NULL)))
        """,  # noqa: S608
    ),
    Check(
        "handed_out",
        "A product that was handed out and waits again has a lease, or a time when it is due",
        f"""
        SELECT product.request_id || ' product ' || product.seq
        FROM products AS product JOIN requests AS request ON request.id = product.request_id
        WHERE product.status = 'PENDING' AND product.seq <= request.dispatch_cursor
          AND product.lease_until IS NULL AND product.next_attempt_at IS NULL
          AND request.status NOT IN {FINAL}
        """,  # noqa: S608
    ),
    Check(
        "overdue_leases",
        "No lease has been over for long: a dispatcher is running and frees what was lost",
        f"""
        SELECT request_id || ' product ' || seq || ' since ' || lease_until FROM products
        WHERE lease_until < now() - interval '{OVERDUE_SECONDS} s'
        """,  # noqa: S608
    ),
    Check(
        "webhook_attempts",
        "A webhook event that was attempted has the body that it was attempted with,"
        " and its log is complete",
        """
        SELECT event.id FROM webhook_events AS event
        WHERE (event.attempts > 0 AND event.body IS NULL)
           OR event.attempts < (SELECT count(*) FROM webhook_attempts WHERE event_id = event.id)
        """,
    ),
)


def examine(engine: Engine) -> Iterator[tuple[Check, Finding | None]]:
    """Run the checks in turn. Yields each with its finding, or with None if the rule holds."""
    with (
        engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection,
        connection.begin(),
    ):
        for check in CHECKS:
            rows = connection.execute(text(check.query)).scalars().all()
            examples = [str(row) for row in rows[:MAX_EXAMPLES]]
            yield check, Finding(len(rows), examples) if rows else None
