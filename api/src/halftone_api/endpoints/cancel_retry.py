"""Cancelling a request, and retrying its failed images."""

from urllib.parse import urlsplit

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from halftone_api.endpoints.declaration import Answer, Tag, endpoint
from halftone_api.endpoints.parameters import REQUEST_ID
from halftone_api.endpoints.rate_limiting import limit_repeats
from halftone_api.endpoints.request_lookup import find_request
from halftone_api.errors import Problem, ProblemCode
from halftone_api.services import services
from halftone_shared.db.cancel_retry import cancel_request, retry_request
from halftone_shared.errors import AlreadyEnded, NotEnded, NothingToRetry
from halftone_shared.model.status_object import StatusObject

log = structlog.get_logger(__name__)

# How long a cancel may delay its response; a large one continues in the background.
CANCEL_PATIENCE_SECONDS = 2.0


@endpoint(
    "POST",
    "/api/cancel/{request_id}",
    name="cancel",
    tag=Tag.REQUESTS,
    summary="Cancel the request; finished products keep their results",
    parameters=(REQUEST_ID,),
    answers={202: Answer("The status object.", StatusObject)},
    problems=(ProblemCode.NOT_FOUND, ProblemCode.ALREADY_ENDED),
)
def cancel(request: Request) -> Response:
    row = find_request(request)
    try:
        cancel_request(services(request).engine, row.id, patience_seconds=CANCEL_PATIENCE_SECONDS)
    except AlreadyEnded:
        status = find_request(request).status  # read again: it may have been deleted meanwhile
        raise Problem(
            ProblemCode.ALREADY_ENDED,
            f"The request is {status}; only a running one can be cancelled.",
        ) from None
    log.info("cancellation accepted", request_id=str(row.id))
    return _accepted(request)


@endpoint(
    "POST",
    "/api/retry/{request_id}",
    name="retry",
    tag=Tag.REQUESTS,
    summary="Try again what failed, under the same ID",
    parameters=(REQUEST_ID,),
    answers={202: Answer("The status object.", StatusObject)},
    problems=(
        ProblemCode.NOT_FOUND,
        ProblemCode.NOT_ENDED,
        ProblemCode.NOTHING_TO_RETRY,
        ProblemCode.RATE_LIMITED,
    ),
)
def retry(request: Request) -> Response:
    row = find_request(request)
    limit_repeats(request)
    try:
        settings = services(request).settings
        retry_request(
            services(request).engine, row.id, settings.public_url, settings.retention_days
        )
    except NotEnded:
        status = find_request(request).status
        raise Problem(
            ProblemCode.NOT_ENDED, f"The request is {status}. Retry it when it has ended."
        ) from None
    except NothingToRetry:
        raise Problem(ProblemCode.NOTHING_TO_RETRY, "Nothing in the request failed.") from None
    log.info("retry accepted", request_id=str(row.id))
    return _accepted(request)


def _accepted(request: Request) -> Response:
    status = services(request).status_object(find_request(request))
    headers = {"Location": urlsplit(status["links"]["self"]).path, "Retry-After": "1"}
    return JSONResponse(status, status_code=202, headers=headers)
