"""The report: one row per image, with everything that is known about it.

Each entry of REPORT_COLUMNS is a column of the report; header, rows and documentation follow from
it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

from halftone_api.endpoints.views import Image, image_views, product_key
from halftone_shared.db.details import ProductRow
from halftone_shared.model.image_names import ImageUrls


@dataclass(frozen=True)
class ReportColumn:
    """A column of `?report=images`: its name, its value for an image or one of its variants, and
    its meaning.
    """

    name: str
    value: Callable[[ProductRow, Image, str], Any]
    description: str


def _saved_percent(image: Image) -> str | None:
    if not image["bytes_in"] or image["bytes_out"] is None:
        return None
    return f"{100 * (1 - image['bytes_out'] / image['bytes_in']):.1f}"


def _checks(image: Image) -> str:
    """The rules that did not pass, each with its figures."""
    return "; ".join(
        f"{check['rule']} {check['result']}: {check['message']}"
        for check in image["checks"]
        if check["result"] != "pass"
    )


def _error(image: Image, member: Literal["code", "http_status", "message"]) -> Any:
    return image["error"] and image["error"][member]


REPORT_COLUMNS = (
    ReportColumn("line", lambda row, _, __: row.line, "The line of the uploaded file."),
    ReportColumn(
        "serial_number",
        lambda row, _, __: product_key(row) if row.serial_number is None else row.serial_number,
        "As in the uploaded file; the product's key if the file has no numbers.",
    ),
    ReportColumn("product_name", lambda row, _, __: row.product_name, "As in the uploaded file."),
    ReportColumn(
        "position",
        lambda _, image, __: image["position"],
        "The position of the image in the product, from 1.",
    ),
    ReportColumn("input_url", lambda _, image, __: image["input_url"], "The URL in the file."),
    ReportColumn(
        "output_url", lambda _, image, __: image["output_url"], "Empty if the image failed."
    ),
    ReportColumn("status", lambda _, image, __: image["status"], "COMPLETED, FAILED or CANCELLED."),
    ReportColumn("action", lambda _, image, __: image["action"], "What was done with the image."),
    ReportColumn("error_code", lambda _, image, __: _error(image, "code"), "Why it failed."),
    ReportColumn(
        "http_status", lambda _, image, __: _error(image, "http_status"), "With `http_error`."
    ),
    ReportColumn("message", lambda _, image, __: _error(image, "message"), "The error in words."),
    ReportColumn("bytes_in", lambda _, image, __: image["bytes_in"], "The size before."),
    ReportColumn("bytes_out", lambda _, image, __: image["bytes_out"], "The size after."),
    ReportColumn("saved_percent", lambda _, image, __: _saved_percent(image), "Of the bytes."),
    ReportColumn("width", lambda _, image, __: image["width"], "In pixels, of the output."),
    ReportColumn("height", lambda _, image, __: image["height"], "In pixels, of the output."),
    ReportColumn("format", lambda _, image, __: image["format"], "Of the output."),
    ReportColumn(
        "warnings", lambda _, image, __: "; ".join(image["warnings"]), "About the output."
    ),
    ReportColumn("variant", lambda _, __, variant: variant, "Of which variant the row is."),
    ReportColumn("score", lambda _, image, __: image["score"], "With `mode=visual`."),
    ReportColumn("checks", lambda _, image, __: _checks(image), "The rules of the preset."),
)


def report_rows(products: Iterable[ProductRow], urls: ImageUrls) -> Iterator[list[Any]]:
    """The header, then a row per image and a row for each of its variants."""
    yield [column.name for column in REPORT_COLUMNS]
    for product in products:
        for image in image_views(product, urls):
            yield [column.value(product, image, "") for column in REPORT_COLUMNS]
            for name, variant in image["variants"].items():
                shown = cast("Image", {**image, **variant})
                yield [column.value(product, shown, name) for column in REPORT_COLUMNS]
