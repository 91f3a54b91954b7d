"""Results of image attempts by minute and host, for the operators' figures on throughput and hosts.

Each worker adds its counts at every heartbeat: at most one write per host every 10 s, not one per
image. Rows older than a day are deleted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

# The period that the throughput is shown for.
SHOWN_MINUTES = 60


@dataclass(frozen=True)
class HostFigures:
    """Attempts at images of one host in one minute: how many succeeded and failed, their bytes, and
    the seconds they took, including waiting.
    """

    minute: datetime
    host: str
    images: int
    failed: int
    bytes_in: int
    bytes_out: int
    seconds: float


_ADD = text(
    """
    INSERT INTO host_figures (minute, host, images, failed, bytes_in, bytes_out, seconds)
    VALUES (:minute, :host, :images, :failed, :bytes_in, :bytes_out, :seconds)
    ON CONFLICT (minute, host) DO UPDATE SET
        images = host_figures.images + excluded.images,
        failed = host_figures.failed + excluded.failed,
        bytes_in = host_figures.bytes_in + excluded.bytes_in,
        bytes_out = host_figures.bytes_out + excluded.bytes_out,
        seconds = host_figures.seconds + excluded.seconds
    """
)
_FORGET = text("DELETE FROM host_figures WHERE minute < now() - interval '1 day'")


def add_host_figures(connection: Connection, figures: Sequence[HostFigures]) -> None:
    """Add to the counts, and delete rows older than a day."""
    # Sorted, so that two workers lock rows in the same order and cannot deadlock.
    for one in sorted(figures, key=lambda each: (each.minute, each.host)):
        connection.execute(_ADD, vars(one))
    if figures:
        connection.execute(_FORGET)


@dataclass(frozen=True)
class MinuteFigures:
    """All images of one minute."""

    minute: datetime
    images: int
    failed: int
    bytes_in: int
    bytes_out: int


_MINUTES = text(
    f"""
    SELECT minute, sum(images)::int AS images, sum(failed)::int AS failed,
           sum(bytes_in)::bigint AS bytes_in, sum(bytes_out)::bigint AS bytes_out
    FROM host_figures WHERE minute > now() - interval '{SHOWN_MINUTES} minutes'
    GROUP BY minute ORDER BY minute
    """  # noqa: S608 - the part is a constant
)


def throughput(connection: Connection) -> list[MinuteFigures]:
    """The last hour, with one value per minute in which an image ended."""
    return [MinuteFigures(**row) for row in connection.execute(_MINUTES).mappings()]


@dataclass(frozen=True)
class HostTotals:
    """One host in the last hour. `seconds_per_image` includes waiting."""

    host: str
    images: int
    failed: int
    bytes_in: int
    bytes_out: int
    seconds_per_image: float


_HOSTS = text(
    f"""
    SELECT host, sum(images)::int AS images, sum(failed)::int AS failed,
           sum(bytes_in)::bigint AS bytes_in, sum(bytes_out)::bigint AS bytes_out,
           (sum(seconds) / greatest(sum(images + failed), 1))::float AS seconds_per_image
    FROM host_figures WHERE minute > now() - interval '{SHOWN_MINUTES} minutes'
    GROUP BY host ORDER BY sum(failed) DESC, sum(images) DESC, host LIMIT :limit
    """  # noqa: S608 - the part is a constant
)


def busiest_hosts(connection: Connection, limit: int) -> list[HostTotals]:
    """The hosts of the last hour, those with most failures first."""
    rows = connection.execute(_HOSTS, {"limit": limit})
    return [HostTotals(**row) for row in rows.mappings()]
