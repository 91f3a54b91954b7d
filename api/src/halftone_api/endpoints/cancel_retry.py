"""Cancelling a request, and retrying its failed images."""

from contextlib import suppress
from typing import Annotated
from urllib.parse import urlsplit

import structlog
from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from halftone_api.endpoints.authentication import find_admin
from halftone_api.endpoints.declaration import Answer, Parameter, Tag, endpoint
from halftone_api.endpoints.parameters import ERROR_CODE, REQUEST_ID
from halftone_api.endpoints.rate_limiting import limit_repeats
from halftone_api.endpoints.request_lookup import find_request
from halftone_api.errors import Problem, ProblemCode
from halftone_api.services import services
from halftone_shared.db.cancel_retry import cancel_request, ended_with_failures, retry_request
from halftone_shared.errors import AlreadyEnded, NotEnded, NothingToRetry
from halftone_shared.model.json_types import Uuid
from halftone_shared.model.status_object import StatusObject

log = structlog.get_logger(__name__)

# How long a cancel may delay its response; a large one continues in the background.
CANCEL_PATIENCE_SECONDS = 2.0
# Requests that one call retries, so that it answers soon.
RETRIED_A_CALL = 500
DEFAULT_SINCE_SECONDS, MAX_SINCE_SECONDS = 86_400, 31_536_000


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


class Retried(TypedDict):
    request_ids: Annotated[list[Uuid], Field(description="The requests that are tried again.")]
    more: Annotated[
        bool, Field(description=f"There are further ones: a call takes {RETRIED_A_CALL} at most.")
    ]


def _parse_seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= MAX_SINCE_SECONDS:
        raise ValueError(text)
    return seconds


SINCE_SECONDS = Parameter(
    name="since_seconds",
    description="Only requests that ended within this time.",
    schema={
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": MAX_SINCE_SECONDS,
        "default": DEFAULT_SINCE_SECONDS,
    },
    parse=_parse_seconds,
    expected=f"a number above 0, up to {MAX_SINCE_SECONDS}",
    default=float(DEFAULT_SINCE_SECONDS),
)


@endpoint(
    "POST",
    "/api/retry",
    name="retry_all",
    tag=Tag.OPERATIONS,
    summary="Try again what failed in every request that ended lately",
    description="With `error_code`, only products with an image that failed with this code. For"
    " admin keys, or with HALFTONE_AUTH=off.",
    parameters=(ERROR_CODE, SINCE_SECONDS),
    answers={202: Answer("The requests that are tried again.", Retried)},
    problems=(
        ProblemCode.INVALID_PARAMETER,
        ProblemCode.FORBIDDEN,
        ProblemCode.RATE_LIMITED,
    ),
)
def retry_all(request: Request) -> Response:
    return JSONResponse(retried(request), status_code=202)


def retried(request: Request) -> Retried:
    """Retry what the call's parameters select."""
    find_admin(request)
    code, since_seconds = ERROR_CODE.of(request), SINCE_SECONDS.of(request)
    limit_repeats(request)
    found = services(request)
    with found.engine.connect() as connection:
        failed = ended_with_failures(connection, code=code, since_seconds=since_seconds)
    request_ids = []
    for request_id in failed[:RETRIED_A_CALL]:
        with suppress(NotEnded, NothingToRetry):  # retried or deleted since it was listed
            retry_request(
                found.engine,
                request_id,
                found.settings.public_url,
                found.settings.retention_days,
                code=code,
            )
            request_ids.append(str(request_id))
    log.info("retry of all accepted", requests=len(request_ids), code=code)
    return {"request_ids": request_ids, "more": len(failed) > RETRIED_A_CALL}


def _accepted(request: Request) -> Response:
    status = services(request).status_object(find_request(request))
    headers = {"Location": urlsplit(status["links"]["self"]).path, "Retry-After": "1"}
    return JSONResponse(status, status_code=202, headers=headers)
