"""The list of a caller's requests."""

from typing import Annotated, NotRequired

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from halftone_api.endpoints.authentication import Caller, find_caller
from halftone_api.endpoints.declaration import Answer, Parameter, Tag, endpoint
from halftone_api.endpoints.parameters import (
    ERROR_CODE,
    LIMIT,
    REQUEST_CURSOR,
    STATUS,
    choice,
    encode_cursor,
)
from halftone_api.errors import ProblemCode
from halftone_api.services import services
from halftone_shared.db.requests import RequestSearch, list_status, sum_requests
from halftone_shared.model.json_types import Count
from halftone_shared.model.status_object import StatusObject

MAX_SEARCH_CHARACTERS = 200


def _parse_search(text: str) -> str:
    if len(text) > MAX_SEARCH_CHARACTERS or "\0" in text:
        raise ValueError(text)
    return text.strip()


SEARCH = Parameter(
    name="q",
    description="Only requests whose file name contains this text, or whose ID starts with it.",
    schema={"type": "string", "maxLength": MAX_SEARCH_CHARACTERS},
    parse=_parse_search,
    expected=f"a text of at most {MAX_SEARCH_CHARACTERS} characters",
    default="",
)


INCLUDE = choice("include", ("totals",), "Adds the totals of all requests that are found.")


class RequestTotals(TypedDict):
    """Sums over all requests that a search finds, on all pages."""

    requests: Count
    total_images: Count
    processed_images: Count
    failed_images: Count
    bytes_in: Count
    bytes_out: Count
    bytes_saved: int


class RequestsPage(TypedDict):
    requests: list[StatusObject]
    next_cursor: str | None
    totals: NotRequired[Annotated[RequestTotals, Field(description="With `include=totals`.")]]


@endpoint(
    "GET",
    "/api/requests",
    name="requests",
    tag=Tag.REQUESTS,
    summary="Requests, newest first",
    parameters=(LIMIT, REQUEST_CURSOR, STATUS, ERROR_CODE, SEARCH, INCLUDE),
    answers={200: Answer("A page of status objects.", RequestsPage)},
    problems=(ProblemCode.INVALID_PARAMETER,),
)
def list_requests(request: Request) -> Response:
    return JSONResponse(requests_page(request))


def recent_requests(request: Request, caller: Caller, limit: int) -> list[StatusObject]:
    """The caller's newest requests."""
    with services(request).engine.connect() as connection:
        rows = list_status(
            connection, RequestSearch(owner=caller.sees_only), before=None, limit=limit
        )
    return [services(request).status_object(row) for row in rows]


def requests_page(request: Request) -> RequestsPage:
    """The requests that the call's parameters select."""
    search = RequestSearch(
        owner=find_caller(request).sees_only,
        status=STATUS.of(request),
        error_code=ERROR_CODE.of(request),
        text=SEARCH.of(request),
    )
    before, limit = REQUEST_CURSOR.of(request), LIMIT.of(request)
    with services(request).engine.connect() as connection:
        rows = list_status(connection, search, before=before, limit=limit + 1)
        sums = sum_requests(connection, search) if INCLUDE.of(request) else None
    page = rows[:limit]
    next_cursor = (
        encode_cursor(page[-1].created_at.isoformat(), page[-1].id) if len(rows) > limit else None
    )
    found: RequestsPage = {
        "requests": [services(request).status_object(row) for row in page],
        "next_cursor": next_cursor,
    }
    if sums is not None:
        found["totals"] = {
            "requests": sums.requests,
            "total_images": sums.total_images,
            "processed_images": sums.processed_images,
            "failed_images": sums.failed_images,
            "bytes_in": sums.bytes_in,
            "bytes_out": sums.bytes_out,
            "bytes_saved": sums.bytes_in - sums.bytes_out,
        }
    return found
