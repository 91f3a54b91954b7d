"""Reading JSON answers into typed values.

An older service leaves members out. A newer one sends more members, and words that this version
does not know. Neither is an error; a missing ID, state or time is one.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Self


class Word(StrEnum):
    """A word of a set that may grow. A word that this version does not know is kept as it is."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        word = str.__new__(cls, value)
        word._name_ = word._value_ = value
        return word


def moment(text: str) -> datetime:
    """An RFC 3339 time."""
    return datetime.fromisoformat(text)


def number_or_zero(value: Any) -> Any:
    """A count; 0 if the service is older than this library and does not send it."""
    return value or 0


def text_or_empty(value: str | None) -> str:
    """A text; empty if the service is older than this library and does not send it."""
    return value or ""


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
