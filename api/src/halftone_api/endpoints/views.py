"""Rows of the database as clients see them: products as JSON, output and report as CSV. Pure."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from halftone_api.upload.products import DELIMITERS
from halftone_shared.db.products import ProductRow
from halftone_shared.db.webhook_events import WebhookAttemptRow, WebhookEventRow
from halftone_shared.model.results import ImageResult
from halftone_shared.model.signing import webhook_id
from halftone_shared.model.states import Outcome, Status, outcome_of
from halftone_shared.model.status_object import timestamp

OUTPUT_COLUMN = "Output Image Urls"
REPORT_COLUMNS = (
    "line",
    "serial_number",
    "product_name",
    "position",
    "input_url",
    "output_url",
    "status",
    "action",
    "error_code",
    "http_status",
    "message",
    "bytes_in",
    "bytes_out",
    "saved_percent",
    "width",
    "height",
    "format",
)
# Rows are handed on in pieces of about this size.
_PIECE_CHARACTERS = 64 * 1024
# What a spreadsheet takes for a formula, the full-width forms included (OWASP, CSV injection).
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def product_view(row: ProductRow, public_url: str) -> dict[str, Any]:
    """A product with one entry an input URL, in the order of the input."""
    images = image_views(row, public_url)
    return {
        "line": row.line,
        "serial_number": row.serial_number,
        "product_name": row.product_name,
        "status": row.status,
        "outcome": _product_outcome(row, images),
        "attempts": row.attempts,
        "input_image_urls": row.input_image_urls,
        "output_image_urls": [image["output_url"] for image in images],
        "images": images,
    }


def image_views(row: ProductRow, public_url: str) -> list[dict[str, Any]]:
    unset = row.status if row.has_ended else Status.PENDING
    return [
        _image_view(position, url, image, public_url, unset)
        for position, (url, image) in enumerate(
            zip(row.input_image_urls, row.images, strict=True), start=1
        )
    ]


def _image_view(
    position: int, input_url: str, image: ImageResult | None, public_url: str, unset: Status
) -> dict[str, Any]:
    facts = image or ImageResult()
    return {
        "position": position,
        "input_url": input_url,
        "output_url": f"{public_url}/api/image/{facts.file}" if facts.file else None,
        "status": unset if image is None else image.status,
        "action": facts.action,
        "format": facts.format,
        "width": facts.width,
        "height": facts.height,
        "bytes_in": facts.bytes_in,
        "bytes_out": facts.bytes_out,
        "warnings": list(facts.warnings),
        "error": facts.error.to_json() if facts.error else None,
    }


def _product_outcome(row: ProductRow, images: list[dict[str, Any]]) -> Outcome | None:
    if row.status not in (Status.COMPLETED, Status.FAILED):
        return None
    return outcome_of(sum(image["status"] == Status.COMPLETED for image in images), len(images))


def event_view(event: WebhookEventRow, attempts: Iterable[WebhookAttemptRow]) -> dict[str, Any]:
    """A webhook event with its delivery log. `body` is what every attempt sends, null until the
    first.
    """
    return {
        "webhook_id": webhook_id(event.id),
        "run": event.run,
        "status": event.status,
        "attempts": event.attempts,
        "last_status_code": event.last_status_code,
        "last_error": event.last_error,
        "created_at": timestamp(event.created_at),
        "next_attempt_at": timestamp(event.next_attempt_at),
        "delivered_at": timestamp(event.delivered_at),
        "log": [
            {
                "attempt": attempt.attempt,
                "started_at": timestamp(attempt.started_at),
                "duration_ms": attempt.duration_ms,
                "status_code": attempt.status_code,
                "error": attempt.error,
            }
            for attempt in attempts
        ],
        "body": json.loads(event.body) if event.body else None,
    }


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
            ",".join(f"{public_url}/api/image/{file}" if file else "" for file in row.files),
        ]


def report_csv(rows: Iterable[ProductRow], public_url: str, *, safe: bool) -> Iterator[str]:
    """One row an image, with everything that is known of it."""
    return _csv(_report_rows(rows, public_url), ",", safe=safe)


def _report_rows(rows: Iterable[ProductRow], public_url: str) -> Iterator[list[Any]]:
    yield list(REPORT_COLUMNS)
    for row in rows:
        for image in image_views(row, public_url):
            error = image["error"] or {}
            yield [
                row.line,
                row.serial_number,
                row.product_name,
                image["position"],
                image["input_url"],
                image["output_url"],
                image["status"],
                image["action"],
                error.get("code"),
                error.get("http_status"),
                error.get("message"),
                image["bytes_in"],
                image["bytes_out"],
                _saved_percent(image),
                image["width"],
                image["height"],
                image["format"],
            ]


def _saved_percent(image: dict[str, Any]) -> str | None:
    if not image["bytes_in"]:
        return None
    return f"{100 * (1 - image['bytes_out'] / image['bytes_in']):.1f}"


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
