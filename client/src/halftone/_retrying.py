"""When a call is sent again, and after how long. No I/O."""

from __future__ import annotations

import random
from dataclasses import dataclass

# Answers of a service, or of a proxy before it, that is away for a moment.
AWAY_STATUSES = frozenset({502, 503, 504})
TOO_MANY = 429
TIMED_OUT = 408


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently a call is sent again.

    `retries`: how often after the first time. The n-th pause is `base_seconds` × 2ⁿ, at most
    `max_seconds`, of which up to half is random. `max_retry_after_seconds`: a longer Retry-After of
    the service is not waited for.
    """

    retries: int = 3
    base_seconds: float = 0.25
    max_seconds: float = 8.0
    max_retry_after_seconds: float = 60.0

    def pause_after_answer(
        self, attempt: int, status: int, retry_after: float | None, *, repeatable: bool
    ) -> float | None:
        """Seconds until the call is sent again; None where its answer is final.

        `attempt` counts from 0. A 429 was not carried out, so any call may be sent again.
        """
        away = status in AWAY_STATUSES or status == TIMED_OUT
        if attempt >= self.retries or not (status == TOO_MANY or (away and repeatable)):
            return None
        if retry_after is None:
            return self._backoff(attempt)
        return retry_after if retry_after <= self.max_retry_after_seconds else None

    def pause_after_error(self, attempt: int, *, sent: bool, repeatable: bool) -> float | None:
        """The same for a connection that failed. `sent`: the call may have reached the service."""
        if attempt >= self.retries or (sent and not repeatable):
            return None
        return self._backoff(attempt)

    def _backoff(self, attempt: int) -> float:
        longest: float = min(self.base_seconds * 2**attempt, self.max_seconds)
        return longest * random.uniform(0.5, 1)  # noqa: S311 - spreads callers, no secret


def retry_after_seconds(header: str | None) -> float | None:
    """Retry-After in seconds; None where it is missing or a date, which halftone never sends."""
    try:
        return max(float(header), 0) if header else None
    except ValueError:
        return None
