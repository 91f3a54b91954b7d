"""The routes of a request's webhook: how it was delivered, and sending it again."""

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from halftone_api.endpoints.reading import find_request
from halftone_api.endpoints.views import event_view
from halftone_api.errors import Problem, ProblemCode
from halftone_api.services import services
from halftone_shared.db.webhook_events import attempts_of, events_of, replay_event

log = structlog.get_logger(__name__)


def get_webhooks(request: Request) -> Response:
    """The events of a request, newest first, each with the attempts to deliver it."""
    row = find_request(request)
    with services(request).engine.connect() as connection:
        events = events_of(connection, row.id)
        attempts = attempts_of(connection, [event.id for event in events])
    views = [event_view(event, attempts[event.id]) for event in events]
    return JSONResponse({"request_id": str(row.id), "url": row.webhook_url, "events": views})


def replay_webhook(request: Request) -> Response:
    """Send the newest event again: same ID, same body, the schedule from its start."""
    row = find_request(request)
    if row.webhook_url is None:
        raise Problem(ProblemCode.NO_WEBHOOK, "No webhook URL was given with this request.")
    with services(request).engine.connect() as connection:
        replayed = replay_event(connection, row.id)
    if not replayed:
        status = find_request(request).status  # as it is now: it may have been deleted, too
        raise Problem(
            ProblemCode.NOT_ENDED, f"The request is {status}; its event is sent when it ends."
        )
    log.info("webhook replay accepted", request_id=str(row.id))
    return JSONResponse(
        {"message": "The event is sent again.", "request_id": str(row.id)}, status_code=202
    )
