"""Reads Retry-After, in which a server says when to come back."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from halftone_workers.http.response_head import Headers

MAX_RETRY_AFTER_SECONDS = 3600.0


def retry_after_seconds(headers: Headers) -> float | None:
    """An answer's Retry-After in seconds from now (RFC 9110, 10.2.3), at most
    MAX_RETRY_AFTER_SECONDS.

    A Retry-After that is a date is compared with the server's own clock, from its Date header.
    """
    header = headers.get("retry-after")
    if header is None:
        return None
    if header.isascii() and header.isdecimal():
        seconds = float(header[:10])
    elif (when := _moment(header)) is None:
        return None
    else:
        seconds = (when - (_moment(headers.get("date") or "") or datetime.now(UTC))).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _moment(date: str) -> datetime | None:
    """An HTTP date; None if it cannot be read. All are in UTC, but the oldest form does not say
    so.
    """
    try:
        when = parsedate_to_datetime(date)
        return when.replace(tzinfo=when.tzinfo or UTC).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None
