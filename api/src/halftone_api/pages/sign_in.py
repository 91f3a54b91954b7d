"""Signing in with a key, and out."""

from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from halftone_api.endpoints.authentication import caller_by_key
from halftone_api.endpoints.declaration import page
from halftone_api.endpoints.rate_limiting import caller_of, limit_calls
from halftone_api.endpoints.session_cookie import (
    CSRF_FIELD,
    begin_session,
    end_session,
    read_session,
)
from halftone_api.errors import Problem, ProblemCode
from halftone_api.pages.forms import read_form
from halftone_api.pages.rendering import base_path, render
from halftone_api.services import services
from halftone_shared.model.rate_limit import RateLimit

# A key has 256 random bits, so guessing is hopeless; the limit keeps guesses off the database.
ATTEMPTS = RateLimit(10, 60)


@page("GET", "/sign-in")
async def sign_in_page(request: Request) -> Response:
    return render(request, "sign_in.html", problem=None, target=_target(request))


@page("POST", "/sign-in")
async def sign_in(request: Request) -> Response:
    fields = await read_form(request)
    target = _own_path(fields.get("next", "")) or "/"
    try:
        await run_in_threadpool(
            limit_calls, request, f"sign-in {caller_of(request, None)}", ATTEMPTS
        )
        caller = await run_in_threadpool(caller_by_key, request, fields.get("key", "").strip())
    except Problem as problem:
        return render(
            request,
            "sign_in.html",
            status_code=problem.status,
            headers=problem.headers,
            problem=problem.detail,
            target=target,
        )
    response = RedirectResponse(_base(request) + target, status_code=303)
    if caller.key_id is not None:
        begin_session(request, response, caller.key_id)
    return response


@page("POST", "/sign-out")
async def sign_out(request: Request) -> Response:
    session = read_session(request)
    fields = await read_form(request)
    if session is not None and fields.get(CSRF_FIELD) != session.csrf_token:
        raise Problem(ProblemCode.CROSS_SITE, "The call lacks the session's CSRF token.")
    response = RedirectResponse(_base(request) + "/sign-in", status_code=303)
    end_session(response)
    return response


def sign_in_redirect(request: Request) -> Response:
    """To the sign-in page and back here afterwards. The page's own scripts, which would show the
    sign-in page inside of theirs, are asked to go there.
    """
    target = f"{_base(request)}/sign-in?next={request.url.path}"
    if "hx-request" in request.headers:
        return Response(status_code=204, headers={"HX-Redirect": target})
    return RedirectResponse(target, status_code=303)


def _target(request: Request) -> str:
    return _own_path(request.query_params.get("next", "")) or "/"


def _own_path(text: str) -> str | None:
    """A path of this service; None for anything that would lead elsewhere."""
    parts = urlsplit(text)
    is_own = not parts.scheme and not parts.netloc and text.startswith("/")
    return text if is_own and "\\" not in text and not text.startswith("//") else None


def _base(request: Request) -> str:
    return base_path(services(request).settings.public_url)
