"""Why images of a request failed, grouped by code."""

from typing import Annotated

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from halftone_api.endpoints.declaration import Answer, Tag, endpoint
from halftone_api.endpoints.parameters import REQUEST_ID
from halftone_api.endpoints.request_lookup import find_request
from halftone_api.errors import ProblemCode
from halftone_api.services import services
from halftone_shared.db.details import failures_by_code
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.json_types import Count, Uuid
from halftone_shared.model.request_status import RequestStatus


class FailureGroup(TypedDict):
    """The images that failed with one code."""

    code: ImageErrorCode
    images: Count
    products: Count
    message: Annotated[str, Field(description="The message of one of these errors.")]
    meaning: str
    retried: Annotated[bool, Field(description="Whether the service tried again by itself.")]
    remedy: Annotated[str, Field(description="What to do about it.")]


class FailureGroups(TypedDict):
    request_id: Uuid
    failures: list[FailureGroup]


@endpoint(
    "GET",
    "/api/failures/{request_id}",
    name="failures",
    tag=Tag.REQUESTS,
    summary="Why images failed, by code, with what to do",
    description="Counts the first 10,000 products with a failure.",
    parameters=(REQUEST_ID,),
    answers={200: Answer("One entry for each code, the most frequent first.", FailureGroups)},
    problems=(ProblemCode.NOT_FOUND,),
)
def get_failures(request: Request) -> Response:
    row = find_request(request)
    return JSONResponse({"request_id": str(row.id), "failures": failures_of(request, row)})


def failures_of(request: Request, row: RequestStatus) -> list[FailureGroup]:
    """The failures of a request by code; without failed images there is no query."""
    if not row.failed_images:
        return []
    with services(request).engine.connect() as connection:
        groups = failures_by_code(connection, row.id)
    return [
        {
            "code": group.code,
            "images": group.images,
            "products": group.products,
            "message": group.message,
            "meaning": group.code.meaning,
            "retried": group.retried,
            "remedy": group.code.remedy,
        }
        for group in groups
    ]
