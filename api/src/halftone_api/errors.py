"""Errors as clients see them: RFC 9457 problem details, application/problem+json, each with a
stable `code`.

A Problem is raised anywhere below an endpoint and answered here. Any other exception is logged and
answered as 500; a database that cannot be reached as 503.
"""

import json
from enum import StrEnum
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


class ProblemCode(StrEnum):
    """Every code of a problem: its HTTP status, what happened, and what the caller can do.

    This is the only list: raising a Problem, OpenAPI and `/docs` take code, status and texts from
    here. To add a code, add a member.
    """

    status: int
    meaning: str
    remedy: str

    def __new__(
        cls, code: str, status: int = 0, meaning: str = "", remedy: str = ""
    ) -> "ProblemCode":
        # The defaults are for mypy, which takes ProblemCode("not_found") for a call of this.
        member = str.__new__(cls, code)
        member._value_ = code
        member.status = status
        member.meaning = meaning
        member.remedy = remedy
        return member

    # The form
    MISSING_FILE = (
        "missing_file",
        400,
        "The form has no file in its field `file`.",
        "Send the file as multipart/form-data in a field called `file`.",
    )
    MALFORMED_FORM = (
        "malformed_form",
        400,
        "The multipart form cannot be read, or ends before its closing boundary.",
        "Send the upload again; let a library build the form.",
    )
    NOT_MULTIPART = (
        "not_multipart",
        415,
        "The body is not multipart/form-data.",
        "Send the file as multipart/form-data in a field called `file`.",
    )
    INVALID_OPTION = (
        "invalid_option",
        400,
        "The form field in `option` has a value that cannot be used, or does not exist.",
        "Correct the value; `detail` says what is expected.",
    )
    INVALID_WEBHOOK_URL = (
        "invalid_webhook_url",
        400,
        "The webhook URL is not an http(s) URL, or its address is not allowed.",
        "Give a public http(s) URL.",
    )
    TOO_LARGE = (
        "too_large",
        413,
        "The file has more than `limit` bytes.",
        "Split the file into several uploads.",
    )
    UPLOAD_TIMEOUT = (
        "upload_timeout",
        408,
        "The body did not arrive in time.",
        "Send it over a faster connection, or split the file.",
    )
    # The file
    NOT_CSV = (
        "not_csv",
        400,
        "The file is not a table that halftone can read.",
        "Export the table as CSV or .xlsx and upload that.",
    )
    EMPTY_CSV = ("empty_csv", 400, "The file is empty.", "Upload a file with a header and rows.")
    BAD_ENCODING = (
        "bad_encoding",
        400,
        "The file is neither UTF-8 nor UTF-16 with a byte order mark; `byte_offset` says where.",
        "Save the file as UTF-8; Excel calls it “CSV UTF-8”.",
    )
    MALFORMED_CSV = (
        "malformed_csv",
        400,
        "The row that starts on `line` cannot be read, usually because of a quote.",
        "Close the quote, or double a quote inside a quoted cell.",
    )
    MISSING_COLUMNS = (
        "missing_columns",
        400,
        "The header lacks the columns in `columns`.",
        "Add the columns, or name them as `detail` says.",
    )
    DUPLICATE_COLUMNS = (
        "duplicate_columns",
        400,
        "The header has the columns in `columns` more than once.",
        "Keep one of each.",
    )
    NO_ROWS = ("no_rows", 400, "The file has a header and no row below it.", "Add the rows.")
    TOO_MANY_ROWS = (
        "too_many_rows",
        413,
        "The file has more than `limit` rows.",
        "Split the file into several uploads.",
    )
    INVALID_ROWS = (
        "invalid_rows",
        422,
        "Some rows are invalid: `errors` lists the first 100, `error_count` counts all. "
        "Nothing was stored.",
        "Correct the rows that `errors` names and upload the file again.",
    )
    IDEMPOTENCY_KEY_REUSED = (
        "idempotency_key_reused",
        422,
        "The same Idempotency-Key came with a different upload less than 24 hours ago.",
        "Use a new key for a new upload.",
    )
    # The call
    BAD_FRAMING = (
        "bad_framing",
        400,
        "The call gives the length of its body, or its host, twice or in an invalid form.",
        "Send one Host, and one Content-Length or Transfer-Encoding: chunked.",
    )
    INVALID_PARAMETER = (
        "invalid_parameter",
        400,
        "The parameter in `parameter` has a value that cannot be used.",
        "Correct the value; `detail` says what is expected.",
    )
    UNAUTHORIZED = (
        "unauthorized",
        401,
        "The header `Authorization: Bearer KEY` is missing, or its key is unknown or revoked.",
        "Send a key; `halftone keys create` makes one.",
    )
    # Callbacks
    BAD_SIGNATURE = (
        "bad_signature",
        401,
        "The callback is not signed with the processor's secret, or its timestamp is more than five"
        " minutes off.",
        "Sign every attempt with HALFTONE_PROCESSOR_SECRET, as Standard Webhooks describes.",
    )
    MALFORMED_CALLBACK = (
        "malformed_callback",
        400,
        "The callback's body cannot be used.",
        "Send JSON with `job_id`, `status` and `output_url` or `error`.",
    )
    JOB_ENDED = (
        "job_ended",
        409,
        "The job has already ended: it expired, was cancelled, or had another result.",
        "Drop the result. halftone sends the image again if it still needs it.",
    )
    NOT_FOUND = (
        "not_found",
        404,
        "There is nothing at this address, or it belongs to another owner.",
        "Check the ID and the key.",
    )
    FORBIDDEN = (
        "forbidden",
        403,
        "The key may not do this.",
        "Use an admin key; `halftone keys create OWNER --admin` makes one.",
    )
    CROSS_SITE = (
        "cross_site",
        403,
        "A page of another site made the browser send the call, or its CSRF token is missing.",
        "Use the service's own pages; programs send an API key.",
    )
    UNKNOWN_HOST = (
        "unknown_host",
        421,
        "The Host header names a host that is not this service's.",
        "Call it by the host of HALFTONE_PUBLIC_URL, or add the host to HALFTONE_ALLOWED_HOSTS.",
    )
    HEADERS_TOO_LARGE = (
        "headers_too_large",
        431,
        "The request line and headers have more than 64 KiB.",
        "Send fewer or shorter headers.",
    )
    METHOD_NOT_ALLOWED = (
        "method_not_allowed",
        405,
        "The path takes other methods.",
        "Use a method that the Allow header lists.",
    )
    RANGE_NOT_SATISFIABLE = (
        "range_not_satisfiable",
        416,
        "The range starts after the end of the image.",
        "Ask for a range within the length in Content-Range.",
    )
    RATE_LIMITED = (
        "rate_limited",
        429,
        "Too many calls of this kind.",
        "Wait as many seconds as Retry-After says.",
    )
    # The request's state
    NOT_ENDED = (
        "not_ended",
        409,
        "The request still runs.",
        "Wait until it has ended, or cancel it.",
    )
    ALREADY_ENDED = (
        "already_ended",
        409,
        "The request has ended.",
        "Nothing: only a running request can be cancelled.",
    )
    NOTHING_TO_RETRY = (
        "nothing_to_retry",
        409,
        "Nothing in the request failed.",
        "Nothing: retry works on failed and cancelled products.",
    )
    NO_WEBHOOK = (
        "no_webhook",
        409,
        "The request was uploaded without a webhook URL.",
        "Give `webhook_url` with the upload.",
    )
    # The service
    HTTP_ERROR = (
        "http_error",
        400,
        "The call cannot be read or answered as HTTP.",
        "Read `detail`. An HTTP library does not send such a call.",
    )
    INTERNAL = (
        "internal",
        500,
        "The service failed.",
        "Give the X-Request-Id of the answer to the operator: it finds the error in the log.",
    )
    DATABASE_UNAVAILABLE = (
        "database_unavailable",
        503,
        "The database cannot be reached. It is not known whether the call had an effect.",
        "Try again; an upload with an Idempotency-Key is stored once.",
    )
    STORAGE_UNAVAILABLE = (
        "storage_unavailable",
        503,
        "The storage of the images cannot be reached, or has no room for an upload.",
        "Try again.",
    )
    NOT_READY = (
        "not_ready",
        503,
        "The database, the broker or the storage cannot be reached; `failing` says which.",
        "Operators: see the log of the API.",
    )


# The characters that a path in a URI may contain as they are (RFC 3986, 3.3).
_PATH_CHARACTERS = "/:@!$&'()*+,;="
_CODES_BY_STATUS = {404: ProblemCode.NOT_FOUND, 405: ProblemCode.METHOD_NOT_ALLOWED}


class Problem(Exception):
    """An answer other than success; `code` decides its status.

    `members` are further members of the problem object, `headers` further headers of the response.
    `status` replaces the code's status if a framework error has a status of its own.
    """

    def __init__(
        self,
        code: ProblemCode,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        status: int | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.status = status or code.status
        self.detail = detail
        self.members = members
        self.headers = headers or {}


class ProblemResponse(JSONResponse):
    media_type = "application/problem+json"

    def render(self, content: Any) -> bytes:
        # A problem repeats the caller's text, which UTF-8 may be unable to encode.
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
    return Problem(ProblemCode.NOT_FOUND, f"There is no request {request_id!r}.")


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
        _CODES_BY_STATUS.get(error.status_code, ProblemCode.HTTP_ERROR),
        details.get(error.status_code, error.detail),
        status=error.status_code,
        headers=dict(error.headers or {}),
    )
    return problem_response(request, problem)


async def _on_database_error(request: Request, error: Exception) -> Response:
    if not is_unavailable(error):
        return await _on_error(request, error)
    log.error("database unavailable", error=str(error).splitlines()[0])
    problem = Problem(
        ProblemCode.DATABASE_UNAVAILABLE,
        "The database cannot be reached now, and it is unknown whether this call took effect. "
        "Try again; an upload with an Idempotency-Key is stored once, however often it is sent.",
        headers={"Retry-After": "5"},
    )
    return problem_response(request, problem)


async def _on_error(request: Request, error: Exception) -> Response:
    log.error("request failed", path=request.url.path, exc_info=error)
    problem = Problem(
        ProblemCode.INTERNAL,
        "The service failed. The X-Request-Id of this answer finds the error in its log.",
    )
    return problem_response(request, problem)


async def _on_disconnect(request: Request, error: Exception) -> Response:
    """The caller disconnected in the middle of the body; nobody reads this answer."""
    return Response(status_code=400)


EXCEPTION_HANDLERS: dict[Any, ExceptionHandler] = {
    Problem: _on_problem,
    HTTPException: _on_http_exception,
    ClientDisconnect: _on_disconnect,
    SQLAlchemyError: _on_database_error,
    psycopg.Error: _on_database_error,
    Exception: _on_error,
}
