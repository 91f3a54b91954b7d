"""Logs an outage once a minute at most, however many threads notice it."""

import threading
import time

import psycopg
import structlog
from psycopg.errors import UndefinedColumn, UndefinedFunction, UndefinedTable
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from halftone_shared.db.engine import is_unavailable
from halftone_shared.errors import HalftoneError

log = structlog.get_logger(__name__)

# A continuing outage is logged at most once in this time.
REPEAT_SECONDS = 60.0
_NOT_MIGRATED = (UndefinedTable, UndefinedColumn, UndefinedFunction)
_reported_at: dict[str, float] = {}
_lock = threading.Lock()


def report_outage(event: str, reason: str) -> None:
    """Log a warning, unless this process has logged the same reason within REPEAT_SECONDS."""
    now = time.monotonic()
    with _lock:
        if now - _reported_at.get(reason, float("-inf")) < REPEAT_SECONDS:
            return
        _reported_at[reason] = now
    log.warning(event, reason=reason)


def explain(error: HalftoneError | SQLAlchemyError | psycopg.Error) -> str:
    """The cause and the remedy, in one line."""
    driver_error = error.orig if isinstance(error, DBAPIError) else error
    first_line = str(driver_error).strip().partition("\n")[0]
    if isinstance(driver_error, _NOT_MIGRATED):
        return "The database is not migrated to this version: run `halftone migrate`."
    if isinstance(error, HalftoneError):
        return first_line
    if is_unavailable(error):
        return f"The database cannot be used: {first_line}. See HALFTONE_DATABASE_URL."
    return first_line
