"""The list of a caller's requests."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from halftone_api.endpoints.authentication import find_caller
from halftone_api.endpoints.declaration import Answer, Tag, endpoint
from halftone_api.endpoints.parameters import LIMIT, REQUEST_CURSOR, STATUS, encode_cursor
from halftone_api.errors import ProblemCode
from halftone_api.services import services
from halftone_shared.db.requests import list_status
from halftone_shared.model.status_object import StatusObject


class RequestsPage(TypedDict):
    requests: list[StatusObject]
    next_cursor: str | None


@endpoint(
    "GET",
    "/api/requests",
    name="requests",
    tag=Tag.REQUESTS,
    summary="Requests, newest first",
    parameters=(LIMIT, REQUEST_CURSOR, STATUS),
    answers={200: Answer("A page of status objects.", RequestsPage)},
    problems=(ProblemCode.INVALID_PARAMETER,),
)
def list_requests(request: Request) -> Response:
    return JSONResponse(requests_page(request))


def requests_page(request: Request) -> RequestsPage:
    owner = find_caller(request).sees_only
    before, limit, status = REQUEST_CURSOR.of(request), LIMIT.of(request), STATUS.of(request)
    with services(request).engine.connect() as connection:
        rows = list_status(connection, owner=owner, status=status, before=before, limit=limit + 1)
    page = rows[:limit]
    next_cursor = (
        encode_cursor(page[-1].created_at.isoformat(), page[-1].id) if len(rows) > limit else None
    )
    return {
        "requests": [services(request).status_object(row) for row in page],
        "next_cursor": next_cursor,
    }
