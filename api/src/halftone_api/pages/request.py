"""A request's page: its live progress, its products and images, and what to do about failures."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from halftone_api.endpoints.cancel_retry import cancel, retry
from halftone_api.endpoints.declaration import page
from halftone_api.endpoints.deletion import delete
from halftone_api.endpoints.details import details_page
from halftone_api.endpoints.events import status_changes
from halftone_api.endpoints.failures import failures_of
from halftone_api.endpoints.parameters import REQUEST_ID
from halftone_api.endpoints.request_lookup import find_request
from halftone_api.endpoints.webhooks import replay_webhook, webhooks_of
from halftone_api.errors import Problem, ProblemCode
from halftone_api.pages.formats import saved_percent
from halftone_api.pages.forms import without_blanks
from halftone_api.pages.rendering import base_path, render, render_text
from halftone_api.pages.sign_in import sign_in_redirect
from halftone_api.services import services
from halftone_shared.model.request_status import RequestStatus
from halftone_shared.model.status_object import StatusObject

PING_EVERY_SECONDS = 15
_PAGE_PRODUCTS = 24


@page("GET", "/r/{request_id}", parameters=(REQUEST_ID,))
def request_page(request: Request) -> Response:
    try:
        row = find_request(request)
    except Problem as problem:
        if problem.code is ProblemCode.UNAUTHORIZED:
            return sign_in_redirect(request)
        raise
    return render(
        request,
        "request.html",
        **_summary(request, row),
        **_products(request),
        failures=failures_of(request, row),
        webhooks=webhooks_of(request, row) if row.webhook_url else None,
    )


@page("GET", "/r/{request_id}/products", parameters=(REQUEST_ID,))
def products_fragment(request: Request) -> Response:
    """One page of products, for the grid."""
    status = services(request).status_object(find_request(request))
    return render(request, "products.html", status=status, **_products(request))


@page("GET", "/r/{request_id}/failures", parameters=(REQUEST_ID,))
def failures_fragment(request: Request) -> Response:
    row = find_request(request)
    return render(
        request,
        "failures.html",
        status=services(request).status_object(row),
        failures=failures_of(request, row),
    )


@page("GET", "/r/{request_id}/live", parameters=(REQUEST_ID,))
async def live(request: Request) -> Response:
    """Server-sent events with the summary as HTML, one for every change, until the request ends."""
    row = await run_in_threadpool(find_request, request)
    return EventSourceResponse(
        _summaries(request, row),
        ping=PING_EVERY_SECONDS,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _summaries(request: Request, row: RequestStatus) -> AsyncIterator[ServerSentEvent]:
    async for current in status_changes(request, row):
        html = render_text(request, "summary.html", **_summary(request, current))
        yield ServerSentEvent(" ".join(html.split("\n")), event="summary")
        if current.has_ended:
            yield ServerSentEvent("ended", event="ended")


@page("POST", "/r/{request_id}/cancel", parameters=(REQUEST_ID,))
def cancel_from_page(request: Request) -> Response:
    return _after(request, cancel)


@page("POST", "/r/{request_id}/retry", parameters=(REQUEST_ID,))
def retry_from_page(request: Request) -> Response:
    return _after(request, retry)


@page("POST", "/r/{request_id}/replay", parameters=(REQUEST_ID,))
def replay_from_page(request: Request) -> Response:
    return _after(request, replay_webhook)


@page("POST", "/r/{request_id}/delete", parameters=(REQUEST_ID,))
def delete_from_page(request: Request) -> Response:
    try:
        delete(request)
    except Problem as problem:
        return render(request, "refusal.html", problem=problem)
    base = base_path(services(request).settings.public_url)
    return Response(status_code=204, headers={"HX-Redirect": f"{base}/requests"})


def _after(request: Request, action: Callable[[Request], Response]) -> Response:
    """Run a button's action, then reload the page; if it is refused, say why."""
    try:
        action(request)
    except Problem as problem:
        return render(request, "refusal.html", problem=problem)
    return Response(status_code=204, headers={"HX-Refresh": "true"})


def _summary(request: Request, row: RequestStatus) -> dict[str, Any]:
    status = services(request).status_object(row)
    return {
        "status": status,
        "ended": row.has_ended,
        "percent": saved_percent(status["bytes_in"], status["bytes_out"]),
        **_speed(row, status),
    }


def _speed(row: RequestStatus, status: StatusObject) -> dict[str, Any]:
    """How long it has run, in seconds, and images a second; None before it has started."""
    done = status["processed_images"] + status["failed_images"]
    end = row.completed_at or row.updated_at
    seconds = (end - row.started_at).total_seconds() if row.started_at else 0
    return {"seconds": seconds or None, "speed": done / seconds if seconds and done else None}


def _products(request: Request) -> dict[str, Any]:
    details = details_page(without_blanks(request), limit=_PAGE_PRODUCTS)
    return {
        "products": details["products"],
        "next_cursor": details["next_cursor"],
        "shown_status": request.query_params.get("status", ""),
        "shown_code": request.query_params.get("error_code", ""),
    }
