"""All requests of the caller, with search and filter."""

from starlette.requests import Request
from starlette.responses import Response

from halftone_api.endpoints.declaration import page
from halftone_api.endpoints.requests import requests_page
from halftone_api.errors import Problem, ProblemCode
from halftone_api.pages.forms import without_blanks
from halftone_api.pages.rendering import render
from halftone_api.pages.sign_in import sign_in_redirect
from halftone_shared.model.error_codes import ImageErrorCode


@page("GET", "/requests")
def all_requests(request: Request) -> Response:
    """The page, or for its own script what is found, or the next rows of it."""
    is_next = "cursor" in request.query_params
    try:
        found = requests_page(without_blanks(request, include="" if is_next else "totals"))
    except Problem as problem:
        if problem.code is ProblemCode.UNAUTHORIZED:
            return sign_in_redirect(request)
        raise
    template = "requests.html"
    if "hx-request" in request.headers:
        template = "request_rows.html" if is_next else "requests_found.html"
    return render(
        request,
        template,
        totals=found.get("totals"),
        requests=found["requests"],
        next_cursor=found["next_cursor"],
        q=request.query_params.get("q", ""),
        status=request.query_params.get("status", ""),
        error_code=request.query_params.get("error_code", ""),
        error_codes=list(ImageErrorCode),
    )
