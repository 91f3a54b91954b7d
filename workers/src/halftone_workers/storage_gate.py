"""Keeps this worker from starting products while the storage cannot be written.

When a file cannot be stored, the storage is tested with a file of the same size. If the test fails
too, the storage is unavailable: products are handed back without counting their attempt, and others
wait before their claim until the storage can be written again.
"""

import threading
from collections.abc import Callable

import structlog

from halftone_shared.service.periodic import PeriodicThread
from halftone_shared.service.storage_check import StorageCheck
from halftone_shared.storage import PROBE_BYTES
from halftone_workers.metrics import STORAGE_AWAY

log = structlog.get_logger(__name__)

TRY_EVERY_SECONDS = 1.0
# A product that could not be stored is delivered again after this time, and waits at the gate.
RETURN_SECONDS = 2.0
_LOOK_SECONDS = 0.5


class StorageGate:
    """Closed until the storage has been tested, and while it cannot be written."""

    def __init__(self, check: StorageCheck) -> None:
        self._check = check
        self._size = PROBE_BYTES
        self._is_open = threading.Event()
        self._was_told = False
        self._thread = PeriodicThread("storage", self._try, every_seconds=TRY_EVERY_SECONDS)

    def start(self) -> None:
        """Test the storage now, and then repeatedly while it is unavailable."""
        self._try()
        self._thread.start()

    def stop(self) -> None:
        self._thread.stop(timeout_seconds=None)

    @property
    def is_open(self) -> bool:
        return self._is_open.is_set()

    def wait(self, is_stopping: Callable[[], bool]) -> bool:
        """Wait until the gate is open. Returns False if the worker stops first."""
        while not self._is_open.wait(_LOOK_SECONDS):
            if is_stopping():
                return False
        return True

    def is_away(self, size: int) -> bool:
        """After a file of this size was not stored: whether the storage is unavailable. If so, the
        gate closes. If not, only this file has a problem.
        """
        if not self._is_open.is_set():
            return True
        problem = self._check.problem(size, fresh=True)
        if problem is None:
            return False
        self._size = max(size, PROBE_BYTES)
        self._close(problem)
        return True

    def _try(self) -> None:
        if self._is_open.is_set():
            return
        problem = self._check.problem(self._size, fresh=True)
        if problem is not None:
            self._close(problem)
            return
        if self._was_told:
            log.info("storage is back")
        self._size, self._was_told = PROBE_BYTES, False
        STORAGE_AWAY.set(0)
        self._is_open.set()

    def _close(self, problem: str) -> None:
        self._is_open.clear()
        STORAGE_AWAY.set(1)
        if not self._was_told:
            self._was_told = True
            log.error("storage is away, products wait", reason=problem.splitlines()[0])
