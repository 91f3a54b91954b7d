"""How figures are written for people."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from halftone_api.endpoints.views import Image

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def bytes_text(count: float | None) -> str:
    """48211034 → 48.2 MB"""
    if count is None:
        return "–"
    value, unit = float(count), 0
    while abs(value) >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return (
        f"{value:.0f} {_UNITS[unit]}"
        if unit == 0 or value >= 99.5
        else f"{value:.1f} {_UNITS[unit]}"
    )


def number_text(count: float | None) -> str:
    """1240 → 1,240"""
    return "–" if count is None else f"{count:,.0f}"


def saved_percent(bytes_in: int | None, bytes_out: int | None) -> int | None:
    """The share of the bytes that was saved, in per cent; None if unknown."""
    if not bytes_in or bytes_out is None:
        return None
    return round(100 * (1 - bytes_out / bytes_in))


def duration_text(seconds: float | None) -> str:
    """0.42 → 0.4 s, 95 → 1 min 35 s"""
    if seconds is None:
        return "–"
    if 0 < seconds < 9.95:
        return f"{max(seconds, 0.1):.1f} s"
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s" if minutes < 10 and seconds else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days"


def moment_text(timestamp: str | None) -> str:
    """2026-03-01T12:00:00.123Z → 1 Mar 2026, 12:00 UTC"""
    if timestamp is None:
        return "–"
    moment = datetime.fromisoformat(timestamp).astimezone(UTC)
    return f"{moment.day} {moment:%b %Y, %H:%M} UTC"


def ago_text(timestamp: str | None) -> str:
    """How long ago a moment was."""
    if timestamp is None:
        return "–"
    seconds = age_seconds(timestamp)
    return "just now" if seconds < 5 else f"{duration_text(seconds)} ago"


def age_seconds(timestamp: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(timestamp)).total_seconds()


def plural(count: int, one: str, many: str | None = None) -> str:
    """1 image, 2 images"""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def file_name(text: str) -> str:
    """A file name of a URL, without its path and query."""
    return text.split("?")[0].rstrip("/").rsplit("/", 1)[-1] or text


def code_marks(text: str) -> Markup:
    """Text with `code` in it, as HTML."""
    parts = str(escape(text)).split("`")
    marked = (f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))
    return Markup("".join(marked))  # noqa: S704 - every part was escaped


def image_saved_percent(image: Image) -> int | None:
    return saved_percent(image["bytes_in"], image["bytes_out"])


FILTERS: Mapping[str, Callable[..., Any]] = {
    "bytes": bytes_text,
    "number": number_text,
    "duration": duration_text,
    "moment": moment_text,
    "ago": ago_text,
    "age": age_seconds,
    "plural": plural,
    "file_name": file_name,
    "code_marks": code_marks,
    "saved_percent": image_saved_percent,
}
