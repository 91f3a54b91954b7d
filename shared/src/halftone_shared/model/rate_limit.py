"""A rate limit as written in a setting. Separate from db/upload_rates.py, so that reading settings
needs no database library.
"""

import re
from dataclasses import dataclass

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_FORM = re.compile(rf"([1-9]\d{{0,8}})/({'|'.join(_UNITS)})")


@dataclass(frozen=True)
class RateLimit:
    """At most `calls` in `seconds`: they may come all at once, then at even intervals."""

    calls: int
    seconds: int


def parse_rate_limit(value: str) -> RateLimit | None:
    """`60/minute` and the like; None for `off`. Raises ValueError."""
    if value == "off":
        return None
    found = _FORM.fullmatch(value)
    if found is None:
        raise ValueError(f"{value!r} is not a rate limit")
    return RateLimit(int(found[1]), _UNITS[found[2]])
