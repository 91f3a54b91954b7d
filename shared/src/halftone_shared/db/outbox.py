"""The products table is the outbox: which products to hand out next, and which were lost on the
way.

Fresh products are found by their request's `dispatch_cursor`, products due again by
`next_attempt_at`. Neither look-up slows down with a million other products. Taking a product sets
its lease. If the message never arrives, the product is handed out again when the lease ends. Any
number of dispatchers may run: each takes the requests that no other has locked.
"""

from collections import Counter
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine, text

from halftone_shared.db.barrier import settle_product
from halftone_shared.db.engine import driver_statement
from halftone_shared.db.products import Claim, stored_results
from halftone_shared.db.tables import FINAL
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.results import ImageError, ImageResult, ProductKey, ProductResult

log = structlog.get_logger(__name__)

# How long a message may take to reach a worker before its product is handed out again.
DISPATCH_LEASE_SECONDS = 20
# Each round serves at most this many requests: those that were served longest ago.
REQUESTS_A_ROUND = 200


@dataclass(frozen=True)
class EventKey:
    """A webhook event and the attempt that is due."""

    event_id: UUID
    attempt: int


# Round robin: the first product of every owner, then the second of every owner, up to `room`.
# Within an owner, the first product of every request, then the second. If `room` is too small for
# one product each, the requests served longest ago come first. Only this statement locks a request
# before its products, so it must never wait for a product (SKIP LOCKED). Locking a row reads its
# newest version: `active` has the current cursor even if another dispatcher moved it after this
# statement began, and `held` leaves out products that another has leased since.
_TAKE = driver_statement(
    f"""
    WITH waiting AS (
        SELECT id, served_at,
               row_number() OVER (PARTITION BY owner_id ORDER BY served_at NULLS FIRST, id) AS turn
        FROM requests AS r
        WHERE r.status NOT IN {FINAL} AND r.cancel_requested_at IS NULL
          AND (r.held_until IS NULL OR r.held_until <= now())
          AND (r.dispatch_cursor < r.total_products OR EXISTS (
              SELECT FROM products AS p
              WHERE p.request_id = r.id AND p.next_attempt_at <= now() AND p.lease_until IS NULL))
        ORDER BY turn, served_at NULLS FIRST, id
        LIMIT :requests
    ), active AS (
        SELECT id, owner_id, dispatch_cursor, served_at FROM requests AS r
        WHERE r.id = ANY(ARRAY(SELECT id FROM waiting))
          AND r.status NOT IN {FINAL} AND r.cancel_requested_at IS NULL
        ORDER BY r.served_at NULLS FIRST, r.id
        FOR NO KEY UPDATE SKIP LOCKED
    ), candidate AS (
        SELECT turn.*, r.owner_id, r.served_at, row_number() OVER (
                   PARTITION BY r.owner_id ORDER BY turn.turn, r.served_at NULLS FIRST, r.id
               ) AS owner_turn
        FROM active AS r
        CROSS JOIN LATERAL (
            SELECT r.id AS request_id, seq, row_number() OVER (ORDER BY fresh, seq) AS turn, fresh
            FROM (
                (SELECT seq, false AS fresh FROM products AS p
                 WHERE p.request_id = r.id AND p.next_attempt_at <= now() AND p.lease_until IS NULL
                 ORDER BY p.next_attempt_at LIMIT :room)
                UNION ALL
                (SELECT seq, true AS fresh FROM products AS p
                 WHERE p.request_id = r.id AND p.seq > r.dispatch_cursor
                 ORDER BY p.seq LIMIT :room)
            ) AS candidate LIMIT :room
        ) AS turn
    ), due AS (
        SELECT * FROM candidate
        ORDER BY owner_turn, served_at NULLS FIRST, request_id
        LIMIT :room
    ), served AS (
        UPDATE requests SET served_at = clock_timestamp(),
            dispatch_cursor = greatest(dispatch_cursor, taken.last_fresh)
        FROM (SELECT request_id, max(seq) FILTER (WHERE fresh) AS last_fresh
              FROM due GROUP BY request_id) AS taken
        WHERE requests.id = taken.request_id
    ), held AS (
        SELECT product.request_id, product.seq, due.owner_id, due.owner_turn
        FROM products AS product JOIN due USING (request_id, seq)
        WHERE product.status = 'PENDING' AND product.lease_until IS NULL
        FOR NO KEY UPDATE OF product SKIP LOCKED
    )
    UPDATE products SET lease_until = clock_timestamp() + make_interval(secs => :lease_seconds)
    FROM held
    WHERE products.request_id = held.request_id AND products.seq = held.seq
    RETURNING products.request_id, products.seq, held.owner_id, held.owner_turn
    """  # noqa: S608 - a constant
)


def take_due_products(engine: Engine, room: int) -> list[ProductKey]:
    """Lease up to `room` due products for DISPATCH_LEASE_SECONDS, commit, and return them to
    publish. They are shared fairly among the owners and their requests.
    """
    if room <= 0:
        return []
    with engine.connect() as connection:  # one statement: one transaction, one round trip
        taken = list(
            connection.exec_driver_sql(
                _TAKE,
                {
                    "requests": REQUESTS_A_ROUND,
                    "room": room,
                    "lease_seconds": DISPATCH_LEASE_SECONDS,
                },
            )
        )
    # Owners with the fewest products go first, and within an owner the requests with the fewest.
    # This delays the others only briefly.
    owners = Counter(row.owner_id for row in taken)
    shares = Counter(row.request_id for row in taken)
    taken.sort(key=lambda row: (owners[row.owner_id], shares[row.request_id], row.owner_turn))
    return [ProductKey(row.request_id, row.seq) for row in taken]


_RETURN = text(
    """
    UPDATE products
    SET lease_until = NULL, next_attempt_at = now() + make_interval(secs => :delay_seconds)
    WHERE request_id = :request_id AND seq = :seq AND status = 'PENDING'
    """
)
# A shorter pause never replaces a longer one. A pause with more than half of this time left is not
# extended.
_HOLD = text(
    """
    UPDATE requests SET held_until = now() + make_interval(secs => :seconds)
    WHERE id = :request_id
      AND (held_until IS NULL OR held_until < now() + make_interval(secs => :seconds / 2))
    """
)


def return_message(connection: Connection, key: ProductKey, delay_seconds: float) -> None:
    """Make a product that was published but not claimed due again after the delay, and pause its
    request for as long. A product that was claimed in the meantime is left alone.
    """
    parameters = {"request_id": key.request_id, "seq": key.seq, "delay_seconds": delay_seconds}
    connection.execute(_RETURN, parameters)
    hold_request(connection, key.request_id, delay_seconds)


def hold_request(connection: Connection, request_id: UUID, seconds: float) -> None:
    """Hand out no more products of this request for so many seconds."""
    connection.execute(_HOLD, {"request_id": request_id, "seconds": seconds})


# Owners take turns. Many due events of one owner, as after its receiver was down, do not delay the
# events of others.
_TAKE_EVENTS = text(
    """
    UPDATE webhook_events AS event
    SET lease_until = clock_timestamp() + make_interval(secs => :lease_seconds)
    FROM (
        SELECT id FROM webhook_events
        WHERE id = ANY(ARRAY(
            SELECT id FROM (
                SELECT event.id, event.next_attempt_at, row_number() OVER (
                    PARTITION BY request.owner_id ORDER BY event.next_attempt_at) AS turn
                FROM webhook_events AS event JOIN requests AS request
                    ON request.id = event.request_id
                WHERE event.status = 'pending' AND event.next_attempt_at <= now()
                  AND (event.lease_until IS NULL OR event.lease_until < now())
            ) AS waiting ORDER BY turn, next_attempt_at LIMIT :room))
          AND status = 'pending' AND next_attempt_at <= now()
          AND (lease_until IS NULL OR lease_until < now())
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS due
    WHERE event.id = due.id
    RETURNING event.id, event.attempts + 1 AS attempt
    """
)


def take_due_events(connection: Connection, room: int) -> list[EventKey]:
    """Lease up to `room` due webhook events for DISPATCH_LEASE_SECONDS and return them to publish.
    Owners take turns.
    """
    rows = connection.execute(
        _TAKE_EVENTS, {"room": room, "lease_seconds": DISPATCH_LEASE_SECONDS}
    ).all()
    return [EventKey(row.id, row.attempt) for row in rows]


# If the message was lost, it is sent again. If the worker died, the product is due again unless
# that was its last attempt.
_FREE_EXPIRED = text(
    """
    UPDATE products SET status = 'PENDING', lease_until = NULL, away = false,
        next_attempt_at = coalesce(next_attempt_at, now())
    FROM (
        SELECT request_id, seq FROM products
        WHERE lease_until < now() AND (status = 'PENDING' OR attempts < :max_attempts)
        ORDER BY lease_until LIMIT :room FOR NO KEY UPDATE SKIP LOCKED
    ) AS expired
    WHERE products.request_id = expired.request_id AND products.seq = expired.seq
    """
)

# The dispatcher claims the product itself. A worker that was only late finds its claim void, unless
# it renewed its lease first.
_CLAIM_EXHAUSTED = text(
    """
    UPDATE products SET claims = claims + 1,
        lease_until = clock_timestamp() + make_interval(secs => :lease_seconds)
    FROM (
        SELECT request_id, seq FROM products
        WHERE lease_until < now() AND status = 'PROCESSING' AND attempts >= :max_attempts
        ORDER BY lease_until LIMIT :room FOR NO KEY UPDATE SKIP LOCKED
    ) AS exhausted
    WHERE products.request_id = exhausted.request_id AND products.seq = exhausted.seq
    RETURNING products.request_id, products.seq, claims, attempts, input_image_urls, output_files,
              images,
              (SELECT image_key FROM requests WHERE id = products.request_id) AS image_key,
              (SELECT trace_id FROM requests WHERE id = products.request_id) AS trace_id
    """
)


def free_expired(connection: Connection, *, max_attempts: int, room: int = 1000) -> int:
    """Make products due again whose message or worker was lost, and return their number. Products
    without attempts left are settled: their unfinished images fail.
    """
    exhausted = {
        "max_attempts": max_attempts,
        "room": room,
        "lease_seconds": DISPATCH_LEASE_SECONDS,
    }
    for row in connection.execute(_CLAIM_EXHAUSTED, exhausted).all():
        done = stored_results(row.input_image_urls, row.images, row.output_files)
        key = ProductKey(row.request_id, row.seq)
        claim = Claim(
            key,
            row.claims,
            row.attempts,
            row.input_image_urls,
            done,
            {},
            row.image_key,
            None,
            row.trace_id,
        )
        _settle_exhausted(connection, claim)
    return connection.execute(_FREE_EXPIRED, {"max_attempts": max_attempts, "room": room}).rowcount


def _settle_exhausted(connection: Connection, claim: Claim) -> None:
    lost = ImageResult(
        error=ImageError(
            ImageErrorCode.INTERNAL,
            f"The worker was lost in the last of {claim.attempt} attempts at this product.",
            retryable=True,
        )
    )
    result = ProductResult([done or lost for done in claim.done])
    settled = settle_product(connection, claim, result)
    about = {
        "request_id": str(claim.key.request_id),
        "seq": claim.key.seq,
        "x_request_id": claim.trace_id,
    }
    if settled.counted:
        log.error(
            "product given up",
            attempts=claim.attempt,
            reason="its worker was lost in the last attempt",
            **about,
        )
    if settled.ended:
        log.info("request ended", **about)


@dataclass(frozen=True)
class Agenda:
    """Whether any request is running, and the seconds until the next webhook event is due (0: now;
    None: no event is pending).
    """

    active: bool
    event_seconds: float | None


_AGENDA = driver_statement(
    f"""
    SELECT EXISTS (SELECT FROM requests WHERE status NOT IN {FINAL}) AS active,
           (SELECT extract(epoch FROM min(greatest(next_attempt_at, lease_until)) - now())::float
            FROM webhook_events WHERE status = 'pending') AS event_seconds
    """  # noqa: S608 - a constant
)


def read_agenda(connection: Connection) -> Agenda:
    row = connection.exec_driver_sql(_AGENDA).one()
    return Agenda(row.active, None if row.event_seconds is None else max(row.event_seconds, 0.0))
