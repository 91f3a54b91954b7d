"""The kinds of option values: how each is read, limited, described and stored.

A kind reads form values (text) and JSON values (numbers, lists). It refuses an invalid value with a
sentence that names the expected one.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

MAX_SHOWN_CHARACTERS = 100

JsonSchema = dict[str, Any]


class BadValue(Exception):
    """An invalid value of an option. The message ends "… is not a whole number from 1 to 95"."""

    def __init__(self, value: object, expected: str) -> None:
        super().__init__(f"{_shown(value)} is not {expected}")
        self.expected = expected


class Kind(Protocol):
    """How the values of an option are read from a form or from JSON, and written to JSON."""

    @property
    def expected(self) -> str:
        """What a value is, as in "expected …"."""

    @property
    def schema(self) -> JsonSchema:
        """The JSON Schema of a value."""

    def read(self, value: object) -> Any:
        """The typed value. Raises BadValue."""

    def write(self, value: Any) -> Any:
        """The value as JSON; `read` turns it back into the same value."""


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    choices: type[StrEnum]

    @property
    def expected(self) -> str:
        return "one of " + ", ".join(self.choices)

    @property
    def schema(self) -> JsonSchema:
        return {"type": "string", "enum": [choice.value for choice in self.choices]}

    def read(self, value: object) -> StrEnum:
        try:
            return self.choices(str(value))
        except ValueError:
            raise BadValue(value, self.expected) from None

    def write(self, value: StrEnum) -> str:
        return value.value


@dataclass(frozen=True)
class Whole:
    """A whole number from `least` to `most`, inclusive. No upper bound if `most` is None."""

    least: int
    most: int | None = None

    @property
    def expected(self) -> str:
        if self.most is None:
            return f"a whole number of at least {self.least}"
        return f"a whole number from {self.least} to {self.most}"

    @property
    def schema(self) -> JsonSchema:
        upper = {} if self.most is None else {"maximum": self.most}
        return {"type": "integer", "minimum": self.least, **upper}

    def read(self, value: object) -> int:
        number = _whole(value)
        if number is None or number < self.least or (self.most is not None and number > self.most):
            raise BadValue(value, self.expected)
        return number

    def write(self, value: int) -> int:
        return value


@dataclass(frozen=True)
class Number:
    """A number greater than `above`, up to `most`."""

    above: float
    most: float

    @property
    def expected(self) -> str:
        return f"a number above {self.above:g} and at most {self.most:g}"

    @property
    def schema(self) -> JsonSchema:
        return {"type": "number", "exclusiveMinimum": self.above, "maximum": self.most}

    def read(self, value: object) -> float:
        number = finite_number(value)
        if number is None or not self.above < number <= self.most:
            raise BadValue(value, self.expected)
        return number

    def write(self, value: float) -> float:
        return value


@dataclass(frozen=True)
class Flag:
    """True or false; a form may also say 1 or 0."""

    @property
    def expected(self) -> str:
        return "true or false"

    @property
    def schema(self) -> JsonSchema:
        return {"type": "boolean"}

    def read(self, value: object) -> bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false", "1", "0"):
            return value.lower() in ("true", "1")
        raise BadValue(value, self.expected)

    def write(self, value: bool) -> bool:
        return value


@dataclass(frozen=True)
class Text:
    """A text in a given format. `parse` returns the typed value; its str() is the text again.

    `parse` raises ValueError for a text in another format.
    """

    expected: str
    parse: Callable[[str], Any]
    example: str = ""

    @property
    def schema(self) -> JsonSchema:
        return {"type": "string"} | ({"examples": [self.example]} if self.example else {})

    def read(self, value: object) -> Any:
        if not isinstance(value, str):
            raise BadValue(value, self.expected)
        try:
            return self.parse(value.strip())
        except ValueError as error:
            reason = str(error)
            raise BadValue(value, f"{self.expected}{f': {reason}' if reason else ''}") from None

    def write(self, value: Any) -> str:
        return str(value)


@dataclass(frozen=True)
class Listed:
    """A list of values of one kind: separated by commas in a form, an array in JSON."""

    item: Text
    expected: str
    most: int

    @property
    def schema(self) -> JsonSchema:
        return {"type": "array", "items": self.item.schema, "maxItems": self.most}

    def read(self, value: object) -> tuple[Any, ...]:
        items = _json_array(value) if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or len(items) > self.most:
            raise BadValue(value, f"{self.expected}, at most {self.most}")
        return tuple(self.item.read(item) for item in items)

    def write(self, value: tuple[Any, ...]) -> list[str]:
        return [self.item.write(item) for item in value]


def finite_number(value: object) -> float | None:
    """A number from JSON or a form; None for anything else, including infinities and NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not re.fullmatch(
        r"\s*[+-]?(\d+\.?\d*|\.\d+)\s*", value, re.ASCII
    ):
        return None
    return float(value) if abs(float(value)) < float("inf") else None


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and len(value) < 16 and value.isascii() and value.isdecimal():
        return int(value)
    return None


def _json_array(text: str) -> object:
    """A list from a form: JSON if the text starts like JSON, else texts separated by commas."""
    if text.lstrip().startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            return None
    return [item for item in text.split(",") if item.strip()]


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    cut = text[:MAX_SHOWN_CHARACTERS]
    return repr(cut) if cut == text else repr(cut) + "…"
