"""The output file and the report of a request that has ended."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import chain
from typing import IO, Any
from urllib.parse import quote
from uuid import UUID

import structlog
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from halftone_api.endpoints.declaration import Answer, Tag, endpoint
from halftone_api.endpoints.parameters import REQUEST_ID, choice
from halftone_api.endpoints.request_lookup import find_request
from halftone_api.errors import Problem, ProblemCode
from halftone_api.output.csv_file import csv_pieces
from halftone_api.output.report import report_rows
from halftone_api.output.rows import Files, Images, OutputRows, variant_files
from halftone_api.output.workbook import DoesNotFit, write_workbook
from halftone_api.services import Services, services
from halftone_api.upload.layout import Layout
from halftone_api.upload.table import FileKind, Row
from halftone_shared.db.details import ProductRow, product_page, rows_within
from halftone_shared.db.other_rows import OtherRowAt, other_row_page
from halftone_shared.db.requests import get_layout, get_status
from halftone_shared.model.request_status import RequestStatus

log = structlog.get_logger(__name__)

_PAGE = 2000
# How many characters of results an output adds for each character of its product's row: up to 600
# for a URL of 12.
_RESULT_CHARACTERS = 50
_CHUNK_BYTES = 64 * 1024
XLSX_MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_MEDIA_TYPES = {FileKind.CSV: "text/csv; charset=utf-8", FileKind.XLSX: XLSX_MEDIA_TYPE}


REPORT = choice("report", ("images",), "One row an image, with how it ended.")
SAFE = choice(
    "safe",
    ("spreadsheet",),
    "Cells that a spreadsheet would take for formulas get an apostrophe in front.",
)
IMAGES = choice(
    "images",
    tuple(Images),
    "`append` adds the column `Output Image Urls`; `replace` puts output URLs in place of the input"
    " URLs, which is the default of a recognised export.",
)
AS = choice("as", tuple(FileKind), "The kind of file; by default the kind that was uploaded.")


@endpoint(
    "GET",
    "/api/download/{request_id}",
    name="download",
    tag=Tag.RESULTS,
    summary="The output file, once the request has ended",
    parameters=(REQUEST_ID, REPORT, SAFE, IMAGES, AS),
    answers={
        200: Answer(
            "The uploaded rows and their output URLs, or one row an image.",
            media_types=("text/csv", XLSX_MEDIA_TYPE),
        )
    },
    problems=(ProblemCode.INVALID_PARAMETER, ProblemCode.NOT_FOUND, ProblemCode.NOT_ENDED),
)
def download(request: Request) -> Response:
    found = find_request(request)
    asked = _Asked.of(request)
    refuse_unended(request, found, "The file")
    with services(request).engine.connect() as connection:
        stored = get_layout(connection, found.id)
    layout = Layout.from_json(stored, found.csv_header, found.csv_delimiter)
    try:
        return _answer(services(request), found, layout, asked)
    except Overtaken:
        return download(request)  # read again
    except DoesNotFit as reason:
        raise Problem(
            ProblemCode.INVALID_PARAMETER,
            f"{reason}, which is more than Excel can hold. Download it with as=csv.",
            parameter="as",
        ) from None


def refuse_unended(request: Request, found: RequestStatus, what: str) -> None:
    """Raise Problem 409 unless the request has ended. The problem includes the request's
    progress.
    """
    if not found.has_ended:
        raise Problem(
            ProblemCode.NOT_ENDED,
            f"The request is {found.status}. {what} can be downloaded when it has ended.",
            headers={"Retry-After": "1"},
            request_status=found.status,
            progress=services(request).status_object(found)["progress"],
        )


@dataclass(frozen=True)
class _Asked:
    """The parameters of a download. If `images` or `kind` is None, the uploaded file decides it."""

    report: bool
    safe: bool
    images: Images | None
    kind: FileKind | None

    @classmethod
    def of(cls, request: Request) -> "_Asked":
        images, kind = IMAGES.of(request), AS.of(request)
        return cls(
            report=REPORT.of(request) is not None,
            safe=SAFE.of(request) is not None,
            images=Images(images) if images else None,
            kind=FileKind(kind) if kind else None,
        )


def _answer(services: Services, found: RequestStatus, layout: Layout, asked: _Asked) -> Response:
    """Raises Overtaken before the first byte is sent, and DoesNotFit."""
    urls = services.image_urls
    kind = asked.kind or (FileKind.CSV if asked.report else layout.kind)
    products = all_products(services, found)
    if asked.report:
        rows: Iterator[Row] = map(_report_row, report_rows(products, urls))
        begins_with = _BeginsWith(has_bom=layout.has_bom)
    else:
        default = Images.REPLACE if layout.replaces_by_default else Images.APPEND
        output = OutputRows(layout, urls, asked.images or default, _variants(found))
        others = _other_rows(services, found)
        rows = chain(output.header(), output.rows(merge(products, others, key=_place)))
        begins_with = _BeginsWith(layout.has_bom, layout.separator_line)
    headers = {
        "Content-Disposition": attachment(
            found.csv_filename, "images" if asked.report else "output", kind
        ),
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }
    if kind is FileKind.XLSX:
        return _workbook(rows, layout, headers)
    pieces = csv_pieces(
        (row.cells for row in rows),
        layout.delimiter,
        safe=asked.safe,
        has_bom=begins_with.has_bom,
        separator_line=begins_with.separator_line,
    )
    first = next(pieces)
    return Download(chain([first], pieces), media_type=_MEDIA_TYPES[kind], headers=headers)


def _report_row(values: list[Any]) -> Row:
    kinds = "".join("n" if isinstance(value, int | float) else "s" for value in values)
    return Row(0, ["" if value is None else str(value) for value in values], kinds)


def _variants(found: RequestStatus) -> dict[str, Files]:
    """One column for each variant that the options name."""
    return {
        variant["name"]: variant_files(variant["name"])
        for variant in found.options.get("variants") or []
    }


@dataclass(frozen=True)
class _BeginsWith:
    has_bom: bool
    separator_line: str | None = None


def _workbook(rows: Iterable[Row], layout: Layout, headers: dict[str, str]) -> Response:
    """The workbook is complete before sending starts: a ZIP's directory is at its end."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it has been sent
    try:
        write_workbook(rows, file, layout.sheet)
    except BaseException:
        file.close()
        raise
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return Download(
        _chunks(file),
        media_type=_MEDIA_TYPES[FileKind.XLSX],
        headers={**headers, "Content-Length": str(size)},
    )


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _place(row: ProductRow | OtherRowAt) -> tuple[int, int]:
    return row.place if isinstance(row, OtherRowAt) else (row.seq, 0)


class Overtaken(Exception):
    """The request was restarted or deleted while its products were read."""


class Download(StreamingResponse):
    """A download that breaks off if the request is restarted or deleted meanwhile: the connection
    closes before the answer is complete.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except Overtaken as why:
            log.info("download broken off", reason=str(why))


def all_products(services: Services, ended: RequestStatus) -> Iterator[ProductRow]:
    """Every product of a request that has ended, page by page, so that a slow reader holds neither
    a connection nor a snapshot. Raises Overtaken.
    """
    outputs = 1 + len(ended.options.get("variants", ()))
    with_results = ended.largest_row_characters * (1 + outputs * _RESULT_CHARACTERS)
    limit = rows_within(with_results, _PAGE)
    after_seq = 0
    while True:
        with services.engine.connect() as connection:
            rows = product_page(connection, ended.id, after_seq=after_seq, limit=limit)
            current = get_status(connection, ended.id, owner=None)
        # Checked after the page is read: if the run is the same now, it was the same during the
        # read.
        if current is None or current.run != ended.run:
            raise Overtaken(f"request {ended.id} was started again or deleted during its download")
        yield from rows
        if len(rows) < limit:
            return
        after_seq = rows[-1].seq


def _other_rows(services: Services, ended: RequestStatus) -> Iterator[OtherRowAt]:
    limit = rows_within(ended.largest_row_characters, _PAGE)
    return _other_row_pages(services, ended.id, limit)


def _other_row_pages(services: Services, request_id: UUID, limit: int) -> Iterator[OtherRowAt]:
    after = (-1, 0)
    while True:
        with services.engine.connect() as connection:
            rows = other_row_page(connection, request_id, after=after, limit=limit)
        yield from rows
        if len(rows) < limit:
            return
        after = rows[-1].place


def attachment(csv_filename: str, kind: str, extension: str) -> str:
    """Content-Disposition with an ASCII name for every client, and the real name for clients that
    support RFC 6266.
    """
    stem = csv_filename.rsplit(".", 1)[0]
    name = f"{stem}-{kind}.{extension}"
    plain = "".join(
        character if character.isascii() and (character.isalnum() or character in "-_.") else "_"
        for character in name
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
