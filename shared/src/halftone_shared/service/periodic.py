"""A thread that repeats one task, such as renewing leases."""

import threading
from collections.abc import Callable

import psycopg
import structlog
from sqlalchemy.exc import SQLAlchemyError

from halftone_shared.errors import HalftoneError
from halftone_shared.service.outages import explain, report_outage

log = structlog.get_logger(__name__)

# An outage may end at any time; work resumes at most this long after its end.
MAX_PAUSE_SECONDS = 5.0


class PeriodicThread:
    """Calls `work` at its start and `every_seconds` after each return, until it is stopped.

    An exception never ends the thread: it is logged, and `work` is called again, after pauses that
    double from `every_seconds` to MAX_PAUSE_SECONDS. `work` may run for a long time if it returns
    soon after `stopping` is set.
    """

    def __init__(self, name: str, work: Callable[[], None], *, every_seconds: float) -> None:
        self.stopping = threading.Event()
        self._name = name
        self._work = work
        self._every_seconds = every_seconds
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_seconds: float | None = 10.0) -> None:
        """Ask the thread to end and wait up to `timeout_seconds` for it."""
        self.stopping.set()
        self._thread.join(timeout_seconds)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        failures = 0
        while not self.stopping.is_set():
            failures = 0 if self._succeeds() else min(failures + 1, 10)
            longest = max(MAX_PAUSE_SECONDS, self._every_seconds)
            self.stopping.wait(min(self._every_seconds * 2 ** max(failures - 1, 0), longest))

    def _succeeds(self) -> bool:
        try:
            self._work()
        except (HalftoneError, SQLAlchemyError, psycopg.Error) as error:
            report_outage(f"{self._name} waits", explain(error))
        except Exception:
            log.exception(f"{self._name} failed, and is tried again")  # noqa: G004
        else:
            return True
        return False
