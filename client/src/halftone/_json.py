"""Reading JSON answers into typed values.

Answers of an older service lack members, answers of a newer one have more and other words: neither
is an error. Only an ID, a state or a time that is missing is.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Self


class Word(StrEnum):
    """A word of a set that may grow: one that this version does not know is kept as it is."""

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
    """A count. A service that is older than this library does not send each of them."""
    return value or 0


def text_or_empty(value: str | None) -> str:
    """A text. A service that is older than this library does not send each of them."""
    return value or ""


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
