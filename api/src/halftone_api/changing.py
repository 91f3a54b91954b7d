"""The routes that change a request: cancel it, retry what failed in it, read how its webhook went and send it again."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from halftone_api.problems import Problem
from halftone_api.reading import find_request
from halftone_api.services import services
from halftone_api.views import event_view
from halftone_shared.lifecycle import AlreadyEnded, NotEnded, NothingToRetry, cancel_request, retry_request
from halftone_shared.webhook_events import attempts_of, events_of, replay_event

# A small request is cancelled when the answer comes; a large one goes on behind it.
CANCEL_PATIENCE_SECONDS = 2.0


def cancel(request: Request) -> Response:
    """End what has not ended yet; what has finished keeps its results."""
    row = find_request(request)
    try:
        cancel_request(services(request).engine, row.id, patience_seconds=CANCEL_PATIENCE_SECONDS)
    except AlreadyEnded:
        raise Problem(
            409, "already_ended", f"The request is {row.status}; only a running one can be cancelled."
        ) from None
    return _accepted(request)


def retry(request: Request) -> Response:
    """Try what failed again, under the same ID."""
    row = find_request(request)
    try:
        settings = services(request).settings
        retry_request(services(request).engine, row.id, settings.public_url, settings.retention_days)
    except NotEnded:
        raise Problem(409, "not_ended", f"The request is {row.status}. Retry it when it has ended.") from None
    except NothingToRetry:
        raise Problem(409, "nothing_to_retry", "Nothing in the request failed.") from None
    return _accepted(request)


def _accepted(request: Request) -> Response:
    row = find_request(request)
    return JSONResponse(
        services(request).status_object(row),
        status_code=202,
        headers={"Location": f"/api/status/{row.id}", "Retry-After": "1"},
    )


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
        raise Problem(409, "no_webhook", "No webhook URL was given with this request.")
    with services(request).engine.connect() as connection:
        replayed = replay_event(connection, row.id)
    if not replayed:
        raise Problem(409, "not_ended", f"The request is {row.status}; its event is sent when it ends.")
    return JSONResponse({"message": "The event is sent again.", "request_id": str(row.id)}, status_code=202)
