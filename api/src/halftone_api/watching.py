"""The route that tells a request's progress as it happens: server-sent events, one for every change."""

import asyncio
import json
from collections.abc import AsyncIterator

from sqlalchemy.exc import SQLAlchemyError
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from halftone_api.problems import Problem
from halftone_api.reading import find_request
from halftone_api.services import services
from halftone_shared.database import AnyRow, is_unavailable
from halftone_shared.status_object import has_ended

# How often a watched request is looked at. Progress that is told more often cannot be read.
LOOK_EVERY_SECONDS = 0.5
PING_EVERY_SECONDS = 15
_RECONNECT_MILLISECONDS = 2000


async def watch(request: Request) -> Response:
    """`status` events, each with the status object: the first at once, the last when the request has ended."""
    row = await run_in_threadpool(find_request, request)
    return EventSourceResponse(
        _changes(request, row),
        ping=PING_EVERY_SECONDS,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _changes(request: Request, row: AnyRow | None) -> AsyncIterator[ServerSentEvent]:
    told = None
    while row is not None:
        data = json.dumps(services(request).status_object(row), ensure_ascii=False, separators=(",", ":"))
        if data != told:
            told = data
            yield ServerSentEvent(data, event="status", retry=_RECONNECT_MILLISECONDS)
        if has_ended(row):
            return
        await asyncio.sleep(LOOK_EVERY_SECONDS)
        row = await run_in_threadpool(_look, request, row)


def _look(request: Request, seen: AnyRow) -> AnyRow | None:
    """The request now, None where it or its caller's key is gone; as it was seen last while the database is away: the
    answer has begun, and can say no other.
    """
    try:
        return find_request(request)
    except Problem:
        return None
    except SQLAlchemyError as error:
        if not is_unavailable(error):
            raise
        return seen
