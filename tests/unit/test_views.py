"""Products as JSON, the output CSV and the image report."""

import csv
import io
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halftone_api.endpoints.views import image_views, product_view
from halftone_api.output.csv_file import csv_pieces
from halftone_api.output.report import REPORT_COLUMNS, report_rows
from halftone_api.output.rows import Images, OutputRows
from halftone_api.upload.layout import Layout
from halftone_shared.db.details import ProductRow
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.facts_object import FactsObject, facts_object
from halftone_shared.model.image_names import ImageUrls
from halftone_shared.model.results import FACT_NAMES, ImageError, ImageResult
from halftone_shared.model.states import Action, Status
from tests.support.stored import good_image

PUBLIC_URL = "https://halftone.example"
URLS = ImageUrls(PUBLIC_URL)
HEADER = ["Serial Number", "Product Name", "Input Image Urls"]

GOOD = good_image(
    "a.jpg",
    action=Action.COMPRESSED,
    format="JPEG",
    width=1500,
    height=1000,
    bytes_in=326800,
    bytes_out=98040,
)
KEPT = good_image(
    "c.png",
    action=Action.KEPT_ORIGINAL,
    format="PNG",
    width=8,
    height=9,
    bytes_in=77,
    bytes_out=77,
)
MISSING = ImageResult(error=ImageError(ImageErrorCode.HTTP_ERROR, "The server answered 404.", 404))
REFUSED = ImageResult(
    error=ImageError(ImageErrorCode.BLOCKED_ADDRESS, "Its address is not a public one.")
)


def product(*images: ImageResult | None, started: bool = True, **columns: Any) -> ProductRow:
    """A product's row with these slots. Slots that are None have not ended."""
    urls = [f"http://images.example/{position}.jpg" for position in range(1, len(images) + 1)]
    defaults: dict[str, Any] = {
        "seq": 1,
        "line": 2,
        "serial_number": 7,
        "product_key": "007",
        "product_name": "SKU7",
        "kinds": "",
        "cells": ["7", "SKU7", ",".join(urls)],
        "state": Status.COMPLETED,
        "attempts": 1,
        "input_image_urls": urls,
        "files": [image and image.file for image in images],
        "images_json": json.dumps([image and image.to_json() for image in images])
        if started
        else None,
    }
    return ProductRow(**(defaults | columns))


def file_of(pieces: Any) -> str:
    return "".join(pieces)


def output(
    *rows: ProductRow, header: list[str] = HEADER, delimiter: str = ",", safe: bool = False
) -> str:
    text = file_of(output_pieces(rows, header=header, delimiter=delimiter, safe=safe))
    assert text.startswith("\ufeff") == safe
    return text.removeprefix("\ufeff")


def output_pieces(
    rows: Iterable[ProductRow], *, header: list[str], delimiter: str, safe: bool
) -> Iterator[str]:
    layout = Layout.from_json(None, header, delimiter)
    written = OutputRows(layout, URLS, Images.APPEND)
    lines = itertools.chain(written.header(), written.rows(rows))
    return csv_pieces((line.cells for line in lines), delimiter, safe=safe)


def report_text(*rows: ProductRow, safe: bool = False) -> str:
    return file_of(csv_pieces(report_rows(rows, URLS), ",", safe=safe)).removeprefix("\ufeff")


def report(*rows: ProductRow, safe: bool = False) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(report_text(*rows, safe=safe), newline="")))


# --- a product as JSON ---


def test_pending_product_has_a_slot_for_every_url() -> None:
    pending = product(None, None, started=False, state=Status.PENDING, attempts=0)
    slot: dict[str, Any] = {
        "output_url": None,
        "status": "PENDING",
        **facts_object(None),
        "variants": {},
        "error": None,
    }
    assert product_view(pending, URLS) == {
        "line": 2,
        "serial_number": 7,
        "product_key": "007",
        "product_name": "SKU7",
        "status": "PENDING",
        "outcome": None,
        "attempts": 0,
        "input_image_urls": ["http://images.example/1.jpg", "http://images.example/2.jpg"],
        "output_image_urls": [None, None],
        "images": [
            {"position": 1, "input_url": "http://images.example/1.jpg", **slot},
            {"position": 2, "input_url": "http://images.example/2.jpg", **slot},
        ],
    }


@pytest.mark.parametrize("status", ["PENDING", "PROCESSING"])
def test_what_an_attempt_has_brought_to_an_end_is_shown_before_the_product_ends(
    status: str,
) -> None:
    view = product_view(product(GOOD, None, MISSING, state=status), URLS)
    assert view["outcome"] is None
    assert view["output_image_urls"] == [f"{PUBLIC_URL}/api/image/a.jpg", None, None]
    assert [image["status"] for image in view["images"]] == ["COMPLETED", "PENDING", "FAILED"]


def test_partial_product_keeps_its_positions() -> None:
    view = product_view(product(GOOD, MISSING, KEPT), URLS)
    assert (view["status"], view["outcome"]) == ("COMPLETED", "partial")
    assert view["output_image_urls"] == [
        f"{PUBLIC_URL}/api/image/a.jpg",
        None,
        f"{PUBLIC_URL}/api/image/c.png",
    ]
    first, second, third = view["images"]
    assert first == {
        "position": 1,
        "input_url": "http://images.example/1.jpg",
        "output_url": f"{PUBLIC_URL}/api/image/a.jpg",
        "status": "COMPLETED",
        "action": "compressed",
        "format": "JPEG",
        "width": 1500,
        "height": 1000,
        "bytes_in": 326800,
        "bytes_out": 98040,
        "source_width": None,
        "source_height": None,
        "score": None,
        "checks": [],
        "warnings": [],
        "variants": {},
        "error": None,
    }
    assert (second["position"], second["status"], second["output_url"], second["action"]) == (
        2,
        "FAILED",
        None,
        None,
    )
    assert second["error"] == {
        "code": "http_error",
        "message": "The server answered 404.",
        "http_status": 404,
        "retryable": False,
    }
    assert (third["position"], third["action"]) == (3, "kept_original")


@pytest.mark.parametrize(
    ("images", "status", "outcome"),
    [
        ((GOOD, KEPT), "COMPLETED", "succeeded"),
        ((GOOD, MISSING), "COMPLETED", "partial"),
        ((MISSING, REFUSED), "FAILED", "failed"),
    ],
)
def test_outcome_says_how_the_product_went(
    images: tuple[ImageResult, ...], status: str, outcome: str
) -> None:
    assert product_view(product(*images, state=status), URLS)["outcome"] == outcome


def test_failed_product_has_no_output() -> None:
    view = product_view(product(MISSING, REFUSED, state=Status.FAILED), URLS)
    assert view["output_image_urls"] == [None, None]
    assert [image["error"] and image["error"]["code"] for image in view["images"]] == [
        "http_error",
        "blocked_address",
    ]


def test_cancelled_product_keeps_what_it_had_and_cancels_the_rest() -> None:
    view = product_view(product(GOOD, None, MISSING, state=Status.CANCELLED), URLS)
    assert view["outcome"] is None
    assert [image["status"] for image in view["images"]] == ["COMPLETED", "CANCELLED", "FAILED"]
    assert view["output_image_urls"] == [f"{PUBLIC_URL}/api/image/a.jpg", None, None]


def test_product_cancelled_before_it_began_cancels_every_slot() -> None:
    view = product_view(
        product(None, None, started=False, state=Status.CANCELLED, attempts=0), URLS
    )
    assert [image["status"] for image in view["images"]] == ["CANCELLED", "CANCELLED"]
    assert view["output_image_urls"] == [None, None]


def test_slots_that_do_not_match_the_urls_are_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        image_views(product(GOOD, KEPT, input_image_urls=["http://images.example/1.jpg"]), URLS)


# --- the output CSV ---


def test_failed_slot_is_empty_between_its_neighbours() -> None:
    text = output(product(GOOD, MISSING, KEPT))
    assert text == (
        "Serial Number,Product Name,Input Image Urls,Output Image Urls\r\n"
        '7,SKU7,"http://images.example/1.jpg,http://images.example/2.jpg,http://images.example/3.jpg",'
        f'"{PUBLIC_URL}/api/image/a.jpg,,{PUBLIC_URL}/api/image/c.png"\r\n'
    )


@pytest.mark.parametrize(
    ("images", "cell"),
    [
        ((GOOD,), f"{PUBLIC_URL}/api/image/a.jpg"),
        ((MISSING,), ""),
        ((MISSING, GOOD), f",{PUBLIC_URL}/api/image/a.jpg"),
        ((GOOD, MISSING), f"{PUBLIC_URL}/api/image/a.jpg,"),
        ((MISSING, MISSING, MISSING), ",,"),
        ((GOOD, GOOD), f"{PUBLIC_URL}/api/image/a.jpg,{PUBLIC_URL}/api/image/a.jpg"),
    ],
)
def test_output_cell_has_a_place_for_every_url(images: tuple[ImageResult, ...], cell: str) -> None:
    _, written = csv.reader(io.StringIO(output(product(*images)), newline=""))
    assert written[-1] == cell


def test_product_without_results_has_its_places_too() -> None:
    _, written = csv.reader(
        io.StringIO(output(product(None, None, None, started=False, state=Status.CANCELLED)))
    )
    assert written[-1] == ",,"


def test_rows_and_columns_come_in_the_order_of_the_upload() -> None:
    header = ["Notes", "input image urls ", "S. No", " Product Name"]
    rows = [product(GOOD, cells=["x", "u", str(n), "p"]) for n in (3, 1, 2)]
    written = list(csv.reader(io.StringIO(output(*rows, header=header), newline="")))
    assert written[0] == [*header, "Output Image Urls"]
    assert [cells[2] for cells in written[1:]] == ["3", "1", "2"]


def test_cells_are_written_byte_for_byte() -> None:
    cells = [
        "007",
        "  Straße 名前 😀\u00a0",
        'a "b", c',
        "one\ntwo\rthree\r\n",
        "\ufeff",
        "\u2028",
        "=1+1",
        "'x",
        "é",
        "",
    ]
    text = output(product(GOOD, cells=cells), header=[f"c{n}" for n in range(10)])
    _, line = text.encode().split(b"\r\n", 1)
    assert (
        line
        == (
            '007,  Straße 名前 😀\u00a0,"a ""b"", c","one\ntwo\rthree\r\n",'
            "\ufeff,\u2028,=1+1,'x,é,,"
            f"{PUBLIC_URL}/api/image/a.jpg\r\n"
        ).encode()
    )


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiter_is_that_of_the_upload(delimiter: str) -> None:
    text = output(product(GOOD, MISSING, cells=["7", "a;b,c\td", "u"]), delimiter=delimiter)
    assert text.startswith(delimiter.join([*HEADER, "Output Image Urls"]) + "\r\n")
    _, cells = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    assert cells == ["7", "a;b,c\td", "u", f"{PUBLIC_URL}/api/image/a.jpg,"]


cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(cell, min_size=3, max_size=3), max_size=5), st.sampled_from([",", ";", "\t"])
)
def test_whatever_was_uploaded_is_read_back_from_the_output(
    cells: list[list[str]], delimiter: str
) -> None:
    text = output(*(product(GOOD, cells=each) for each in cells), delimiter=delimiter)
    _, *written = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    assert [each[:-1] for each in written] == cells
    assert text.endswith("\r\n")


FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\tx",
    "\rx",
    "\uff1d1",
    "\uff0b1",
    "\uff0d1",
    "\uff20x",
    "=",
    "-",
]
HARMLESS = ["1=1", " =1", "a+b", "'=1", "", "\n=1", "x\t", '"=1"', "–1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_safe_for_spreadsheets_puts_a_quote_before_formulas(text: str) -> None:
    rows = csv.reader(
        io.StringIO(
            output(product(GOOD, cells=["7", text, "u"]), header=[text, "b", "c"], safe=True),
            newline="",
        )
    )
    header, cells = rows
    assert header[0] == cells[1] == "'" + text


@pytest.mark.parametrize("text", HARMLESS)
def test_safe_for_spreadsheets_leaves_other_cells_alone(text: str) -> None:
    _, cells = csv.reader(
        io.StringIO(output(product(GOOD, cells=["7", text, "u"]), safe=True), newline="")
    )
    assert cells == ["7", text, "u", f"{PUBLIC_URL}/api/image/a.jpg"]


@pytest.mark.parametrize(
    ("delimiter", "text"),
    [(",", "Mug;=1+1;x"), (",", "Mug\t=1+1"), (";", "Mug,=1+1"), ("\t", "a;=b")],
)
def test_safe_for_spreadsheets_quotes_what_another_separator_would_take_apart(
    delimiter: str, text: str
) -> None:
    written = output(product(GOOD, cells=["7", text, "u"]), delimiter=delimiter, safe=True)
    assert f'"7"{delimiter}"{text}"{delimiter}"u"{delimiter}"http' in written
    assert f"7{delimiter}Mug{delimiter}u{delimiter}http" in output(
        product(GOOD, cells=["7", "Mug", "u"]), delimiter=delimiter, safe=True
    )


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_stay_as_they_are_unless_asked(text: str) -> None:
    _, cells = csv.reader(io.StringIO(output(product(GOOD, cells=["7", text, "u"])), newline=""))
    assert cells[1] == text


def test_output_is_made_while_it_is_read() -> None:
    """A million rows are never in memory at once: the first chunk is sent long before the last row
    is read.
    """
    endless = output_pieces(
        itertools.repeat(product(GOOD, KEPT)), header=HEADER, delimiter=",", safe=False
    )
    pieces = list(itertools.islice(endless, 3))
    assert all(0 < len(piece) < 128 * 1024 for piece in pieces)
    written = list(csv.reader(io.StringIO("".join(pieces), newline="")))
    assert written[0] == [*HEADER, "Output Image Urls"]
    assert all(cells == written[1] for cells in written[1:])


# --- the report ---


def test_report_has_one_row_an_image_with_all_that_is_known() -> None:
    header, first, second, end = report_text(product(GOOD, MISSING)).split("\r\n")
    assert header == ",".join(column.name for column in REPORT_COLUMNS)
    # Readers may know these columns by position. Later versions add columns after them.
    assert header.startswith(
        "line,serial_number,product_name,position,input_url,output_url,status,action,error_code,"
        "http_status,message,bytes_in,bytes_out,saved_percent,width,height,format,warnings,variant,"
        "score,checks"
    )
    assert first.startswith(
        f"2,7,SKU7,1,http://images.example/1.jpg,{PUBLIC_URL}/api/image/a.jpg,COMPLETED,compressed"
        ",,,,326800,98040,70.0,1500,1000,JPEG,,,,"
    )
    assert second.startswith(
        "2,7,SKU7,2,http://images.example/2.jpg,,FAILED,,http_error,404,The server answered"
        " 404.,,,,,,,,,,"
    )
    assert end == ""


def test_report_follows_products_and_positions() -> None:
    rows = report(
        product(GOOD, KEPT), product(MISSING, line=3, serial_number=8), product(GOOD, line=9)
    )
    assert [(each["line"], each["position"]) for each in rows] == [
        ("2", "1"),
        ("2", "2"),
        ("3", "1"),
        ("9", "1"),
    ]


def test_report_shows_images_that_never_ran_as_cancelled() -> None:
    (first, second) = report(product(None, None, started=False, state=Status.CANCELLED))
    assert first["status"] == second["status"] == "CANCELLED"
    assert (first["output_url"], first["error_code"], first["saved_percent"]) == ("", "", "")


@pytest.mark.parametrize(
    ("bytes_in", "bytes_out", "percent"),
    [(1000, 250, "75.0"), (77, 77, "0.0"), (3, 1, "66.7"), (0, 0, "")],
)
def test_saved_percent_is_the_share_of_the_bytes(
    bytes_in: int, bytes_out: int, percent: str
) -> None:
    image = good_image("a.jpg", action=Action.COMPRESSED, bytes_in=bytes_in, bytes_out=bytes_out)
    (found,) = report(product(image))
    assert found["saved_percent"] == percent


def test_report_may_be_safe_for_spreadsheets_too() -> None:
    named = product(GOOD, product_name="=cmd|' /C calc'!A0")
    assert report(named)[0]["product_name"] == "=cmd|' /C calc'!A0"
    assert report(named, safe=True)[0]["product_name"] == "'=cmd|' /C calc'!A0"


def test_every_fact_of_an_image_is_shown_to_clients() -> None:
    assert list(FactsObject.__annotations__) == list(FACT_NAMES)
