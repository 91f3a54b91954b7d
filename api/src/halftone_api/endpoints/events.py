"""A request's progress as it happens: one server-sent event for every change."""

import hashlib
import json
from collections.abc import AsyncIterator
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from halftone_api.endpoints.authentication import find_caller
from halftone_api.endpoints.declaration import Answer, Parameter, Tag, endpoint
from halftone_api.endpoints.parameters import REQUEST_ID, TEXT
from halftone_api.endpoints.request_lookup import find_request
from halftone_api.errors import ProblemCode
from halftone_api.services import services
from halftone_shared.db.engine import is_unavailable
from halftone_shared.model.request_status import RequestStatus

# How often a watched request is checked. People cannot read faster updates.
LOOK_EVERY_SECONDS = 0.5
PING_EVERY_SECONDS = 15
_RECONNECT_MILLISECONDS = 2000


LAST_EVENT_ID: Parameter[str | None] = Parameter(
    name="Last-Event-ID",
    where="header",
    description="The `id` of the last event received; an unchanged status is not sent again.",
    schema=TEXT,
    parse=str,
    expected="an event's id",
    default=None,
)


@endpoint(
    "GET",
    "/api/events/{request_id}",
    name="events",
    tag=Tag.REQUESTS,
    summary="The progress of a request as server-sent events, until it has ended",
    parameters=(REQUEST_ID, LAST_EVENT_ID),
    answers={
        200: Answer("`status` events with the status object.", media_types=("text/event-stream",)),
        204: Answer("The request has ended, and Last-Event-ID is that of its last event."),
    },
    problems=(ProblemCode.NOT_FOUND,),
)
async def watch(request: Request) -> Response:
    """`status` events, each with the status object: the first at once, the last when the request
    has ended.

    A client that reconnects with the current Last-Event-ID gets no repeat. After the last event the
    answer is 204: a browser's EventSource reconnects after any other end.
    """
    row = await run_in_threadpool(find_request, request)
    if row.has_ended and _event(request, row).id == LAST_EVENT_ID.of(request):
        return Response(status_code=204)
    return EventSourceResponse(
        _changes(request, row),
        ping=PING_EVERY_SECONDS,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def status_changes(request: Request, row: RequestStatus) -> AsyncIterator[RequestStatus]:
    """The request now, then after each change, until it has ended, is gone, or the caller's key is
    revoked.
    """
    key_id = (await run_in_threadpool(find_caller, request)).key_id
    current: RequestStatus | None = row
    shown: RequestStatus | None = None
    while current is not None:
        if current != shown:
            shown = current
            yield current
        if current.has_ended:
            return
        current = await _next(request, current, key_id)


async def _changes(request: Request, row: RequestStatus) -> AsyncIterator[ServerSentEvent]:
    last_id = LAST_EVENT_ID.of(request)
    async for current in status_changes(request, row):
        event = _event(request, current)
        if event.id != last_id:
            last_id = event.id
            yield event


def _event(request: Request, row: RequestStatus) -> ServerSentEvent:
    """The status object as an event. Equal status objects have equal IDs."""
    data = json.dumps(
        services(request).status_object(row), ensure_ascii=False, separators=(",", ":")
    )
    event_id = hashlib.blake2b(data.encode(), digest_size=12).hexdigest()
    return ServerSentEvent(data, event="status", id=event_id, retry=_RECONNECT_MILLISECONDS)


async def _next(request: Request, seen: RequestStatus, key_id: UUID | None) -> RequestStatus | None:
    """The request at the next look; None if it is gone, or the key is revoked. If the database is
    away, the last known state: the response has begun, so it can no longer become a problem.
    """
    try:
        return await services(request).status_watch.look(seen.id, key_id)
    except SQLAlchemyError as error:
        if not is_unavailable(error):
            raise
        return seen
