"""The routes that tell how requests go: status, details, the list, and the CSV to download."""

import hashlib
from collections.abc import Iterator
from itertools import chain
from typing import Any
from urllib.parse import quote
from uuid import UUID

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from halftone_api.endpoints.authentication import find_caller
from halftone_api.endpoints.parameters import (
    DEFAULT_LIMIT,
    choice_of,
    encode_cursor,
    limit_of,
    product_cursor_of,
    request_cursor_of,
    request_id_of,
    status_of,
)
from halftone_api.endpoints.views import output_csv, product_view, report_csv
from halftone_api.errors import Problem, ProblemCode, request_not_found
from halftone_api.services import Services, services
from halftone_shared.db.products import ProductRow, product_page
from halftone_shared.db.requests import get_status, list_status
from halftone_shared.model.request_status import RequestStatus
from halftone_shared.model.states import Status

log = structlog.get_logger(__name__)

_DOWNLOAD_PAGE = 1000


def get_request_status(request: Request) -> Response:
    """The status object; with ?include=products the first page of products too. Answers 304 to its
    own ETag.
    """
    row = find_request(request)
    include = choice_of(request, "include", ("products",))
    body = services(request).status_object(row)
    if include:
        body |= _products(services(request), row.id, after_seq=0, limit=DEFAULT_LIMIT, status=None)
    response = JSONResponse(body)
    etag = f'"{hashlib.blake2b(response.body, digest_size=12).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if etag_matches(request, etag):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response


def get_details(request: Request) -> Response:
    """The status object with a page of products, and the cursor of the next page."""
    row = find_request(request)
    after_seq, limit, status = product_cursor_of(request), limit_of(request), status_of(request)
    body = services(request).status_object(row)
    return JSONResponse(
        body | _products(services(request), row.id, after_seq=after_seq, limit=limit, status=status)
    )


def list_requests(request: Request) -> Response:
    """The caller's requests, newest first."""
    owner = find_caller(request).sees_only
    before, limit, status = request_cursor_of(request), limit_of(request), status_of(request)
    with services(request).engine.connect() as connection:
        rows = list_status(connection, owner=owner, status=status, before=before, limit=limit + 1)
    page = rows[:limit]
    next_cursor = (
        encode_cursor(page[-1].created_at.isoformat(), page[-1].id) if len(rows) > limit else None
    )
    return JSONResponse(
        {
            "requests": [services(request).status_object(row) for row in page],
            "next_cursor": next_cursor,
        }
    )


def download(request: Request) -> Response:
    """The output CSV, or with ?report=images a row an image; 409 until the request has ended."""
    row = find_request(request)
    report = choice_of(request, "report", ("images",))
    safe = choice_of(request, "safe", ("spreadsheet",)) is not None
    if not row.has_ended:
        raise Problem(
            ProblemCode.NOT_ENDED,
            f"The request is {row.status}. The CSV can be downloaded when it has ended.",
            headers={"Retry-After": "1"},
            request_status=row.status,
            progress=services(request).status_object(row)["progress"],
        )
    public_url = services(request).settings.public_url
    rows = _all_products(services(request), row)
    if report:
        content = report_csv(rows, public_url, safe=safe)
    else:
        content = output_csv(
            row.csv_header, rows, public_url, delimiter=row.csv_delimiter, safe=safe
        )
    try:
        first = next(content)
    except _Overtaken:
        return download(request)  # as it is now
    return _Download(
        chain([first], content),
        media_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": _attachment(row.csv_filename, "images" if report else "output"),
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-cache",
        },
    )


class _Overtaken(Exception):
    """The request was started again or deleted while its products were read."""


class _Download(StreamingResponse):
    """Breaks off where the request is overtaken: the connection is closed before the end of the
    answer.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except _Overtaken as why:
            log.info("download broken off", reason=str(why))


def etag_matches(request: Request, etag: str) -> bool:
    """Whether If-None-Match names this ETag; a weak form of it counts (RFC 9110, 13.1.2)."""
    given = request.headers.get("if-none-match", "")
    return given.strip() == "*" or etag in (
        tag.strip().removeprefix("W/") for tag in given.split(",")
    )


def find_request(request: Request) -> RequestStatus:
    owner = find_caller(request).sees_only
    request_id = request_id_of(request)
    with services(request).engine.connect() as connection:
        row = get_status(connection, request_id, owner=owner)
    if row is None:
        raise request_not_found(str(request_id))
    return row


def _products(
    services: Services, request_id: UUID, *, after_seq: int, limit: int, status: Status | None
) -> dict[str, Any]:
    with services.engine.connect() as connection:
        rows = product_page(
            connection, request_id, after_seq=after_seq, limit=limit + 1, status=status
        )
    page = rows[:limit]
    return {
        "products": [product_view(row, services.settings.public_url) for row in page],
        "next_cursor": encode_cursor(page[-1].seq) if len(rows) > limit else None,
    }


def _all_products(services: Services, ended: RequestStatus) -> Iterator[ProductRow]:
    """Every product of a request that has ended, page by page: a slow reader holds no connection
    and no snapshot.
    """
    after_seq = 0
    while True:
        with services.engine.connect() as connection:
            rows = product_page(connection, ended.id, after_seq=after_seq, limit=_DOWNLOAD_PAGE)
            current = get_status(connection, ended.id, owner=None)
        # Asked after the page was read: what is as it was now, was so then.
        if current is None or current.run != ended.run:
            raise _Overtaken(f"request {ended.id} was started again or deleted during its download")
        yield from rows
        if len(rows) < _DOWNLOAD_PAGE:
            return
        after_seq = rows[-1].seq


def _attachment(csv_filename: str, kind: str) -> str:
    """Content-Disposition with a plain name for every client and the real one for those that read
    RFC 6266.
    """
    name = f"{csv_filename.rsplit('.', 1)[0]}-{kind}.csv"
    plain = "".join(
        character if character.isascii() and (character.isalnum() or character in "-_.") else "_"
        for character in name
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
