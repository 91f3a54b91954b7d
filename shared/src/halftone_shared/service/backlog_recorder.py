"""Records the backlog for the operators' chart."""

from sqlalchemy import Engine

from halftone_shared.db.backlog import read_backlog
from halftone_shared.db.backlog_minutes import record_backlog, was_recorded_within
from halftone_shared.db.engine import make_engine
from halftone_shared.runtime.settings import CommonSettings
from halftone_shared.service.periodic import PeriodicThread

RECORD_EVERY_SECONDS = 15.0
# Nothing is lost if the thread still waits for a stalled database.
STOP_SECONDS = 1.0


class BacklogRecorder:
    """Records the backlog every RECORD_EVERY_SECONDS, in its own thread.

    Any number of processes may run one: each skips its turn if another has recorded meanwhile.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = PeriodicThread(
            "backlog recorder", self.record, every_seconds=RECORD_EVERY_SECONDS
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._thread.stop(STOP_SECONDS)
        self._engine.dispose()

    def record(self) -> None:
        """Record the backlog unless another process has just done so."""
        with self._engine.connect() as connection:
            # 90 %: the turns of two processes must not drift apart until both record.
            if not was_recorded_within(connection, 0.9 * RECORD_EVERY_SECONDS):
                record_backlog(connection, read_backlog(connection))


def make_backlog_recorder(settings: CommonSettings) -> BacklogRecorder:
    """A recorder with its own database connection."""
    return BacklogRecorder(make_engine(settings.database_url, pool_size=1))
