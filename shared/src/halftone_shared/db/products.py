"""Queries of workers on products: claiming, renewing leases, postponing, handing back.

A product goes PENDING → (claim) PROCESSING → (barrier.py) COMPLETED | FAILED | CANCELLED. Each
claim has a fencing token. Once a product is claimed again or cancelled, every change under an older
token is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ARRAY, Connection, Text, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from halftone_shared.db.engine import driver_statement
from halftone_shared.model.results import ImageResult, ProductKey
from halftone_shared.model.states import WaitReason
from halftone_shared.model.stored_json import StoredJson

# A worker that does not renew its lease for this long counts as dead; it renews after a quarter of
# that time. Leases start at clock_timestamp(), not now(), because the statement may have waited for
# a lock since now().
WORK_LEASE_SECONDS = 20
RENEW_EVERY_SECONDS = 5


@dataclass(frozen=True)
class Claim:
    """A product that this worker holds. `done` has an entry per image: its result from an earlier
    attempt, or None.

    `token` is unique to this claim. `attempt` counts from 1, and starts again at 1 after a retry.
    """

    key: ProductKey
    token: int
    attempt: int
    input_image_urls: list[str]
    done: list[ImageResult | None]
    options: StoredJson
    image_key: UUID
    output_names: list[str] | None = None
    trace_id: str | None = None
    owner_id: UUID | None = None
    fresh: bool = False


# The first claim sets the request to PROCESSING, or a later one if a dispatcher has the row locked
# at that moment. Rows are found by arrays, not by a join: a join planned for few products would
# read all of them (25 ms for 4 of 50,000).
_CLAIM = driver_statement(
    """
    WITH wanted AS (
        SELECT seq FROM products
        WHERE request_id = :request_id AND seq = ANY(:seqs)
          AND status = 'PENDING' AND (next_attempt_at IS NULL OR next_attempt_at <= now())
        ORDER BY seq FOR NO KEY UPDATE
    ), claimed AS (
        UPDATE products
        SET status = 'PROCESSING', away = false, claims = claims + 1, attempts = attempts + 1,
            next_attempt_at = NULL, waiting_host = NULL, waiting_reason = NULL,
            lease_until = clock_timestamp() + make_interval(secs => :lease_seconds)
        WHERE request_id = :request_id AND seq = ANY(ARRAY(SELECT seq FROM wanted))
        RETURNING request_id, seq, claims, attempts, input_image_urls, output_names, output_files,
                  images
    ), started AS (
        UPDATE requests SET status = 'PROCESSING', started_at = coalesce(started_at, now()),
            updated_at = now()
        WHERE id IN (SELECT id FROM requests
                     WHERE id IN (SELECT request_id FROM claimed) AND status = 'PENDING'
                     FOR NO KEY UPDATE SKIP LOCKED)
    )
    SELECT claimed.*, requests.options, requests.image_key, requests.trace_id,
           requests.owner_id, requests.fresh
    FROM claimed JOIN requests ON requests.id = claimed.request_id
    """
)


def claim_products(connection: Connection, keys: Sequence[ProductKey]) -> list[Claim | None]:
    """Claim products of one request for WORK_LEASE_SECONDS and count an attempt for each. Claims
    are in the order of the keys.

    None for a product that cannot be claimed: the message was a duplicate, the product has ended,
    or it is not due yet.
    """
    parameters = {
        "request_id": keys[0].request_id,
        "seqs": [key.seq for key in keys],
        "lease_seconds": WORK_LEASE_SECONDS,
    }
    rows = connection.exec_driver_sql(_CLAIM, parameters).all()
    claims = {
        ProductKey(row.request_id, row.seq): Claim(
            ProductKey(row.request_id, row.seq),
            row.claims,
            row.attempts,
            row.input_image_urls,
            stored_results(row.input_image_urls, row.images, row.output_files),
            row.options,
            row.image_key,
            row.output_names,
            row.trace_id,
            row.owner_id,
            row.fresh,
        )
        for row in rows
    }
    # pop: of two messages for the same product in one batch, one gets the claim.
    return [claims.pop(key, None) for key in keys]


def stored_results(
    input_image_urls: Sequence[str],
    images: Sequence[StoredJson | None] | None,
    files: Sequence[str | None] | None,
) -> list[ImageResult | None]:
    """Results from a product's columns `images` and `output_files`: one entry per input URL, None
    for an image that has not ended.
    """
    if images is None or files is None:
        return [None] * len(input_image_urls)
    return [
        None if stored is None else ImageResult.from_json(stored, file)
        for stored, file in zip(images, files, strict=True)
    ]


_RENEW = text(
    """
    UPDATE products SET lease_until = clock_timestamp() + make_interval(secs => :lease_seconds),
        waiting_host = held.host, waiting_reason = CASE WHEN held.host IS NOT NULL THEN 'slow' END
    FROM (
        SELECT request_id, seq, claim.host
        FROM unnest(CAST(:request_ids AS uuid[]), CAST(:seqs AS int[]), CAST(:tokens AS int[]),
                    CAST(:hosts AS text[])) AS claim(request_id, seq, token, host)
        JOIN products AS product USING (request_id, seq)
        WHERE product.claims = claim.token AND product.status = 'PROCESSING'
        ORDER BY request_id, seq FOR NO KEY UPDATE OF product
    ) AS held
    WHERE products.request_id = held.request_id AND products.seq = held.seq
    RETURNING products.request_id, products.seq
    """
)


@dataclass(frozen=True)
class Renewal:
    """A claim to renew. `waiting_host` is the host that its product is waiting for."""

    claim: Claim
    waiting_host: str | None = None


def renew_leases(connection: Connection, renewals: Sequence[Renewal]) -> set[ProductKey]:
    """Extend the leases to WORK_LEASE_SECONDS from now. Returns the products that this worker still
    holds; the others are not changed.
    """
    if not renewals:
        return set()
    claims = [renewal.claim for renewal in renewals]
    rows = connection.execute(
        _RENEW,
        {
            "lease_seconds": WORK_LEASE_SECONDS,
            "request_ids": [claim.key.request_id for claim in claims],
            "seqs": [claim.key.seq for claim in claims],
            "tokens": [claim.token for claim in claims],
            "hosts": [renewal.waiting_host for renewal in renewals],
        },
    )
    return {ProductKey(row.request_id, row.seq) for row in rows}


# A pause that has ended meanwhile delays nothing. FOR KEY SHARE: see resume_host().
_POSTPONE = text(
    """
    WITH paused AS MATERIALIZED (
        SELECT FROM paused_hosts
        WHERE :waiting_reason = 'paused' AND host = :waiting_host FOR KEY SHARE
    )
    UPDATE products
    SET status = 'PENDING', lease_until = NULL,
        next_attempt_at = now() + make_interval(secs => CASE
            WHEN :waiting_reason = 'paused' AND NOT EXISTS (SELECT FROM paused) THEN 0
            ELSE :delay_seconds END),
        images = :images, output_files = :files, attempts = attempts - :uncounted,
        waiting_host = :waiting_host, waiting_reason = :waiting_reason
    WHERE request_id = :request_id AND seq = :seq AND status = 'PROCESSING' AND claims = :token
    """
).bindparams(bindparam("images", type_=JSONB), bindparam("files", type_=ARRAY(Text)))


def postpone_product(
    connection: Connection,
    claim: Claim,
    done: Sequence[ImageResult | None],
    *,
    delay_seconds: float,
    counted: bool = True,
    waiting_for: tuple[str, WaitReason] | None = None,
) -> bool:
    """Give a product back, due again after the delay. Results in `done` are kept; the next attempt
    tries only the other images. False if the claim is void.

    `counted=False` does not count the attempt: the worker is stopping, or the product was not tried
    because it waits for a host. `waiting_for` is that host and the reason, for the client to read.
    """
    waiting_host, waiting_reason = waiting_for or (None, None)
    postponed = connection.execute(
        _POSTPONE,
        {
            "request_id": claim.key.request_id,
            "seq": claim.key.seq,
            "token": claim.token,
            "delay_seconds": delay_seconds,
            "uncounted": 0 if counted else 1,
            "waiting_host": waiting_host,
            "waiting_reason": waiting_reason,
            "images": [None if result is None else result.to_json() for result in done],
            "files": [None if result is None else result.file for result in done],
        },
    )
    return postponed.rowcount == 1


_HAND_BACK = text(
    """
    UPDATE products
    SET status = 'PENDING', lease_until = NULL, attempts = attempts - 1,
        next_attempt_at = now() + make_interval(secs => :delay_seconds)
    WHERE request_id = :request_id AND seq = :seq AND status = 'PROCESSING' AND claims = :token
    """
)


def hand_back_product(connection: Connection, claim: Claim, *, delay_seconds: float) -> bool:
    """Give a product back as it was claimed, due again after the delay; the attempt does not count.

    For a product that this worker could not begin. False if the claim is void.
    """
    handed_back = connection.execute(
        _HAND_BACK,
        {
            "request_id": claim.key.request_id,
            "seq": claim.key.seq,
            "token": claim.token,
            "delay_seconds": delay_seconds,
        },
    )
    return handed_back.rowcount == 1
