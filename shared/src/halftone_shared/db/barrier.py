"""The completion barrier: products end one by one, and exactly one caller sees their request end.

One statement does up to three steps. It moves the product out of PROCESSING: this happens once, by
the claim that holds it. It counts that move in one of up to 64 shards (seq % 64), so that
concurrent workers rarely wait for each other. If the move fills the shard, it adds the shard's
counters to the request and decrements the request's `open_shards`; at 0 it ends the request and
writes its webhook event. The statement is atomic, so no crash can leave a request running after its
last product has ended.

Cancelling moves many products at once through the same barrier; reopening (a retry) takes counted
products back out. Every caller locks products, then shards, then the request, and products and
shards in ascending order, so no two callers can deadlock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb
from sqlalchemy import Connection, text

from halftone_shared.db.engine import driver_statement
from halftone_shared.db.products import Claim
from halftone_shared.db.tables import COUNTERS
from halftone_shared.model.results import ProductResult
from halftone_shared.model.states import Status

SHARDS = 64


@dataclass(frozen=True)
class Settled:
    """`counted`: this call moved the product. `ended`: the product was the last of its request."""

    counted: bool
    ended: bool


# One-letter aliases below: q is the request, s a shard, c the counts to add, f the shards that
# become full. They keep statements short: psycopg parses one of more than 4,096 characters again at
# every execution.
_ENDED = "s.processed_products + s.failed_products + s.cancelled_products"
_COUNT = ", ".join(f"{name} = s.{name} + c.{name}" for name in COUNTERS)
_SUMS = ", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in COUNTERS)
_ROLL_UP = ", ".join(f"{name} = q.{name} + f.{name}" for name in COUNTERS)
# Errors by code; most products have none.
_ADD_ERRORS = "CASE WHEN c.errors = '{}' THEN s.errors ELSE add_counts(s.errors, c.errors) END"

# From `counts`, one row per shard with the counts to add, to the end of the request. The request's
# final status depends on its counters alone.
_BARRIER = f"""
    shard AS (
        UPDATE request_shards AS s SET {_COUNT}, errors = {_ADD_ERRORS}, updated_at = now()
        FROM counts AS c
        WHERE s.request_id = :request_id AND s.shard = c.shard
        RETURNING s.*, {_ENDED} = s.total AS is_full
    ), filled AS (
        SELECT count(*) AS shards, {_SUMS}, sum_counts(errors) AS errors FROM shard WHERE is_full
    ), request AS (
        UPDATE requests AS q
        SET {_ROLL_UP}, errors = add_counts(q.errors, f.errors),
            open_shards = open_shards - f.shards, updated_at = now(),
            status = CASE WHEN open_shards > f.shards THEN status
                          WHEN q.cancelled_products + f.cancelled_products > 0 THEN 'CANCELLED'
                          WHEN q.processed_images + f.processed_images > 0 THEN 'COMPLETED'
                          ELSE 'FAILED' END,
            outcome = CASE WHEN open_shards > f.shards THEN NULL
                           WHEN q.processed_images + f.processed_images = total_images
                               THEN 'succeeded'
                           WHEN q.processed_images + f.processed_images > 0 THEN 'partial'
                           ELSE 'failed' END,
            completed_at = CASE WHEN open_shards = f.shards THEN now() END,
            started_at = CASE WHEN q.processed_products + f.processed_products
                                   + q.failed_products + f.failed_products > 0
                              THEN coalesce(started_at, now()) ELSE started_at END
        FROM filled AS f
        WHERE q.id = :request_id AND f.shards > 0
        RETURNING q.id, q.run, q.webhook_url, q.open_shards = 0 AS ended
    ), event AS (
        INSERT INTO webhook_events (request_id, run, next_attempt_at)
        SELECT id, run, now() FROM request WHERE ended AND webhook_url IS NOT NULL
    )
"""  # noqa: S608 - the parts are this module's constants

# Runs directly on the driver because it is the most frequent statement: compiling and binding in
# SQLAlchemy took 110 of its 425 µs.
SETTLE = driver_statement(
    f"""
    WITH product AS (
        UPDATE products
        SET status = :status, images = :images, output_files = :files,
            failed_images = :product_failed_images,
            lease_until = NULL
        WHERE request_id = :request_id AND seq = :seq AND status = 'PROCESSING' AND claims = :token
        RETURNING seq
    ), counts AS (
        SELECT seq % {SHARDS} AS shard,
               {", ".join(f"CAST(:{name} AS bigint) AS {name}" for name in COUNTERS)},
               CAST(:errors AS jsonb) AS errors
        FROM product
    ), {_BARRIER}
    SELECT EXISTS (SELECT FROM product) AS counted,
           coalesce((SELECT ended FROM request), false) AS ended
    """  # noqa: S608 - the parts are this module's constants
)


# `given` has one row per product, all of one request. About 50 % slower than SETTLE for one
# product, much faster for several. Products are found by an array, not by a join, as in
# products._CLAIM.
_SETTLE_MANY = driver_statement(
    f"""
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(:products) AS given(
            seq int, token int, status text, images jsonb, files text[], product_failed_images int,
            errors jsonb, {", ".join(f"{name} bigint" for name in COUNTERS)})
    ), mine AS (
        SELECT seq, claims FROM products
        WHERE request_id = :request_id AND seq = ANY(ARRAY(SELECT seq FROM given))
          AND status = 'PROCESSING'
        ORDER BY seq FOR NO KEY UPDATE
    ), held AS (
        SELECT DISTINCT ON (seq) given.* FROM given JOIN mine USING (seq)
        WHERE mine.claims = given.token
    ), product AS (
        UPDATE products
        SET lease_until = NULL, (status, images, output_files, failed_images) = (
            SELECT held.status, held.images, held.files, held.product_failed_images
            FROM held WHERE held.seq = products.seq)
        WHERE request_id = :request_id AND seq = ANY(ARRAY(SELECT seq FROM held))
        RETURNING seq
    ), counted AS (
        SELECT seq % {SHARDS} AS shard,
               sum_counts(errors) FILTER (WHERE errors <> '{{}}') AS errors,
               {", ".join(f"sum({name}) AS {name}" for name in COUNTERS)}
        FROM held JOIN product USING (seq) GROUP BY seq % {SHARDS}
    ), locked AS (
        SELECT shard FROM request_shards
        WHERE request_id = :request_id AND shard IN (SELECT shard FROM counted) ORDER BY shard
        FOR NO KEY UPDATE
    ), counts AS (
        SELECT counted.* FROM counted JOIN locked USING (shard)
    ), {_BARRIER}
    SELECT moved.*, coalesce((SELECT ended FROM request), false) AS ended
    FROM (SELECT array_agg(seq) AS seqs, array_agg(token) AS tokens
          FROM held JOIN product USING (seq)) AS moved
    """  # noqa: S608 - the parts are this module's constants
)


def settle_product(connection: Connection, claim: Claim, result: ProductResult) -> Settled:
    """Record how a claimed product ended and move its request's barrier, in one statement.

    `ended` is true for exactly one call per run of a request: the one that settles its last
    product. A second call for the same claim changes nothing and returns Settled(False, False). So
    does a call whose product was claimed again or cancelled.
    """
    settled = _settled_as(claim, result)
    parameters = settled | {
        "images": Jsonb(settled["images"]),
        "errors": Jsonb(settled["errors"]),
        "request_id": claim.key.request_id,
    }
    row = connection.exec_driver_sql(SETTLE, parameters).one()
    return Settled(row.counted, row.ended)


def settle_products(
    connection: Connection, settlements: Sequence[tuple[Claim, ProductResult]]
) -> list[Settled]:
    """Do what settle_product does for several products of one request, in one statement. Results
    are in the order of `settlements`. A claim that is given twice counts once.

    If they end the request, `ended` is true for the last one that was counted.
    """
    if len(settlements) == 1:
        return [settle_product(connection, *settlements[0])]
    products = Jsonb([_settled_as(claim, result) for claim, result in settlements])
    request_id = settlements[0][0].key.request_id
    row = connection.exec_driver_sql(
        _SETTLE_MANY, {"request_id": request_id, "products": products}
    ).one()
    moved = set(zip(row.seqs or (), row.tokens or (), strict=True))
    settled = [
        Settled((claim.key.seq, claim.token) in moved, ended=False) for claim, _ in settlements
    ]
    if row.ended:
        last = max(at for at, one in enumerate(settled) if one.counted)
        settled[last] = Settled(counted=True, ended=True)
    return settled


def _settled_as(claim: Claim, result: ProductResult) -> dict[str, Any]:
    completed = result.status is Status.COMPLETED
    return {
        "seq": claim.key.seq,
        "token": claim.token,
        "status": result.status,
        "images": [image.to_json() for image in result.images],
        "files": [image.file for image in result.images],
        "product_failed_images": result.failed_images,
        "processed_products": int(completed),
        "failed_products": int(not completed),
        "cancelled_products": 0,
        "processed_images": result.processed_images,
        "failed_images": result.failed_images,
        "kept_original_images": result.kept_original_images,
        "reused_images": result.reused_images,
        "bytes_in": result.bytes_in,
        "bytes_out": result.bytes_out,
        "errors": result.errors,
    }


# Counts of the finished images in a row of `product`.
_IMAGE_COUNTS = """
    SELECT count(*) FILTER (WHERE image ->> 'status' = 'COMPLETED') AS processed_images,
           count(*) FILTER (WHERE image ->> 'status' = 'FAILED') AS failed_images,
           count(*) FILTER (WHERE image ->> 'action' = 'kept_original') AS kept_original_images,
           count(*) FILTER (WHERE image ->> 'action' = 'reused') AS reused_images,
           coalesce(sum(CAST(image ->> 'bytes_in' AS bigint)), 0) AS bytes_in,
           coalesce(sum(CAST(image ->> 'bytes_out' AS bigint)), 0) AS bytes_out
    FROM jsonb_array_elements(product.images) AS image
"""
_IMAGE_ERRORS = """
    SELECT sum_counts(jsonb_build_object(image #>> '{error,code}', 1)) AS errors
    FROM jsonb_array_elements(product.images) AS image WHERE image ->> 'status' = 'FAILED'
"""
_IMAGE_SUMS = ", ".join(
    f"sum({name}) AS {name}" for name in COUNTERS if not name.endswith("_products")
)

# The update uses a range of `seq`, not a join with `waiting`. For a request newer than the last
# ANALYZE, PostgreSQL expects one row, and a join would read all of its products for each waiting
# one (measured: 50 s for 5,000 of 100,000). Images finished by an earlier run or attempt stay and
# are counted. The statement checks `cancel_requested_at` itself: since the caller read it, the
# request may have ended and been retried.
_CANCEL = text(
    f"""
    WITH waiting AS (
        SELECT seq FROM products
        WHERE request_id = :request_id AND seq > :after_seq AND status IN ('PENDING', 'PROCESSING')
          AND EXISTS (
              SELECT FROM requests WHERE id = :request_id AND cancel_requested_at IS NOT NULL)
        ORDER BY seq LIMIT :limit FOR UPDATE
    ), product AS (
        UPDATE products
        SET status = 'CANCELLED', lease_until = NULL, away = false, next_attempt_at = NULL
        WHERE request_id = :request_id AND seq > :after_seq
          AND seq <= (SELECT max(seq) FROM waiting)
          AND status IN ('PENDING', 'PROCESSING')
        RETURNING seq, images
    ), counted AS (
        SELECT seq % {SHARDS} AS shard, 0 AS processed_products, 0 AS failed_products,
               count(*) AS cancelled_products,
               sum_counts(failed.errors) FILTER (WHERE failed.errors <> '{{}}') AS errors,
               {_IMAGE_SUMS}
        FROM product CROSS JOIN LATERAL ({_IMAGE_COUNTS}) AS done
        CROSS JOIN LATERAL ({_IMAGE_ERRORS}) AS failed GROUP BY seq % {SHARDS}
    ), locked AS (
        SELECT shard FROM request_shards
        WHERE request_id = :request_id AND shard IN (SELECT shard FROM counted) ORDER BY shard
        FOR UPDATE
    ), counts AS (
        SELECT counted.* FROM counted JOIN locked USING (shard)
    ), {_BARRIER}
    SELECT (SELECT count(*) FROM product) AS cancelled, (SELECT max(seq) FROM product) AS last_seq,
           coalesce((SELECT ended FROM request), false) AS ended,
           (SELECT trace_id FROM requests WHERE id = :request_id) AS trace_id
    """  # noqa: S608 - the parts are this module's constants
)


@dataclass(frozen=True)
class Cancelled:
    """How far a cancellation has come. The next call continues after `last_seq`; None when no
    product was left.
    """

    last_seq: int | None
    ended: bool
    trace_id: str | None


def cancel_products(
    connection: Connection, request_id: UUID, *, after_seq: int, limit: int
) -> Cancelled:
    """Cancel up to `limit` unfinished products after `after_seq` and update the barrier. Finished
    images stay. Does nothing unless the request is being cancelled.

    A worker that holds one of them finds its claim void. Call again to continue; once no product is
    left, a call does nothing.
    """
    row = connection.execute(
        _CANCEL, {"request_id": request_id, "after_seq": after_seq, "limit": limit}
    ).one()
    return Cancelled(row.last_seq, row.ended, row.trace_id)


# `fact` has the counts that each reopened product added when it ended. Rows are joined by both
# columns of the key, so that PostgreSQL looks each one up by index: see _CANCEL.
_REOPEN = text(
    f"""
    WITH product AS (
        SELECT request_id, seq, status, images, output_files, input_image_urls FROM products
        WHERE request_id = :request_id AND (failed_images > 0 OR status = 'CANCELLED')
          AND (CAST(:code AS text) IS NULL OR EXISTS (
              SELECT FROM jsonb_array_elements(images) AS image
              WHERE image -> 'error' ->> 'code' = :code))
        ORDER BY seq
        FOR UPDATE
    ), fact AS (
        SELECT product.request_id, product.seq, product.status, done.*, failed.errors,
               (SELECT jsonb_agg(CASE WHEN image ->> 'status' = 'COMPLETED' THEN image END
                   ORDER BY position)
                FROM jsonb_array_elements(product.images) WITH ORDINALITY
                    AS image(image, position)) AS kept
        FROM product CROSS JOIN LATERAL ({_IMAGE_COUNTS}) AS done
        CROSS JOIN LATERAL ({_IMAGE_ERRORS}) AS failed
    ), forgotten AS (
        UPDATE processor_jobs AS job
        SET status = CASE job.status WHEN 'sent' THEN 'cancelled' ELSE job.status END, used = true
        FROM fact
        WHERE job.request_id = fact.request_id AND job.seq = fact.seq
    ), reopened AS (
        UPDATE products
        SET status = 'PENDING', attempts = 0, next_attempt_at = now(), failed_images = 0,
            images = fact.kept
        FROM fact
        WHERE products.request_id = fact.request_id AND products.seq = fact.seq
        RETURNING products.seq
    ), taken AS (
        SELECT seq % {SHARDS} AS shard,
               count(*) FILTER (WHERE status = 'COMPLETED') AS processed_products,
               count(*) FILTER (WHERE status = 'FAILED') AS failed_products,
               count(*) FILTER (WHERE status = 'CANCELLED') AS cancelled_products,
               sum_counts(errors) FILTER (WHERE errors <> '{{}}') AS errors,
               {_IMAGE_SUMS}
        FROM fact GROUP BY seq % {SHARDS}
    ), before AS (
        SELECT * FROM request_shards
        WHERE request_id = :request_id AND shard IN (SELECT shard FROM taken) ORDER BY shard
        FOR UPDATE
    ), shard AS (
        UPDATE request_shards AS shard
        SET {", ".join(f"{name} = shard.{name} - taken.{name}" for name in COUNTERS)},
            errors = subtract_counts(shard.errors, taken.errors), updated_at = now()
        FROM taken
        WHERE shard.request_id = :request_id AND shard.shard = taken.shard
    ), rolled AS (
        SELECT count(*) AS shards, {_SUMS}, sum_counts(errors) AS errors FROM before
    )
    UPDATE requests AS request
    SET {", ".join(f"{name} = request.{name} - rolled.{name}" for name in COUNTERS)},
        errors = subtract_counts(request.errors, rolled.errors),
        open_shards = rolled.shards, run = run + 1, status = 'PENDING', outcome = NULL,
        completed_at = NULL,
        cancel_requested_at = NULL, dispatch_cursor = total_products, updated_at = now()
    FROM rolled
    WHERE request.id = :request_id AND rolled.shards > 0
    """  # noqa: S608 - the parts are this module's constants
)


def reopen_request(connection: Connection, request_id: UUID, code: str | None = None) -> bool:
    """Start an ended request again with its failed and cancelled products; False if it has none.

    With `code`, only products with an image that failed with this error code. Images that succeeded
    stay, with their names. Runs in the caller's transaction, which holds the request's row.
    """
    parameters = {"request_id": request_id, "code": code}
    return connection.execute(_REOPEN, parameters).rowcount == 1
