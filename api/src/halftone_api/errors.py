"""Errors as clients see them: RFC 9457 problem details, application/problem+json, each with a
stable `code`.

A Problem is raised anywhere below a route and answered here; whatever else escapes is logged and
answered as 500, and a database that is away as 503.
"""

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import psycopg
import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ExceptionHandler

from halftone_shared.db.engine import is_unavailable

log = structlog.get_logger(__name__)

# Every code of a problem, and what to do about it.
PROBLEM_CODES = {
    "missing_file": "The form has no file in its field `file`.",
    "not_csv": "The file is of another kind. Export it as CSV.",
    "empty_csv": "The file is empty.",
    "bad_encoding": (
        "The file is neither UTF-8 nor UTF-16 with a byte order mark; `byte_offset` says where."
    ),
    "malformed_csv": "The quoting or the cells of the row on `line` cannot be read.",
    "missing_columns": "The header lacks the columns in `columns`.",
    "duplicate_columns": "The header has the columns in `columns` more than once.",
    "no_rows": "There is a header, and no row below it.",
    "invalid_option": "The form field in `option` cannot be used.",
    "invalid_webhook_url": (
        "The webhook URL is none, or leads to an address that may not be reached."
    ),
    "malformed_form": "The multipart form cannot be read, or is cut off.",
    "bad_framing": "The body's length is told twice, or unreadably.",
    "invalid_parameter": "The parameter in `parameter` cannot be used.",
    "unauthorized": "The header `Authorization: Bearer KEY` is missing, or its key is not known.",
    "not_found": "There is nothing here, or it is another key's.",
    "method_not_allowed": "The path takes other methods; the Allow header lists them.",
    "upload_timeout": "The body did not arrive in time.",
    "not_ended": "The request still runs.",
    "already_ended": "The request has ended.",
    "nothing_to_retry": "Nothing in the request failed.",
    "no_webhook": "The request was uploaded without a webhook URL.",
    "too_large": "The file is over `limit` bytes. Split it.",
    "too_many_rows": "The file has more than `limit` rows. Split it.",
    "not_multipart": "The body is no multipart/form-data.",
    "range_not_satisfiable": "The range lies behind the image's end.",
    "invalid_rows": (
        "Rows are wrong: `errors` lists the first 100, `error_count` counts all. Nothing was"
        " stored."
    ),
    "idempotency_key_reused": "The Idempotency-Key came with another upload within 24 hours.",
    "rate_limited": "Too many uploads. Retry-After says when the next may come.",
    "http_error": "The call cannot be answered.",
    "internal": "Our fault. The answer's X-Request-Id finds it in the log.",
    "database_unavailable": (
        "The database is away, and whether the call took effect is not known; try again."
    ),
    "storage_unavailable": (
        "The images' storage is away, or there is no room for an upload; try again."
    ),
    "not_ready": "The database or the broker cannot be reached; `failing` says which.",
}
# Those of a path in a URI that stand for themselves (RFC 3986, 3.3).
_PATH_CHARACTERS = "/:@!$&'()*+,;="
_CODES_BY_STATUS = {404: "not_found", 405: "method_not_allowed"}


class Problem(Exception):
    """An answer other than success. `members` are further members of the problem object; `headers`
    of the response.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.members = members
        self.headers = headers or {}


class ProblemResponse(JSONResponse):
    media_type = "application/problem+json"

    def render(self, content: Any) -> bytes:
        # A problem repeats what was sent, which may be text that UTF-8 does not have.
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(
            "utf-8", "backslashreplace"
        )


def problem_response(request: Request, problem: Problem) -> ProblemResponse:
    return ProblemResponse(
        {
            "type": f"/docs#{problem.code}",
            "title": HTTPStatus(problem.status).phrase,
            "status": problem.status,
            "detail": problem.detail,
            "instance": quote(request.url.path, safe=_PATH_CHARACTERS, errors="replace"),
            "code": problem.code,
            **problem.members,
        },
        status_code=problem.status,
        headers=problem.headers,
    )


def request_not_found(request_id: str) -> Problem:
    return Problem(404, "not_found", f"There is no request {request_id!r}.")


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 - registered for Problem alone
    return problem_response(request, error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for HTTPException alone
    details = {
        404: f"There is nothing at {request.url.path}. GET / lists what there is.",
        405: f"{request.url.path} does not take {request.method}.",
    }
    problem = Problem(
        error.status_code,
        _CODES_BY_STATUS.get(error.status_code, "http_error"),
        details.get(error.status_code, error.detail),
        headers=dict(error.headers or {}),
    )
    return problem_response(request, problem)


async def _on_database_error(request: Request, error: Exception) -> Response:
    if not is_unavailable(error):
        return await _on_error(request, error)
    log.error("database unavailable", error=str(error).splitlines()[0])
    problem = Problem(
        503,
        "database_unavailable",
        "The database cannot be reached now, and whether this call took effect is not known."
        " Try again; an upload with an Idempotency-Key is stored once, however often it is sent.",
        headers={"Retry-After": "5"},
    )
    return problem_response(request, problem)


async def _on_error(request: Request, error: Exception) -> Response:
    log.error("request failed", path=request.url.path, exc_info=error)
    problem = Problem(
        500,
        "internal",
        "Something went wrong on our side. The X-Request-Id of this answer finds it in the log.",
    )
    return problem_response(request, problem)


async def _on_disconnect(request: Request, error: Exception) -> Response:
    """The caller hung up in the middle of the body; nobody reads this answer."""
    return Response(status_code=400)


EXCEPTION_HANDLERS: dict[Any, ExceptionHandler] = {
    Problem: _on_problem,
    HTTPException: _on_http_exception,
    ClientDisconnect: _on_disconnect,
    SQLAlchemyError: _on_database_error,
    psycopg.Error: _on_database_error,
    Exception: _on_error,
}
