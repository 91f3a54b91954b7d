"""The operators' page."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from halftone_api.endpoints.authentication import find_admin
from halftone_api.endpoints.cancel_retry import retried
from halftone_api.endpoints.declaration import page
from halftone_api.endpoints.operations import operations_now
from halftone_api.endpoints.parameters import HOST
from halftone_api.endpoints.paused_hosts import delete_paused_host, put_paused_host
from halftone_api.errors import Problem, ProblemCode
from halftone_api.pages.forms import read_form, with_parameters
from halftone_api.pages.rendering import render
from halftone_api.pages.sign_in import sign_in_redirect
from halftone_shared.db.backlog import NO_PROGRESS_SECONDS
from halftone_shared.model.error_codes import ImageErrorCode


@page("GET", "/operations")
def operations_page(request: Request) -> Response:
    """The page. For htmx, which renews the figures, only the figures."""
    try:
        find_admin(request)
    except Problem as problem:
        if problem.code is ProblemCode.UNAUTHORIZED:
            return sign_in_redirect(request)
        raise
    is_part = "hx-request" in request.headers
    return _figures(request, "operations_now.html" if is_part else "operations.html")


@page("POST", "/operations/hosts/{host}/pause", parameters=(HOST,))
def pause_from_page(request: Request) -> Response:
    put_paused_host(request)
    return _figures(request, "operations_now.html")


@page("POST", "/operations/hosts/{host}/resume", parameters=(HOST,))
def resume_from_page(request: Request) -> Response:
    try:
        delete_paused_host(request)
    except Problem as problem:
        if problem.code is not ProblemCode.NOT_FOUND:  # somebody else has resumed it
            raise
    return _figures(request, "operations_now.html")


@page("POST", "/operations/retry")
async def retry_all_from_page(request: Request) -> Response:
    """The form has the parameters of POST /api/retry."""
    call = with_parameters(request, await read_form(request))
    return await run_in_threadpool(_retry_all, call)


def _retry_all(request: Request) -> Response:
    try:
        found = retried(request)
    except Problem as problem:
        return render(request, "refusal.html", problem=problem)
    return render(request, "retried.html", **found)


def _figures(request: Request, template: str) -> Response:
    return render(
        request,
        template,
        now=operations_now(request),
        stuck_seconds=NO_PROGRESS_SECONDS,
        codes={code.value: code for code in ImageErrorCode},
    )
