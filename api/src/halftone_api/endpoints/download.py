"""The output file and the report of a request that has ended."""

from collections.abc import Iterator
from itertools import chain
from urllib.parse import quote

import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from halftone_api.endpoints.declaration import Answer, Tag, endpoint
from halftone_api.endpoints.parameters import REQUEST_ID, choice
from halftone_api.endpoints.request_lookup import find_request
from halftone_api.endpoints.tables import output_csv, report_csv
from halftone_api.errors import Problem, ProblemCode
from halftone_api.services import Services, services
from halftone_shared.db.products import ProductRow, product_page
from halftone_shared.db.requests import get_status
from halftone_shared.model.request_status import RequestStatus

log = structlog.get_logger(__name__)

_DOWNLOAD_PAGE = 1000

REPORT = choice("report", ("images",), "One row an image, with how it ended.")
SAFE = choice(
    "safe",
    ("spreadsheet",),
    "Cells that a spreadsheet would take for formulas get an apostrophe in front.",
)


@endpoint(
    "GET",
    "/api/download/{request_id}",
    name="download",
    tag=Tag.RESULTS,
    summary="The output file, once the request has ended",
    parameters=(REQUEST_ID, REPORT, SAFE),
    answers={
        200: Answer(
            "The uploaded rows and their output URLs, or one row an image.",
            media_types=("text/csv",),
        )
    },
    problems=(ProblemCode.INVALID_PARAMETER, ProblemCode.NOT_FOUND, ProblemCode.NOT_ENDED),
)
def download(request: Request) -> Response:
    row = find_request(request)
    report = REPORT.of(request)
    safe = SAFE.of(request) is not None
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
