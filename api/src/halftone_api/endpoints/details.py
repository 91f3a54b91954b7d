"""The products and images of a request, page by page."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from halftone_api.endpoints.declaration import Answer, Tag, endpoint
from halftone_api.endpoints.parameters import (
    ERROR_CODE,
    LIMIT,
    PRODUCT_CURSOR,
    REQUEST_ID,
    STATUS,
    encode_cursor,
)
from halftone_api.endpoints.request_lookup import find_request
from halftone_api.endpoints.views import Product, product_view
from halftone_api.errors import ProblemCode
from halftone_api.services import Services, services
from halftone_shared.db.details import product_page, rows_within
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.request_status import RequestStatus
from halftone_shared.model.states import Status
from halftone_shared.model.status_object import StatusObject


class ProductsPage(TypedDict):
    products: list[Product]
    next_cursor: str | None


class Details(StatusObject, ProductsPage):
    """The status object with a page of products."""


@endpoint(
    "GET",
    "/api/details/{request_id}",
    name="details",
    tag=Tag.REQUESTS,
    summary="The products and images of a request, page by page",
    parameters=(REQUEST_ID, LIMIT, PRODUCT_CURSOR, STATUS, ERROR_CODE),
    answers={200: Answer("The status object and a page of products.", Details)},
    problems=(ProblemCode.INVALID_PARAMETER, ProblemCode.NOT_FOUND),
)
def get_details(request: Request) -> Response:
    return JSONResponse(details_page(request))


def details_page(request: Request, *, limit: int | None = None) -> Details:
    """The status object and the products that the call's parameters select; at most `limit`."""
    row = find_request(request)
    page = products_page(
        services(request),
        row,
        after_seq=PRODUCT_CURSOR.of(request),
        limit=limit or LIMIT.of(request),
        status=STATUS.of(request),
        error_code=ERROR_CODE.of(request),
    )
    return {**services(request).status_object(row), **page}


def products_page(
    services: Services,
    request: RequestStatus,
    *,
    after_seq: int,
    limit: int,
    status: Status | None,
    error_code: ImageErrorCode | None = None,
) -> ProductsPage:
    """At most `limit` products after the `after_seq`-th, in the order of the file. If rows are
    large there are fewer, so that no answer takes much memory.
    """
    limit = rows_within(request.largest_row_characters, limit)
    with services.engine.connect() as connection:
        rows = product_page(
            connection,
            request.id,
            after_seq=after_seq,
            limit=limit + 1,
            status=status,
            error_code=error_code,
        )
    page = rows[:limit]
    return {
        "products": [product_view(row, services.image_urls) for row in page],
        "next_cursor": encode_cursor(page[-1].seq) if len(rows) > limit else None,
    }
