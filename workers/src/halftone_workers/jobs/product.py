"""A product, from its message to its settlement: wait for a place, claim, attempt its images,
settle.

Claims and settlements that arrive while a statement runs share the next statement: the overhead of
a statement and its commit exceeds the work for one product.
"""

import random
import threading
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import UUID

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from halftone_shared.db.barrier import Settled, settle_products
from halftone_shared.db.outbox import hold_request, return_message
from halftone_shared.db.processor_jobs import send_away
from halftone_shared.db.products import Claim, claim_products, hand_back_product, postpone_product
from halftone_shared.db.requests import owner_of
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.options import ImageOptions, UnknownOption
from halftone_shared.model.results import ImageError, ImageResult, ProductKey, ProductResult
from halftone_shared.model.states import Status, WaitReason
from halftone_shared.runtime.tracing import mark_failed, span
from halftone_workers.jobs.active_product import ActiveProduct, Claimed, Waiting
from halftone_workers.jobs.admission import MAX_ACTIVE, Admission, Place
from halftone_workers.jobs.batching import Batched, Call
from halftone_workers.jobs.image import ImageAttempt, attempt_images
from halftone_workers.jobs.unchanged import Unchanged, find_earlier, remember
from halftone_workers.metrics import POSTPONED, PRODUCTS, WAITING_FOR_NETWORK, count_images
from halftone_workers.runtime import Runtime, Stopping
from halftone_workers.sharing import Who

log = structlog.get_logger(__name__)

FIRST_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 300.0
# How long a product with an option that this worker does not know waits for a newer worker, and
# the minimum interval between log warnings about it.
NEWER_WORKER_SECONDS = 10.0
NEWER_WARNING_SECONDS = 60.0

# A product that this worker has no place for is delivered again after this time.
RETURN_SECONDS = 0.25
# After FRUITLESS_IN_A_ROW products of a request that only waited, the request is paused.
FRUITLESS_IN_A_ROW = 64
FRUITLESS_PAUSE_SECONDS = 0.5
OWNERS_KNOWN = 10_000

Attempts = Sequence[ImageAttempt | None]
_Write = Callable[[Connection, Sequence[Any]], Sequence[Any]]


class _Statement(NamedTuple):
    """A change to one product. `write` applies it to several products of one request at once."""

    write: _Write
    request_id: UUID
    what: Any


class ProductJobs:
    """The products of this worker. Actor threads call accept(); each product then runs in its own
    thread.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        settings = runtime.settings
        self._admission = Admission(settings.products_at_once, settings.product_messages)
        self._statements: Batched[_Statement, Any] = Batched(self._execute)
        self._owners = Owners(runtime)
        self._fruitless = Fruitless()
        self._threads = ThreadPoolExecutor(MAX_ACTIVE, thread_name_prefix="product")
        self._is_stopping = False
        self._next_newer_warning = time.monotonic()
        WAITING_FOR_NETWORK.set_function(lambda: self._admission.waiting_for_network)

    def stop(self) -> None:
        """Start no further product. Products that wait for their turn go back to the queue."""
        self._is_stopping = True

    def close(self) -> None:
        """Wait until the running products have ended."""
        self._threads.shutdown()

    def accept(self, key: ProductKey) -> "Future[None] | None":
        """Wait for a place, then process the product in another thread.

        The message may then be acknowledged: once the product is claimed, its lease protects it.
        Returns None if the product will be delivered again later. Raises Stopping.
        """
        who = self._owners.of(key.request_id)
        place = self._admission.enter(who)
        if place is None:
            self._runtime.persist(
                lambda connection: return_message(connection, key, RETURN_SECONDS)
            )
            POSTPONED.labels("share").inc()
            return None
        if self._is_stopping:
            place.end()
            raise Stopping
        return self._threads.submit(self._process, key, place)

    def process(self, key: ProductKey) -> None:
        """Process a product, and return when the outcome is recorded.

        Messages may be delivered more than once: does nothing if the product has ended or another
        worker has claimed it. Raises Stopping.
        """
        if accepted := self.accept(key):
            accepted.result()

    def _process(self, key: ProductKey, place: Place) -> None:
        try:
            if not self._runtime.storage_gate.wait(lambda: self._is_stopping):
                raise Stopping
            claimed: Claimed | _NewerThanWorker | None = self._statements.do(
                _Statement(_claim_together, key.request_id, key)
            )
            if isinstance(claimed, Claimed):
                self._attempt(ActiveProduct(claimed, place.who, place.leave))
            elif claimed is not None:
                with _bound(claimed.claim):
                    self._leave_to_a_newer_worker(claimed)
        except Stopping:
            raise
        except Exception:
            log.exception(
                "product failed unexpectedly", request_id=str(key.request_id), seq=key.seq
            )
            raise
        finally:
            place.end()

    def _attempt(self, product: ActiveProduct) -> None:
        claim = product.claim
        key = claim.key
        facts = {"halftone.seq": key.seq, "halftone.attempt": claim.attempt}
        with (
            self._runtime.leases.held(product),
            _bound(claim),
            span("product", key.request_id, **facts),
        ):
            attempts = attempt_images(self._runtime, product)
            if product.is_void:
                self._remember(product)
                _log_void()
                POSTPONED.labels("void").inc()
                return
            if product.is_late:
                attempts = [attempt or self._late() for attempt in attempts]
            if any(attempt is not None and attempt.is_away for attempt in attempts):
                self._let_go(product, attempts)
            elif (delay := self._delay_seconds(claim, attempts)) is None:
                self._settle(
                    product, ProductResult([attempt.result for attempt in attempts if attempt])
                )
            else:
                self._postpone(product, attempts, delay)

    def _let_go(self, product: ActiveProduct, attempts: Attempts) -> None:
        """Release the product until the external service has finished its images."""
        claim = product.claim
        self._remember(product)
        done = [
            None if attempt is None or attempt.is_away or attempt.may_pass else attempt.result
            for attempt in attempts
        ]

        if not self._runtime.persist_together(
            lambda connection: send_away(connection, claim, done)
        ):
            _log_void()
            return
        self._fruitless.end_row(claim.key.request_id)
        count_images(_ended_now(claim, done))
        POSTPONED.labels("away").inc()
        log.info("product is with the image processing service")

    def _remember(self, product: ActiveProduct) -> None:
        self._runtime.persist(lambda connection: remember(connection, [product.unchanged]))

    def _late(self) -> ImageAttempt:
        seconds = self._runtime.settings.product_timeout_seconds
        message = f"The product's images were not done within {seconds:g} s."
        error = ImageError(ImageErrorCode.TIMEOUT, message, retryable=True)
        return ImageAttempt(ImageResult(error=error))

    def _settle(self, product: ActiveProduct, result: ProductResult) -> None:
        claim = product.claim
        settled: Settled = self._statements.do(
            _Statement(_settle_together, claim.key.request_id, (product, result))
        )
        if result.status is Status.FAILED:
            mark_failed("No image succeeded.")
        self._fruitless.end_row(claim.key.request_id)
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

    def _leave_to_a_newer_worker(self, newer: "_NewerThanWorker") -> None:
        """Hand the product back: an API newer than this worker has stored an option for it."""
        claim = newer.claim
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
        if not may_pass:
            return None
        asked = max(attempt.retry_after_seconds for attempt in may_pass)
        if _is_paused(may_pass) or not _was_tried(may_pass):
            return asked
        if claim.attempt >= self._runtime.settings.max_attempts:
            return None
        return max(backoff_seconds(claim.attempt), asked)

    def _postpone(self, product: ActiveProduct, attempts: Attempts, delay: float) -> None:
        """Hand the product back: some of its images should be tried again, or the worker stops."""
        claim = product.claim
        is_stopping = None in attempts
        may_pass = _may_pass(attempts)
        done = [
            None if attempt is None or attempt.may_pass else attempt.result for attempt in attempts
        ]
        ended_now = _ended_now(claim, done)
        waiting = max(
            (attempt.waiting for attempt in may_pass if attempt.waiting),
            key=lambda waiting: waiting.seconds,
            default=None,
        )
        hold_seconds = self._fruitless.hold_seconds(claim.key.request_id, waiting, ended_now)

        def write(connection: Connection) -> bool:
            remember(connection, [product.unchanged])
            is_postponed = postpone_product(
                connection,
                claim,
                done,
                delay_seconds=delay,
                counted=not is_stopping and _was_tried(may_pass) and not _is_paused(may_pass),
                waiting_for=None if waiting is None else (waiting.host, waiting.reason),
            )
            if hold_seconds:
                hold_request(connection, claim.key.request_id, hold_seconds)
            return is_postponed

        if not self._runtime.persist(write):
            _log_void()
            return
        count_images(ended_now)
        reason = _reason(waiting, is_stopping=is_stopping, was_tried=_was_tried(may_pass))
        POSTPONED.labels(reason).inc()
        if is_stopping:
            log.info("product handed back", reason="the worker is stopping")
        else:
            codes = sorted(
                {attempt.result.error.code for attempt in may_pass if attempt.result.error}
            )
            log.info(
                "product postponed",
                seconds=round(delay, 1),
                codes=codes,
                waits_for=waiting.host if waiting else None,
            )

    def _execute(self, calls: Sequence[Call["_Statement", Any]]) -> None:
        """Run one statement for all changes of the same kind to the products of a request."""
        together: defaultdict[tuple[_Write, UUID], list[Call[_Statement, Any]]] = defaultdict(list)
        for call in calls:
            together[call.item.write, call.item.request_id].append(call)
        for (write, _), some in together.items():
            self._write(write, some)

    def _write(self, write: "_Write", calls: Sequence[Call["_Statement", Any]]) -> None:
        """If the statement fails for several products, run it for each one alone, so that a fault
        in one product fails only that product.
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


class _NewerThanWorker(NamedTuple):
    """A claim with an option that this worker does not know."""

    claim: Claim
    option: str


def _claim_together(
    connection: Connection, keys: Sequence[ProductKey]
) -> list[Claimed | _NewerThanWorker | None]:
    """Claim products of one request, and look up the earlier results of their images."""
    claimed = [
        None if claim is None else _with_options(claim)
        for claim in claim_products(connection, keys)
    ]
    find_earlier(connection, [one.unchanged for one in claimed if isinstance(one, Claimed)])
    return claimed


def _with_options(claim: Claim) -> Claimed | _NewerThanWorker:
    try:
        options = ImageOptions.from_json(claim.options)
    except UnknownOption as newer:
        return _NewerThanWorker(claim, newer.option)
    return Claimed(claim, options, Unchanged(claim, options))


def _settle_together(
    connection: Connection, settlements: Sequence[tuple[ActiveProduct, ProductResult]]
) -> list[Settled]:
    """Settle products of one request. Remember their images first: see remember()."""
    remember(connection, [product.unchanged for product, _ in settlements])
    return settle_products(connection, [(product.claim, result) for product, result in settlements])


def _ended_now(claim: Claim, results: Sequence[ImageResult | None]) -> list[ImageResult]:
    """Leave out images that had ended before this attempt: each image is counted once, however
    often its product is tried.
    """
    return [now for now, before in zip(results, claim.done, strict=True) if now and before is None]


def _log_void() -> None:
    log.info("product not settled", reason="it was cancelled, or another attempt has it")


def _was_tried(may_pass: Sequence[ImageAttempt]) -> bool:
    return any(attempt.was_tried for attempt in may_pass)


def _is_paused(may_pass: Sequence[ImageAttempt]) -> bool:
    """Whether an image waits for a paused host. The product then goes on waiting, whatever happened
    to its other images.
    """
    return any(
        attempt.waiting is not None and attempt.waiting.reason is WaitReason.PAUSED
        for attempt in may_pass
    )


def _reason(waiting: Waiting | None, *, is_stopping: bool, was_tried: bool) -> str:
    if is_stopping:
        return "stopping"
    if waiting is not None:
        return waiting.reason.value
    return "retry" if was_tried else "memory"


def _may_pass(attempts: Attempts) -> list[ImageAttempt]:
    return [attempt for attempt in attempts if attempt and attempt.may_pass]


@contextmanager
def _bound(claim: Claim) -> Iterator[None]:
    """Add the product's key to every log line of this block."""
    with structlog.contextvars.bound_contextvars(
        x_request_id=claim.trace_id,
        request_id=str(claim.key.request_id),
        seq=claim.key.seq,
        attempt=claim.attempt,
    ):
        yield


class Owners:
    """The owner of each request, read from the database once and cached."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._known: OrderedDict[UUID, Who] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, request_id: UUID) -> Who:
        with self._lock:
            if (who := self._known.get(request_id)) is not None:
                self._known.move_to_end(request_id)
                return who
        owner = self._runtime.persist(lambda connection: owner_of(connection, request_id))
        who = Who(owner, request_id)
        with self._lock:
            self._known[request_id] = who
            while len(self._known) > OWNERS_KNOWN:
                self._known.popitem(last=False)
        return who


class Fruitless:
    """Pauses requests whose products, one after the other, only wait for their hosts. Without the
    pause, the machine would spend its time handing these products out and back. Products of a
    paused host wait for so long that this is not needed.
    """

    def __init__(self) -> None:
        self._in_a_row: Counter[UUID] = Counter()

    def hold_seconds(
        self, request_id: UUID, waiting: Waiting | None, done: Sequence[ImageResult]
    ) -> float:
        """Seconds to pause the request of a product that was handed back; 0 for no pause."""
        if waiting is None or waiting.reason is WaitReason.PAUSED or done:
            self.end_row(request_id)
            return 0.0
        self._in_a_row[request_id] += 1
        if self._in_a_row[request_id] < FRUITLESS_IN_A_ROW:
            return 0.0
        self.end_row(request_id)
        return FRUITLESS_PAUSE_SECONDS

    def end_row(self, request_id: UUID) -> None:
        """Start to count again: a product of this request has done more than wait."""
        self._in_a_row.pop(request_id, None)


def backoff_seconds(attempt: int) -> float:
    """Seconds to wait after the `attempt`-th attempt (from 1). The pause doubles with each attempt
    and varies by ± 25 %, so that failed products do not return all at once.
    """
    delay = min(FIRST_BACKOFF_SECONDS * 2.0 ** (attempt - 1), MAX_BACKOFF_SECONDS)
    return delay * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
