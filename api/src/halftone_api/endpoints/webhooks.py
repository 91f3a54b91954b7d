"""A request's webhook: its delivery log, and replaying its events."""

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from halftone_api.endpoints.declaration import Answer, Tag, endpoint
from halftone_api.endpoints.parameters import REQUEST_ID
from halftone_api.endpoints.rate_limiting import limit_repeats
from halftone_api.endpoints.request_lookup import find_request
from halftone_api.endpoints.views import Event, event_view
from halftone_api.errors import Problem, ProblemCode
from halftone_api.services import services
from halftone_shared.db.webhook_events import attempts_of, events_of, replay_event
from halftone_shared.model.json_types import Uuid
from halftone_shared.model.request_status import RequestStatus
from halftone_shared.model.urls import without_password

log = structlog.get_logger(__name__)


class Webhooks(TypedDict):
    request_id: Uuid
    url: str | None
    events: list[Event]


class Replayed(TypedDict):
    message: str
    request_id: Uuid


@endpoint(
    "GET",
    "/api/webhooks/{request_id}",
    name="webhooks",
    tag=Tag.WEBHOOKS,
    summary="How the webhook of a request was delivered",
    parameters=(REQUEST_ID,),
    answers={200: Answer("The events, newest first, with the attempts of each.", Webhooks)},
    problems=(ProblemCode.NOT_FOUND,),
)
def get_webhooks(request: Request) -> Response:
    return JSONResponse(webhooks_of(request, find_request(request)))


def webhooks_of(request: Request, row: RequestStatus) -> Webhooks:
    """The webhook events of a request with their delivery log."""
    with services(request).engine.connect() as connection:
        events = events_of(connection, row.id)
        attempts = attempts_of(connection, [event.id for event in events])
    views = [event_view(event, attempts[event.id]) for event in events]
    return {
        "request_id": str(row.id),
        "url": row.webhook_url and without_password(row.webhook_url),
        "events": views,
    }


@endpoint(
    "POST",
    "/api/webhooks/{request_id}/replay",
    name="replay",
    tag=Tag.WEBHOOKS,
    summary="Send the newest webhook event of a request again",
    description="With the same ID and body. The schedule of attempts starts again.",
    parameters=(REQUEST_ID,),
    answers={202: Answer("The event is due again.", Replayed)},
    problems=(
        ProblemCode.NOT_FOUND,
        ProblemCode.NO_WEBHOOK,
        ProblemCode.NOT_ENDED,
        ProblemCode.RATE_LIMITED,
    ),
)
def replay_webhook(request: Request) -> Response:
    row = find_request(request)
    limit_repeats(request)
    if row.webhook_url is None:
        raise Problem(ProblemCode.NO_WEBHOOK, "No webhook URL was given with this request.")
    with services(request).engine.connect() as connection:
        replayed = replay_event(connection, row.id)
    if not replayed:
        status = find_request(request).status  # read again: it may have been deleted meanwhile
        raise Problem(
            ProblemCode.NOT_ENDED, f"The request is {status}; its event is sent when it ends."
        )
    log.info("webhook replay accepted", request_id=str(row.id))
    return JSONResponse(
        {"message": "The event is sent again.", "request_id": str(row.id)}, status_code=202
    )
