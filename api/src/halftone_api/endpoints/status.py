"""How a request is going."""

from typing import NotRequired

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from halftone_api.endpoints.declaration import Answer, Tag, endpoint
from halftone_api.endpoints.details import products_page
from halftone_api.endpoints.etags import etag_matches, etag_of
from halftone_api.endpoints.parameters import DEFAULT_LIMIT, REQUEST_ID, choice
from halftone_api.endpoints.request_lookup import find_request
from halftone_api.endpoints.views import Product
from halftone_api.errors import ProblemCode
from halftone_api.services import services
from halftone_shared.model.status_object import StatusObject


class StatusWithProducts(StatusObject):
    """The status object; with `include=products` a page of products too."""

    products: NotRequired[list[Product]]
    next_cursor: NotRequired[str | None]


INCLUDE = choice("include", ("products",), "Adds the first page of products.")


@endpoint(
    "GET",
    "/api/status/{request_id}",
    name="status",
    aliases=("/status/{request_id}",),
    tag=Tag.REQUESTS,
    summary="How a request is going",
    parameters=(REQUEST_ID, INCLUDE),
    answers={
        200: Answer("The status object.", StatusWithProducts),
        304: Answer("Unchanged since the ETag in If-None-Match."),
    },
    problems=(ProblemCode.INVALID_PARAMETER, ProblemCode.NOT_FOUND),
)
def get_request_status(request: Request) -> Response:
    row = find_request(request)
    body: object = services(request).status_object(row)
    if INCLUDE.of(request):
        page = products_page(services(request), row, after_seq=0, limit=DEFAULT_LIMIT, status=None)
        body = {**services(request).status_object(row), **page}
    response = JSONResponse(body)
    etag = etag_of(response.body)
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if etag_matches(request, etag):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response
