"""Keeps this worker's claims alive: a thread renews the leases of its products."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from halftone_shared.db.products import RENEW_EVERY_SECONDS, Claim, renew_leases
from halftone_shared.service.periodic import PeriodicThread


class LeaseKeeper:
    """Renews the held claims every RENEW_EVERY_SECONDS, so that a renewal may fail several times
    before a lease ends.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._held: dict[int, Claim] = {}
        self._thread = PeriodicThread("leases", self._renew, every_seconds=RENEW_EVERY_SECONDS)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._thread.stop(timeout_seconds=None)

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

    def _renew(self) -> None:
        if claims := list(self._held.values()):
            with self._engine.connect() as connection:
                renew_leases(connection, claims)
