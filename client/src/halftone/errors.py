"""Every error that the library raises. HalftoneError is the base of all of them.

HalftoneError
├── ApiError            the service answered with a problem: `code`, `status`, `errors`
│   ├── Unauthorized    401: no API key, or one that the service does not know
│   ├── NotFound        404: no such request, or another owner's
│   ├── Conflict        409: not possible now, such as a download before the end
│   ├── Refused         400, 413, 415, 422: the upload or a parameter cannot be used
│   ├── RateLimited     429: too many uploads
│   └── ServiceError    5xx: the service cannot answer now
├── Unreachable         no answer came
├── UnexpectedAnswer    something answered, but not halftone
├── InvalidSetting      the URL or the API key given to the client cannot be used
├── InvalidUpload       the source given to `upload` cannot be used
├── InvalidWebhook      the signature is not the service's, or too old
└── StillRunning        `wait` gave up; the request goes on
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from halftone._declared import RowError

if TYPE_CHECKING:
    from halftone._declared import RequestStatus


class HalftoneError(Exception):
    """Base of every error of this library. `str(error)` is a sentence for people."""


class ApiError(HalftoneError):
    """The service answered with a problem (RFC 9457).

    `code`: the problem's code, such as `not_found`. `status`: the HTTP status. `errors`: the rows
    that are wrong, the first 100; `error_count`: how many there are. `retry_after`: seconds after
    which to try again, where the service said so. `problem`: the whole answer. `call_id`: the
    X-Request-Id, which the service's log has too.
    """

    def __init__(
        self,
        problem: Mapping[str, Any],
        status: int,
        *,
        retry_after: float | None = None,
        call_id: str | None = None,
    ) -> None:
        self.problem = problem
        self.status = status
        self.code = str(problem.get("code", "unknown"))
        self.detail = str(problem.get("detail") or problem.get("title") or f"HTTP {status}")
        rows = [row for row in problem.get("errors") or () if isinstance(row, Mapping)]
        self.errors = tuple(RowError.from_json(row) for row in rows if "line" in row)
        self.error_count = int(problem.get("error_count") or len(self.errors))
        self.retry_after = retry_after
        self.call_id = call_id
        super().__init__(self.detail)


class Unauthorized(ApiError):
    """401: the call carries no API key, or one that the service does not know."""


class Forbidden(ApiError):
    """403: only an admin key may do this."""


class NotFound(ApiError):
    """404: there is no such request, or it is another owner's."""


class Conflict(ApiError):
    """409: not possible in the request's present state, such as a download before its end."""


class Refused(ApiError):
    """400, 413, 415, 422: the file, an option or a parameter cannot be used. Nothing is stored."""


class RateLimited(ApiError):
    """429: too many uploads. `retry_after` says when the next is accepted."""


class ServiceError(ApiError):
    """5xx: the service cannot answer now."""


class Unreachable(HalftoneError):
    """No answer came: nothing listens there, the connection broke, or time ran out."""


class UnexpectedAnswer(HalftoneError):
    """Something answered at this URL, but not as halftone does."""


class InvalidSetting(HalftoneError, ValueError):
    """The URL or the API key given to the client cannot be used."""


class InvalidUpload(HalftoneError, ValueError):
    """The source given to `upload` cannot be used."""


class InvalidWebhook(HalftoneError):
    """The webhook was not signed with this secret, was changed, or is too old."""


class StillRunning(HalftoneError, TimeoutError):
    """`wait` gave up after its time-out; the request goes on. `status`: how far it is."""

    def __init__(self, status: RequestStatus, seconds: float) -> None:
        super().__init__(
            f"Request {status.request_id} is {status.status}, {status.progress:g} %, after"
            f" {seconds:g} s."
        )
        self.status = status


_BY_STATUS: dict[int, type[ApiError]] = {
    400: Refused,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: Refused,
    415: Refused,
    422: Refused,
    429: RateLimited,
}


def api_error(
    problem: Mapping[str, Any],
    status: int,
    *,
    retry_after: float | None = None,
    call_id: str | None = None,
) -> ApiError:
    """The error of a problem answer, of the class that belongs to its status."""
    error = _BY_STATUS.get(status, ServiceError if status >= 500 else ApiError)
    return error(problem, status, retry_after=retry_after, call_id=call_id)
