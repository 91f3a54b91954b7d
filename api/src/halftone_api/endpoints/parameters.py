"""Parameters that several endpoints take, and the cursors of pages."""

import base64
import binascii
from datetime import datetime
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from halftone_api.endpoints.declaration import Parameter
from halftone_api.errors import request_not_found
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.option_kinds import JsonSchema
from halftone_shared.model.origins import parse_host
from halftone_shared.model.states import Status

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000

EnumT = TypeVar("EnumT", bound=StrEnum)
TEXT: JsonSchema = {"type": "string"}


def whole_number(text: str) -> int | None:
    """A number of at most nine digits; None for any other text."""
    return int(text) if len(text) < 10 and text.isascii() and text.isdecimal() else None


def choice(name: str, choices: tuple[str, ...], description: str) -> Parameter[str | None]:
    """An optional query parameter that takes one of a few words."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return Parameter(
        name=name,
        description=description,
        schema={"type": "string", "enum": list(choices)},
        parse=parse,
        expected="one of " + ", ".join(choices),
        default=None,
    )


def _parse_request_id(text: str) -> UUID:
    request_id = UUID(text)
    if str(request_id) != text.lower():  # UUID() also reads braces, and digits without hyphens
        raise ValueError(text)
    return request_id


REQUEST_ID = Parameter(
    name="request_id",
    where="path",
    description="The ID from the answer to the upload.",
    schema={"type": "string", "format": "uuid"},
    parse=_parse_request_id,
    expected="a UUID",
    default=UUID(int=0),
    refuse=request_not_found,
)


def _parse_limit(text: str) -> int:
    limit = whole_number(text)
    if limit is None or not 1 <= limit <= MAX_LIMIT:
        raise ValueError(text)
    return limit


LIMIT = Parameter(
    name="limit",
    description="The most entries to return.",
    schema={"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    parse=_parse_limit,
    expected=f"a whole number from 1 to {MAX_LIMIT}",
    default=DEFAULT_LIMIT,
)


def _parse_status(text: str) -> Status:
    return Status(text.upper())


STATUS: Parameter[Status | None] = Parameter(
    name="status",
    description="Only entries with this status.",
    schema={"type": "string", "enum": [status.value for status in Status]},
    parse=_parse_status,
    expected="one of " + ", ".join(Status),
    default=None,
)


def _parse_error_code(text: str) -> ImageErrorCode:
    return ImageErrorCode(text.lower())


ERROR_CODE: Parameter[ImageErrorCode | None] = Parameter(
    name="error_code",
    description="Only entries with an image that failed with this code.",
    schema={"type": "string", "enum": [code.value for code in ImageErrorCode]},
    parse=_parse_error_code,
    expected="a code of an image that failed",
    default=None,
)


HOST = Parameter(
    name="host",
    where="path",
    description="A host as in URLs. With a port, only that port is meant.",
    schema={"type": "string"},
    parse=parse_host,
    expected="a host name or address, with or without :port",
    default="",
)


def encode_cursor(*parts: object) -> str:
    return base64.urlsafe_b64encode("|".join(map(str, parts)).encode()).decode().rstrip("=")


def _decode_cursor(text: str, parts: int) -> list[str]:
    try:
        decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().split("|")
    except binascii.Error as error:
        raise ValueError(text) from error
    if len(decoded) != parts:
        raise ValueError(text)
    return decoded


def _parse_product_cursor(text: str) -> int:
    seq = whole_number(*_decode_cursor(text, 1))
    if seq is None:
        raise ValueError(text)
    return seq


def _parse_request_cursor(text: str) -> tuple[datetime, UUID]:
    created_at, request_id = _decode_cursor(text, 2)
    moment = datetime.fromisoformat(created_at)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment, UUID(request_id)


_CURSOR = "The `next_cursor` of the page before."
_CURSOR_EXPECTED = "the next_cursor of the page before"

# The `seq` of the last product that the caller has seen.
PRODUCT_CURSOR = Parameter(
    name="cursor",
    description=_CURSOR,
    schema=TEXT,
    parse=_parse_product_cursor,
    expected=_CURSOR_EXPECTED,
    default=0,
)
# Creation time and ID of the last request that the caller has seen.
REQUEST_CURSOR: Parameter[tuple[datetime, UUID] | None] = Parameter(
    name="cursor",
    description=_CURSOR,
    schema=TEXT,
    parse=_parse_request_cursor,
    expected=_CURSOR_EXPECTED,
    default=None,
)
