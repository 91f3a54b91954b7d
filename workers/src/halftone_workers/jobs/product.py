"""A product, from its message to its settlement, in one of Dramatiq's threads: claim, attempt its
images, settle.

Claims and settlements that come while another one is with the database share the next statement: a
statement and its commit cost more than what they do for one product.
"""

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from halftone_shared.db.barrier import Settled, settle_products
from halftone_shared.db.products import Claim, claim_products, hand_back_product, postpone_product
from halftone_shared.model.options import UnknownOption
from halftone_shared.model.results import ImageResult, ProductKey, ProductResult
from halftone_shared.model.states import Status
from halftone_shared.runtime.tracing import mark_failed, span
from halftone_workers.jobs.admission import Admission
from halftone_workers.jobs.batching import Batched, Call
from halftone_workers.jobs.image import ImageAttempt, attempt_images
from halftone_workers.metrics import POSTPONED, PRODUCTS, count_images
from halftone_workers.runtime import Runtime, Stopping

log = structlog.get_logger(__name__)

FIRST_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 300.0
# How long a product with an option that this worker does not know waits for a newer worker, and
# how often the log says so.
NEWER_WORKER_SECONDS = 10.0
NEWER_WARNING_SECONDS = 60.0

Attempts = Sequence[ImageAttempt | None]
_Write = Callable[[Connection, Sequence[Any]], Sequence[Any]]


class _Statement(NamedTuple):
    """What is to be done to a product: `write` does it to several of one request at once."""

    write: _Write
    request_id: UUID
    what: Any


class ProductJobs:
    """The products of this worker; its threads call process() side by side."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._admission = Admission(
            runtime.settings.products_at_once,
            runtime.settings.most_products_at_once,
            runtime.wants_more_images,
        )
        self._statements: Batched[_Statement, Any] = Batched(self._execute)
        self._is_stopping = False
        self._next_newer_warning = time.monotonic()

    def stop(self) -> None:
        """Begin nothing more: products that wait for their turn are not done."""
        self._is_stopping = True

    def process(self, key: ProductKey) -> None:
        """Do what is due of a product, and return when it is recorded. Nothing, when another worker
        has it or it has ended: messages come more than once. Raises Stopping.
        """
        with self._admission.admitted(key.request_id):
            if self._is_stopping:
                raise Stopping
            claim: Claim | None = self._statements.do(
                _Statement(claim_products, key.request_id, key)
            )
            if claim is not None:
                self._attempt(claim)

    def _attempt(self, claim: Claim) -> None:
        key = claim.key
        facts = {"halftone.seq": key.seq, "halftone.attempt": claim.attempt}
        with (
            self._runtime.leases.held(claim),
            _bound(claim),
            span("product", key.request_id, **facts),
        ):
            try:
                attempts = attempt_images(self._runtime, claim)
            except UnknownOption as newer:
                self._leave_to_a_newer_worker(claim, newer)
                return
            if (delay := self._delay_seconds(claim, attempts)) is None:
                self._settle(
                    claim, ProductResult([attempt.result for attempt in attempts if attempt])
                )
            else:
                self._postpone(claim, attempts, delay)

    def _settle(self, claim: Claim, result: ProductResult) -> None:
        settled: Settled = self._statements.do(
            _Statement(settle_products, claim.key.request_id, (claim, result))
        )
        if result.status is Status.FAILED:
            mark_failed("No image succeeded.")
        if settled.counted:
            PRODUCTS.labels(result.status).inc()
            count_images(_ended_now(claim, result.images))
            log.info(
                "product settled",
                status=result.status,
                images=result.processed_images,
                failed_images=result.failed_images,
                bytes_in=result.bytes_in,
                bytes_out=result.bytes_out,
            )
        else:
            _log_void()
        if settled.ended:
            log.info("request ended")

    def _leave_to_a_newer_worker(self, claim: Claim, newer: UnknownOption) -> None:
        """Hand the product back: an API newer than this worker has stored an option for it."""
        delay = NEWER_WORKER_SECONDS * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
        self._runtime.persist(
            lambda connection: hand_back_product(connection, claim, delay_seconds=delay)
        )
        POSTPONED.labels("newer").inc()
        if time.monotonic() >= self._next_newer_warning:
            self._next_newer_warning = time.monotonic() + NEWER_WARNING_SECONDS
            log.warning("product is newer than this worker", option=newer.option)

    def _delay_seconds(self, claim: Claim, attempts: Attempts) -> float | None:
        """In how many seconds to try again; None when the product has ended."""
        if None in attempts:
            return 0.0
        may_pass = _may_pass(attempts)
        if not may_pass or claim.attempt >= self._runtime.settings.max_attempts:
            return None
        return max(
            backoff_seconds(claim.attempt), *(attempt.retry_after_seconds for attempt in may_pass)
        )

    def _postpone(self, claim: Claim, attempts: Attempts, delay: float) -> None:
        """Give the product back: some of its images may do better another time, or the worker is
        stopping.
        """
        stopping = None in attempts
        done = [
            None if attempt is None or attempt.may_pass else attempt.result for attempt in attempts
        ]
        if not self._runtime.persist(
            lambda connection: postpone_product(
                connection, claim, done, delay_seconds=delay, counted=not stopping
            )
        ):
            _log_void()
            return
        count_images(_ended_now(claim, done))
        POSTPONED.labels("stopping" if stopping else "retry").inc()
        if stopping:
            log.info("product handed back", reason="the worker is stopping")
        else:
            codes = sorted(
                {
                    attempt.result.error.code
                    for attempt in _may_pass(attempts)
                    if attempt.result.error
                }
            )
            log.info("product postponed", seconds=round(delay, 1), codes=codes)

    def _execute(self, calls: Sequence[Call["_Statement", Any]]) -> None:
        """One statement for all that is to be done to the products of a request."""
        together: defaultdict[tuple[_Write, UUID], list[Call[_Statement, Any]]] = defaultdict(list)
        for call in calls:
            together[call.item.write, call.item.request_id].append(call)
        for (write, _), some in together.items():
            self._write(write, some)

    def _write(self, write: "_Write", calls: Sequence[Call["_Statement", Any]]) -> None:
        """Where it is refused for several, each is tried by itself: what is wrong with one costs
        that one.
        """
        try:
            results = self._runtime.persist(
                lambda connection: write(connection, [call.item.what for call in calls])
            )
        except Exception as error:  # noqa: BLE001 - it is raised where the call was made
            if len(calls) > 1 and isinstance(error, SQLAlchemyError):
                for call in calls:
                    self._write(write, [call])
                return
            for call in calls:
                call.set_exception(error)
        else:
            for call, result in zip(calls, results, strict=True):
                call.set_result(result)


def _ended_now(claim: Claim, results: Sequence[ImageResult | None]) -> list[ImageResult]:
    """Without those that had ended before this attempt: each is counted once, however often its
    product is tried.
    """
    return [now for now, before in zip(results, claim.done, strict=True) if now and before is None]


def _log_void() -> None:
    log.info("product not settled", reason="it was cancelled, or another attempt has it")


def _may_pass(attempts: Attempts) -> list[ImageAttempt]:
    return [attempt for attempt in attempts if attempt and attempt.may_pass]


@contextmanager
def _bound(claim: Claim) -> Iterator[None]:
    """What is logged in this block says which product it is about."""
    with structlog.contextvars.bound_contextvars(
        x_request_id=claim.trace_id,
        request_id=str(claim.key.request_id),
        seq=claim.key.seq,
        attempt=claim.attempt,
    ):
        yield


def backoff_seconds(attempt: int) -> float:
    """How long to wait after the `attempt`-th attempt (from 1): doubling, spread by ± 25 %, so that
    failures do not return together.
    """
    delay = min(FIRST_BACKOFF_SECONDS * 2.0 ** (attempt - 1), MAX_BACKOFF_SECONDS)
    return delay * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
