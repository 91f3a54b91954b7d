"""The findings of a check-up."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """`broken` makes the check-up fail; a warning does not."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """What was checked and what was found, with examples and advice."""

    area: str
    level: Level
    text: str
    remedy: str = ""
    examples: tuple[str, ...] = ()


def ok(area: str, text: str) -> Finding:
    return Finding(area, Level.OK, text)


def warning(area: str, text: str, remedy: str = "") -> Finding:
    return Finding(area, Level.WARNING, text, remedy)


def broken(area: str, text: str, remedy: str = "", examples: tuple[str, ...] = ()) -> Finding:
    return Finding(area, Level.BROKEN, text, remedy, examples)
