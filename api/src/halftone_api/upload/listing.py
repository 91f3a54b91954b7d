"""How messages show text of the uploaded file, which may be long. Pure."""

from collections.abc import Sequence

MAX_SHOWN_CHARACTERS = 200
# In a sentence, and in a list of a JSON answer.
MAX_SHOWN_COLUMNS = 20
MAX_LISTED_COLUMNS = 300


def listed(names: Sequence[str]) -> str:
    """The names for a sentence: at most MAX_SHOWN_COLUMNS, and how many there are in all."""
    shown = ", ".join(repr(cut(name)) for name in names[:MAX_SHOWN_COLUMNS])
    return shown if len(names) <= MAX_SHOWN_COLUMNS else f"{shown} and {len(names)} in all"


def cut(value: str) -> str:
    """The text, cut to the length that an answer repeats."""
    return value[:MAX_SHOWN_CHARACTERS]
