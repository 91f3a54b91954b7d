"""Deleting a request."""

import structlog
from starlette.requests import Request
from starlette.responses import Response

from halftone_api.endpoints.declaration import Answer, Tag, endpoint
from halftone_api.endpoints.parameters import REQUEST_ID
from halftone_api.endpoints.request_lookup import find_request
from halftone_api.errors import Problem, ProblemCode
from halftone_api.services import services
from halftone_shared.errors import NotEnded
from halftone_shared.service.sweeper import delete_request

log = structlog.get_logger(__name__)


@endpoint(
    "DELETE",
    "/api/requests/{request_id}",
    name="delete",
    tag=Tag.REQUESTS,
    summary="Delete an ended request with its images",
    parameters=(REQUEST_ID,),
    answers={204: Answer("Deleted. Its output URLs answer 404.")},
    problems=(ProblemCode.NOT_FOUND, ProblemCode.NOT_ENDED),
)
def delete(request: Request) -> Response:
    row = find_request(request)
    found = services(request)
    try:
        delete_request(found.engine, found.store, found.storage_check, row.id, row.total_products)
    except NotEnded:
        status = find_request(request).status  # 404 if it is gone by now
        raise Problem(
            ProblemCode.NOT_ENDED,
            f"The request is {status}. Cancel it first, or wait until it has ended.",
        ) from None
    log.info("request deleted", request_id=str(row.id))
    return Response(status_code=204)
