"""The routes that change a request: cancel it, and retry what failed in it."""

from urllib.parse import urlsplit

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from halftone_api.endpoints.reading import find_request
from halftone_api.errors import Problem, ProblemCode
from halftone_api.services import services
from halftone_shared.db.cancel_retry import cancel_request, retry_request
from halftone_shared.errors import AlreadyEnded, NotEnded, NothingToRetry

log = structlog.get_logger(__name__)

# A small request is cancelled when the answer comes; a large one goes on behind it.
CANCEL_PATIENCE_SECONDS = 2.0


def cancel(request: Request) -> Response:
    """End what has not ended yet; what has finished keeps its results."""
    row = find_request(request)
    try:
        cancel_request(services(request).engine, row.id, patience_seconds=CANCEL_PATIENCE_SECONDS)
    except AlreadyEnded:
        status = find_request(request).status  # as it is now: it may have been deleted, too
        raise Problem(
            ProblemCode.ALREADY_ENDED,
            f"The request is {status}; only a running one can be cancelled.",
        ) from None
    log.info("cancellation accepted", request_id=str(row.id))
    return _accepted(request)


def retry(request: Request) -> Response:
    """Try what failed again, under the same ID."""
    row = find_request(request)
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
