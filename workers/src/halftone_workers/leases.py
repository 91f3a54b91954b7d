"""Keeps this worker's claims alive: a thread that renews the leases of the products in hand."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from halftone_shared.db.products import RENEW_EVERY_SECONDS, Claim, renew_leases

log = structlog.get_logger(__name__)


class LeaseKeeper:
    """Renews every RENEW_EVERY_SECONDS what is held. A renewal that fails is tried the next time,
    before the lease ends.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._held: dict[int, Claim] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    @property
    def in_hand(self) -> int:
        """How many products this worker has in hand."""
        return len(self._held)

    @contextmanager
    def held(self, claim: Claim) -> Iterator[None]:
        """Renew a claim until the block ends."""
        self._held[id(claim)] = claim
        try:
            yield
        finally:
            del self._held[id(claim)]

    def _run(self) -> None:
        while not self._stopping.wait(RENEW_EVERY_SECONDS):
            claims = list(self._held.values())
            if not claims:
                continue
            try:
                with self._engine.connect() as connection:
                    renew_leases(connection, claims)
            except SQLAlchemyError as error:
                log.warning(
                    "leases not renewed", products=len(claims), error=str(error).splitlines()[0]
                )
