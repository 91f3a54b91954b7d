"""Keeps this worker's claims alive: a thread renews the leases of its products."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy import Engine

from halftone_shared.db.products import RENEW_EVERY_SECONDS, Renewal, renew_leases
from halftone_shared.service.periodic import PeriodicThread
from halftone_workers.jobs.active_product import ActiveProduct

log = structlog.get_logger(__name__)


class LeaseKeeper:
    """Renews the held claims every RENEW_EVERY_SECONDS, so that a renewal may fail several times
    before a lease ends.

    If this worker has lost a claim, because the request was cancelled or another worker claimed the
    product, calls `cancel` with it: its results no longer count.
    """

    def __init__(self, engine: Engine, cancel: Callable[[ActiveProduct], None]) -> None:
        self._engine = engine
        self._cancel = cancel
        self._held: dict[int, ActiveProduct] = {}
        self._thread = PeriodicThread("leases", self._renew, every_seconds=RENEW_EVERY_SECONDS)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._thread.stop(timeout_seconds=None)

    @property
    def count(self) -> int:
        """How many products this worker has claimed."""
        return len(self._held)

    @contextmanager
    def held(self, product: ActiveProduct) -> Iterator[None]:
        """Keep a product's claim renewed until the block ends."""
        self._held[id(product)] = product
        try:
            yield
        finally:
            del self._held[id(product)]

    def _renew(self) -> None:
        products = [product for product in list(self._held.values()) if not product.is_void]
        if not products:
            return
        renewals = [Renewal(product.claim, product.waiting_host()) for product in products]
        with self._engine.connect() as connection:
            held = renew_leases(connection, renewals)
        for product in products:
            if product.claim.key not in held and id(product) in self._held:
                product.is_void = True
                self._cancel(product)
