"""The operators' page."""

from starlette.requests import Request
from starlette.responses import Response

from halftone_api.endpoints.authentication import find_admin
from halftone_api.endpoints.declaration import page
from halftone_api.endpoints.operations import operations_now
from halftone_api.errors import Problem, ProblemCode
from halftone_api.pages.rendering import render
from halftone_api.pages.sign_in import sign_in_redirect
from halftone_shared.model.error_codes import ImageErrorCode


@page("GET", "/operations")
def operations_page(request: Request) -> Response:
    """The page, or for its own script the figures alone."""
    try:
        find_admin(request)
    except Problem as problem:
        if problem.code is ProblemCode.UNAUTHORIZED:
            return sign_in_redirect(request)
        raise
    is_part = "hx-request" in request.headers
    return render(
        request,
        "operations_now.html" if is_part else "operations.html",
        now=operations_now(request),
        codes={code.value: code for code in ImageErrorCode},
    )
