"""Path and query parameters, checked: what cannot be used is answered with the parameter, the value
and what is expected.
"""

import base64
import binascii
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from starlette.requests import Request

from halftone_api.errors import Problem, ProblemCode, request_not_found
from halftone_shared.model.states import Status

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000

T = TypeVar("T")


def request_id_of(request: Request) -> UUID:
    """The request ID in the path. What is no UUID names no request: 404."""
    text = request.path_params["request_id"]
    try:
        request_id = UUID(text)
    except ValueError:
        raise request_not_found(text) from None
    if str(request_id) != text.lower():
        raise request_not_found(text)
    return request_id


def whole_number(text: str) -> int | None:
    """A number of at most nine digits; None for any other text."""
    return int(text) if len(text) < 10 and text.isascii() and text.isdecimal() else None


def limit_of(request: Request) -> int:
    text = request.query_params.get("limit", str(DEFAULT_LIMIT))
    limit = whole_number(text)
    if limit is None or not 1 <= limit <= MAX_LIMIT:
        raise _invalid("limit", text, f"a whole number from 1 to {MAX_LIMIT}")
    return limit


def status_of(request: Request) -> Status | None:
    text = request.query_params.get("status")
    if text is None:
        return None
    try:
        return Status(text.upper())
    except ValueError:
        raise _invalid("status", text, "one of " + ", ".join(Status)) from None


def choice_of(request: Request, name: str, choices: tuple[str, ...]) -> str | None:
    """A parameter that may be left out, or be one of a few words."""
    text = request.query_params.get(name)
    if text is not None and text not in choices:
        raise _invalid(name, text, "one of " + ", ".join(choices))
    return text


def encode_cursor(*parts: object) -> str:
    return base64.urlsafe_b64encode("|".join(map(str, parts)).encode()).decode().rstrip("=")


def product_cursor_of(request: Request) -> int:
    """The seq behind which a page of products begins."""
    text = request.query_params.get("cursor")
    if text is None:
        return 0
    seq = whole_number(*_decode_cursor(text, 1))
    if seq is None:
        raise _invalid_cursor(text)
    return seq


def request_cursor_of(request: Request) -> tuple[datetime, UUID] | None:
    """Creation time and ID of the last request that the caller has seen."""
    text = request.query_params.get("cursor")
    if text is None:
        return None
    created_at, request_id = _decode_cursor(text, 2)
    try:
        moment = datetime.fromisoformat(created_at)
        if moment.tzinfo is None:
            raise ValueError(created_at)
        return moment, UUID(request_id)
    except ValueError:
        raise _invalid_cursor(text) from None


def _decode_cursor(text: str, parts: int) -> list[str]:
    try:
        decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().split("|")
    except (binascii.Error, ValueError):
        decoded = []
    if len(decoded) != parts:
        raise _invalid_cursor(text)
    return decoded


def _invalid_cursor(text: str) -> Problem:
    return _invalid("cursor", text, "the next_cursor of the page before")


def _invalid(name: str, value: str, expected: str) -> Problem:
    return Problem(
        ProblemCode.INVALID_PARAMETER,
        f"{name}={value[:100]!r}: expected {expected}.",
        parameter=name,
    )
