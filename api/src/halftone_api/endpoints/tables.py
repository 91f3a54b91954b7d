"""The output file and the report, as CSV. Pure.

A column of the report is one entry of REPORT_COLUMNS; the header, the rows and the documentation
follow.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from halftone_api.endpoints.views import Image, image_views
from halftone_api.upload.products import DELIMITERS
from halftone_shared.db.products import ProductRow
from halftone_shared.model.image_names import image_url

OUTPUT_COLUMN = "Output Image Urls"


@dataclass(frozen=True)
class ReportColumn:
    """A column of `?report=images`: its name, its value for an image, and what it means."""

    name: str
    value: Callable[[ProductRow, Image], Any]
    description: str


def _saved_percent(image: Image) -> str | None:
    if not image["bytes_in"] or image["bytes_out"] is None:
        return None
    return f"{100 * (1 - image['bytes_out'] / image['bytes_in']):.1f}"


def _error(image: Image, member: Literal["code", "http_status", "message"]) -> Any:
    return image["error"] and image["error"][member]


REPORT_COLUMNS = (
    ReportColumn("line", lambda row, _: row.line, "The line of the uploaded file."),
    ReportColumn("serial_number", lambda row, _: row.serial_number, "As in the uploaded file."),
    ReportColumn("product_name", lambda row, _: row.product_name, "As in the uploaded file."),
    ReportColumn(
        "position", lambda _, image: image["position"], "Which image of the product, from 1."
    ),
    ReportColumn("input_url", lambda _, image: image["input_url"], "The URL in the file."),
    ReportColumn("output_url", lambda _, image: image["output_url"], "Empty where it failed."),
    ReportColumn("status", lambda _, image: image["status"], "COMPLETED, FAILED or CANCELLED."),
    ReportColumn("action", lambda _, image: image["action"], "What was done with the image."),
    ReportColumn("error_code", lambda _, image: _error(image, "code"), "Why it failed."),
    ReportColumn(
        "http_status", lambda _, image: _error(image, "http_status"), "With `http_error`."
    ),
    ReportColumn("message", lambda _, image: _error(image, "message"), "The error in words."),
    ReportColumn("bytes_in", lambda _, image: image["bytes_in"], "The size before."),
    ReportColumn("bytes_out", lambda _, image: image["bytes_out"], "The size after."),
    ReportColumn("saved_percent", lambda _, image: _saved_percent(image), "Of the bytes."),
    ReportColumn("width", lambda _, image: image["width"], "In pixels, of the output."),
    ReportColumn("height", lambda _, image: image["height"], "In pixels, of the output."),
    ReportColumn("format", lambda _, image: image["format"], "Of the output."),
)
# Rows are handed on in pieces of about this size.
_PIECE_CHARACTERS = 64 * 1024
# What a spreadsheet takes for a formula, the full-width forms included (OWASP, CSV injection).
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def output_csv(
    header: list[str], rows: Iterable[ProductRow], public_url: str, *, delimiter: str, safe: bool
) -> Iterator[str]:
    """The uploaded columns and rows, verbatim and in their order, then the output URLs; a failed
    slot is empty (`u1,,u3`).
    """
    return _csv(_output_rows(header, rows, public_url), delimiter, safe=safe)


def _output_rows(
    header: list[str], rows: Iterable[ProductRow], public_url: str
) -> Iterator[list[str]]:
    yield [*header, OUTPUT_COLUMN]
    for row in rows:
        yield [
            *row.cells,
            ",".join(image_url(public_url, file) if file else "" for file in row.files),
        ]


def report_csv(rows: Iterable[ProductRow], public_url: str, *, safe: bool) -> Iterator[str]:
    """One row an image, with everything that is known of it."""
    return _csv(_report_rows(rows, public_url), ",", safe=safe)


def _report_rows(rows: Iterable[ProductRow], public_url: str) -> Iterator[list[Any]]:
    yield [column.name for column in REPORT_COLUMNS]
    for row in rows:
        for image in image_views(row, public_url):
            yield [column.value(row, image) for column in REPORT_COLUMNS]


def _csv(rows: Iterable[list[Any]], delimiter: str, *, safe: bool) -> Iterator[str]:
    buffer = io.StringIO(newline="")
    plain, quoted = (
        csv.writer(buffer, delimiter=delimiter, lineterminator="\r\n", quoting=quoting)
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
    )
    others = [other for other in DELIMITERS if other != delimiter]
    for cells in rows:
        # Who opens the file with another separator would have such a cell come apart, perhaps into
        # formulas.
        comes_apart = safe and any(other in str(cell) for cell in cells for other in others)
        (quoted if comes_apart else plain).writerow(
            [_formula_safe(cell) for cell in cells] if safe else cells
        )
        if buffer.tell() >= _PIECE_CHARACTERS:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _formula_safe(cell: Any) -> Any:
    return "'" + cell if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell
