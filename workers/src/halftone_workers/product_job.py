"""A product, from its message to its settlement: claim, attempt its images, settle.

Dramatiq's threads bring products and wait for them. One thread speaks to the database for all of them, and claims and
settles as many at once as have come while its last statement ran: a statement, a commit and a change of threads each
cost more than what they do for one product. The images are worked on in the event loop.
"""

import os
import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TypeVar
from uuid import UUID

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from halftone_shared.barrier import Settled, settle_products
from halftone_shared.products import Claim, claim_products, postpone_product
from halftone_shared.results import ProductKey, ProductResult
from halftone_shared.tracing import span
from halftone_workers.image_job import ImageAttempt, attempt_images
from halftone_workers.metrics import POSTPONED, count_settled
from halftone_workers.runtime import Runtime

log = structlog.get_logger(__name__)

FIRST_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 300.0

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Ticket:
    """A product that one of Dramatiq's threads has brought and waits for."""

    def __init__(self, key: ProductKey) -> None:
        self.key = key
        self._error: BaseException | None = None
        self._pending = threading.Lock()
        self._pending.acquire()

    def wait(self) -> None:
        """Until end(), whose error is raised here."""
        self._pending.acquire()
        if self._error is not None:
            raise self._error

    def end(self, error: BaseException | None = None) -> None:
        self._error = error
        self._pending.release()


@dataclass(frozen=True)
class _Attempted:
    """A claimed product whose images have been attempted, and so is to be recorded."""

    ticket: _Ticket
    claim: Claim
    attempts: Sequence[ImageAttempt | None]

    @property
    def is_interrupted(self) -> bool:
        return None in self.attempts

    @property
    def may_pass(self) -> list[ImageAttempt]:
        return [attempt for attempt in self.attempts if attempt and attempt.may_pass]

    @property
    def result(self) -> ProductResult:
        return ProductResult([attempt.result for attempt in self.attempts if attempt])


class ProductJobs:
    """Open from start() to stop(), between which its thread runs."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        # What is to be claimed, and what is to be recorded; None ends the thread.
        self._waiting: SimpleQueue[_Ticket | _Attempted | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="products", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End once all that was brought has been recorded."""
        self._waiting.put(None)
        self._thread.join(timeout=10)

    def process(self, key: ProductKey) -> None:
        """Do what is due of a product, and return when it is recorded. Nothing, when another worker has it or it has
        ended: messages come more than once.
        """
        ticket = _Ticket(key)
        self._waiting.put(ticket)
        ticket.wait()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException:
            # Without this thread the worker would hold its products for ever. It ends, and is started again.
            log.critical("worker broken", exc_info=True)
            os._exit(1)

    def _work(self) -> None:
        running = True
        while running:
            batch = [self._waiting.get()]
            with suppress(Empty):
                while True:
                    batch.append(self._waiting.get_nowait())
            running = None not in batch
            self._record([item for item in batch if isinstance(item, _Attempted)])
            self._claim([item for item in batch if isinstance(item, _Ticket)])

    def _claim(self, tickets: list[_Ticket]) -> None:
        def claim(connection: Connection, some: Sequence[_Ticket]) -> list[Claim | None]:
            return claim_products(connection, [ticket.key for ticket in some])

        claimed = []
        for of_one_request in _by_request(tickets, lambda ticket: ticket.key):
            for ticket, found in self._together(of_one_request, claim, _Ticket.end):
                if found is None:
                    ticket.end()
                else:
                    self._runtime.leases.hold(found)
                    claimed.append((ticket, found))
        if claimed:
            self._runtime.start_soon([self._attempt(ticket, claim) for ticket, claim in claimed])

    async def _attempt(self, ticket: _Ticket, claim: Claim) -> None:
        facts = {"halftone.seq": claim.key.seq, "halftone.attempt": claim.attempt}
        try:
            with _bound(claim), span("product", claim.key.request_id, **facts):
                attempts = await attempt_images(self._runtime, claim)
        except Exception as error:  # noqa: BLE001 - it is raised where the product is waited for
            self._runtime.leases.release(claim)
            ticket.end(error)
        else:
            self._waiting.put(_Attempted(ticket, claim, attempts))

    def _record(self, products: list[_Attempted]) -> None:
        """Settle products, or give them back when some of their images may do better another time."""
        to_settle = []
        for product in products:
            if (delay := self._delay_seconds(product)) is None:
                to_settle.append(product)
            else:
                self._postpone(product, delay)
        for of_one_request in _by_request(to_settle, lambda product: product.claim.key):
            for product, settled in self._together(of_one_request, _settle, self._end):
                _report(product, settled)
                self._end(product)

    def _delay_seconds(self, product: _Attempted) -> float | None:
        """In how many seconds to try again; None when the product has ended."""
        if product.is_interrupted:
            return 0.0
        if not product.may_pass or product.claim.attempt >= self._runtime.settings.max_attempts:
            return None
        asked = max(attempt.retry_after_seconds for attempt in product.may_pass)
        return max(backoff_seconds(product.claim.attempt), asked)

    def _postpone(self, product: _Attempted, delay: float) -> None:
        stopping = product.is_interrupted
        done = [None if attempt is None or attempt.may_pass else attempt.result for attempt in product.attempts]

        def postpone(connection: Connection, _: object) -> list[None]:
            postpone_product(connection, product.claim, done, delay_seconds=delay, counted=not stopping)
            return [None]

        for _ in self._together([product], postpone, self._end):
            POSTPONED.labels("stopping" if stopping else "retry").inc()
            with _bound(product.claim):
                if stopping:
                    log.info("product handed back", reason="the worker is stopping")
                else:
                    codes = sorted({attempt.result.error.code for attempt in product.may_pass if attempt.result.error})
                    log.info("product postponed", seconds=round(delay, 1), codes=codes)
            self._end(product)

    def _end(self, product: _Attempted, error: BaseException | None = None) -> None:
        self._runtime.leases.release(product.claim)
        product.ticket.end(error)

    def _together(
        self,
        items: Sequence[Item],
        write: Callable[[Connection, Sequence[Item]], list[Result]],
        fail: Callable[[Item, BaseException], None],
    ) -> Iterator[tuple[Item, Result]]:
        """Each item with what one statement for all of them gave. Where that is refused, each is tried by itself, so
        that what is wrong with one costs that one.
        """
        if not items:
            return
        try:
            results = self._runtime.persist(lambda connection: write(connection, items))
        except Exception as error:  # noqa: BLE001 - it is raised where the item is waited for
            if len(items) == 1 or not isinstance(error, SQLAlchemyError):
                for item in items:
                    fail(item, error)
                return
            for item in items:
                yield from self._together([item], write, fail)
        else:
            yield from zip(items, results, strict=True)


def _by_request(items: Sequence[Item], key: Callable[[Item], ProductKey]) -> Iterable[list[Item]]:
    found: defaultdict[UUID, list[Item]] = defaultdict(list)
    for item in items:
        found[key(item).request_id].append(item)
    return found.values()


def _settle(connection: Connection, products: Sequence[_Attempted]) -> list[Settled]:
    return settle_products(connection, [(product.claim, product.result) for product in products])


def _report(product: _Attempted, settled: Settled) -> None:
    with _bound(product.claim):
        if settled.counted:
            result = product.result
            count_settled(result)
            log.info(
                "product settled",
                status=result.status,
                images=result.processed_images,
                failed_images=result.failed_images,
                bytes_in=result.bytes_in,
                bytes_out=result.bytes_out,
            )
        else:
            log.warning("product settled by another attempt")
        if settled.ended:
            log.info("request ended")


@contextmanager
def _bound(claim: Claim) -> Iterator[None]:
    """What is logged in this block says which product it is about."""
    with structlog.contextvars.bound_contextvars(
        trace_id=claim.trace_id, request_id=str(claim.key.request_id), seq=claim.key.seq, attempt=claim.attempt
    ):
        yield


def backoff_seconds(attempt: int) -> float:
    """How long to wait after the `attempt`-th attempt (from 1): doubling, spread by ± 25 %, so that failures do not
    return together.
    """
    delay = min(FIRST_BACKOFF_SECONDS * 2.0 ** (attempt - 1), MAX_BACKOFF_SECONDS)
    return delay * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
