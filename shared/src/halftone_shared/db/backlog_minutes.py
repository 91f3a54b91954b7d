"""The backlog of each minute of the last day, for the operators' chart.

Every process with a dispatcher records it (service/backlog_recorder.py). A minute has one row with
the highest count of each kind, however many processes record. Rows older than a day are deleted.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from halftone_shared.db.backlog import Backlog

# The period that the chart shows.
SHOWN_MINUTES = 60


@dataclass(frozen=True)
class BacklogMinute:
    """The highest counts of one minute. The names are those of `Backlog`."""

    minute: datetime
    waiting_products: int
    postponed_products: int
    processing_products: int
    pending_events: int
    oldest_waiting_seconds: float


_RECORD = text(
    """
    INSERT INTO backlog_minutes AS kept (minute, recorded_at, waiting_products, postponed_products,
        processing_products, pending_events, oldest_waiting_seconds)
    VALUES (date_trunc('minute', now()), now(), :waiting_products, :postponed_products,
        :processing_products, :pending_events, :oldest_waiting_seconds)
    ON CONFLICT (minute) DO UPDATE SET
        recorded_at = excluded.recorded_at,
        waiting_products = greatest(kept.waiting_products, excluded.waiting_products),
        postponed_products = greatest(kept.postponed_products, excluded.postponed_products),
        processing_products = greatest(kept.processing_products, excluded.processing_products),
        pending_events = greatest(kept.pending_events, excluded.pending_events),
        oldest_waiting_seconds =
            greatest(kept.oldest_waiting_seconds, excluded.oldest_waiting_seconds)
    """
)
_FORGET = text("DELETE FROM backlog_minutes WHERE minute < now() - interval '1 day'")


def record_backlog(connection: Connection, backlog: Backlog) -> None:
    """Add what was just read to the current minute, and delete rows older than a day."""
    connection.execute(
        _RECORD,
        {
            "waiting_products": backlog.waiting_products,
            "postponed_products": backlog.postponed_products,
            "processing_products": backlog.processing_products,
            "pending_events": backlog.pending_events,
            "oldest_waiting_seconds": backlog.oldest_waiting_seconds,
        },
    )
    connection.execute(_FORGET)


_IS_RECENT = text(
    """
    SELECT EXISTS (SELECT 1 FROM backlog_minutes
                   WHERE recorded_at > now() - make_interval(secs => :seconds))
    """
)


def was_recorded_within(connection: Connection, seconds: float) -> bool:
    """Whether any process has recorded the backlog in the last `seconds`."""
    return bool(connection.execute(_IS_RECENT, {"seconds": seconds}).scalar_one())


_LAST_HOUR = text(
    f"""
    SELECT minute, waiting_products, postponed_products, processing_products, pending_events,
           oldest_waiting_seconds
    FROM backlog_minutes WHERE minute > now() - interval '{SHOWN_MINUTES} minutes' ORDER BY minute
    """  # noqa: S608 - the part is a constant
)


def backlog_minutes(connection: Connection) -> list[BacklogMinute]:
    """The last hour, oldest first, without minutes in which no process recorded."""
    return [BacklogMinute(**row) for row in connection.execute(_LAST_HOUR).mappings()]
