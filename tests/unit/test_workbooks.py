"""Uploaded workbooks: which sheet is read, how cells are read, and that hostile ones do no harm."""

import io
import string
import struct
import time
from contextlib import AbstractContextManager
from datetime import date, datetime
from datetime import time as clock
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook

from halftone_api.errors import Problem
from halftone_api.output.workbook import DoesNotFit, write_workbook
from halftone_api.upload.column_choice import ColumnChoice
from halftone_api.upload.layout import Layout
from halftone_api.upload.opening import Reading, open_table
from halftone_api.upload.products import ProductFile, UploadLimits
from halftone_api.upload.table import Row, Table
from halftone_shared.db.requests import NewProduct
from tests.support.workbooks import handmade, rows_of_workbook, sheet_xml, text_cell, workbook

HEADER = ["Serial Number", "Product Name", "Input Image Urls"]
URL = "http://images.example/1.jpg"
MIB = 1024 * 1024


def opened(
    content: bytes, sheet: str | None = None
) -> AbstractContextManager[tuple[Table, Layout]]:
    return open_table(io.BytesIO(content), Reading(ColumnChoice(), None, sheet))


def refusal_of(content: bytes, sheet: str | None = None) -> Problem:
    with pytest.raises(Problem) as caught, opened(content, sheet):
        pass
    return caught.value


def products_of(content: bytes) -> list[NewProduct]:
    with opened(content) as (table, layout):
        file = ProductFile(table, layout, UploadLimits(100_000, 100))
        products = [row for row in file if isinstance(row, NewProduct)]
    assert file.errors.first == []
    return products


def test_native_columns_in_a_workbook_are_read() -> None:
    content = workbook({"Sheet1": [HEADER, [1, "Mug", URL], [], [2.0, "Lamp", f"{URL}\n{URL}"]]})
    products = products_of(content)
    assert [(each.line, each.serial_number, each.product_name) for each in products] == [
        (2, 1, "Mug"),
        (4, 2, "Lamp"),
    ]
    assert products[1].input_image_urls == [URL, URL]


def test_cells_read_as_the_sheet_shows_them() -> None:
    further = ["A", "B", "C", "D", "E", "F", "G"]
    moment = datetime(2026, 3, 1, 9, 30)  # noqa: DTZ001 - a sheet has no time zones
    values = [7012345678901, 0.5, True, date(2026, 3, 1), moment, "007",
              clock(9, 30)]  # fmt: skip
    (product,) = products_of(workbook({"S": [HEADER + further, [1, "Mug", URL, *values]]}))
    assert product.cells[3:] == [
        "7012345678901",
        "0.5",
        "TRUE",
        "2026-03-01",
        "2026-03-01 09:30:00",
        "007",
        "09:30:00",
    ]
    assert product.kinds == "nssnnbddst"


def test_columns_that_are_empty_at_the_left_keep_their_places() -> None:
    rows: list[list[Any]] = [[None, None, *HEADER], [None, None, 1, "Mug", URL]]
    (product,) = products_of(workbook({"S": rows}))
    assert product.cells == ["", "", "1", "Mug", URL]


def test_first_sheet_with_a_known_header_is_read() -> None:
    sheets: dict[str, list[list[Any]]] = {
        "Notes": [["Read me"], ["x"]],
        "Empty": [],
        "Data": [HEADER, [1, "A", URL]],
    }
    content = workbook(sheets)
    with opened(content) as (_, layout):
        assert layout.sheet == "Data"


def test_sheet_may_be_named() -> None:
    other = "http://images.example/2.jpg"
    content = workbook({"One": [HEADER, [1, "A", URL]], "Two": [HEADER, [1, "B", other]]})
    with opened(content, "two") as (table, layout):
        (product,) = ProductFile(table, layout, UploadLimits(10, 10))
    assert isinstance(product, NewProduct)
    assert product.input_image_urls == [other]
    refused = refusal_of(content, "Three")
    assert refused.code == "invalid_option"
    assert "'One', 'Two'" in refused.detail


def test_unknown_header_is_refused_with_what_would_be_taken() -> None:
    content = workbook({"S": [["Code", "Titel", "Foto"], ["A1", "Mug", URL]]})
    refused = refusal_of(content)
    assert refused.code == "missing_columns"
    assert refused.members["suggested_columns"] == {
        "key": "Code",
        "name": "Titel",
        "images": ["Foto"],
    }


cell = (
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20)
    # openpyxl writes these as formulas and errors.
    .filter(
        lambda text: not text.startswith(("=", "#")) and text.strip() == text and "_x" not in text
    )
    | st.integers(-(10**14), 10**14)
    | st.integers(-(10**9), 10**9).map(lambda number: number / 1000)
    | st.booleans()
    | st.none()
)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(cell, cell, cell), min_size=1, max_size=8))
def test_table_that_openpyxl_writes_comes_back_cell_by_cell(
    rows: list[tuple[Any, Any, Any]],
) -> None:
    header = [*HEADER, "A", "B", "C"]
    table = [[number, "Mug", URL, *row] for number, row in enumerate(rows, start=1)]
    products = products_of(workbook({"S": [header, *table]}))
    output = io.BytesIO()
    write_workbook([Row(1, header), *(Row(0, list(each.cells), each.kinds) for each in products)],
                   output, "S")  # fmt: skip
    given_back = [row + [None] * (6 - len(row)) for row in rows_of_workbook(output.getvalue())[1:]]
    expected = [[None if value == "" else value for value in row] for row in table]
    assert given_back == expected


def test_urls_are_written_as_text_however_many_they_are() -> None:
    """Excel allows 65,530 links per sheet. Further ones would be lost."""
    output = io.BytesIO()
    write_workbook((Row(0, [f"http://h.example/{n}"]) for n in range(66_000)), output, None)
    output.seek(0)
    sheet = CalamineWorkbook.from_filelike(output).get_sheet_by_index(0)
    assert (sheet.height, sheet.to_python()[-1]) == (66_000, ["http://h.example/65999"])


def test_cell_that_excel_cannot_hold_is_refused() -> None:
    with pytest.raises(DoesNotFit, match="32,768 characters"):
        write_workbook([Row(0, ["x" * 32_768])], io.BytesIO(), None)


# --- hostile workbooks ---

_BILLION_LAUGHS = (
    '<!DOCTYPE x [<!ENTITY a "ha">'
    + "".join(
        f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "]>"
)


def _cells_at(*references: str) -> bytes:
    rows = (f'<row r="{each.lstrip(LETTERS)}">{text_cell(each, "x")}</row>' for each in references)
    return sheet_xml("".join(rows))


def _with_directory_of(entries: int, *, zip64: bool = False) -> bytes:
    """A workbook whose directory has this many entries, and says that it has three."""
    book = handmade(sheet_xml(ONE_CELL))
    end = book.rfind(b"PK\x05\x06")
    (start,) = struct.unpack_from("<I", book, end + 16)
    name = b"xl/worksheets/sheet1.xml"
    at = book.index(name, start) - 46
    directory = book[at : at + 46 + len(name)] * entries
    record = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 3, 3, len(directory), start, 0)
    if zip64:
        large = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 3, 3, len(directory), start)
        locator = struct.pack("<4sIQI", b"PK\6\7", 0, start + len(directory), 1)
        record = large + locator + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 3, 3, 9, start, 0)
    return book[:start] + directory + record


LETTERS = string.ascii_uppercase
ONE_CELL = f"<row>{text_cell('A1', 'x')}</row>"
HOSTILE = {
    "far cell": lambda: handmade(_cells_at("A1", "XFD1048576")),
    "columns far down": lambda: handmade(_cells_at("A1", "T1048576")),
    "zip bomb": lambda: handmade(sheet_xml(ONE_CELL), further={"xl/bomb.bin": bytes(20 * MIB)}),
    "one long string": lambda: handmade(sheet_xml(f"<row>{text_cell('A1', 'x' * 20 * MIB)}</row>")),
    "many sheets": lambda: handmade(sheet_xml(""), sheets=6000),
    "a million sheets": lambda: _with_directory_of(1_000_000),
    "a million sheets in ZIP64": lambda: _with_directory_of(1_000_000, zip64=True),
    "several hundred sheets": lambda: handmade(sheet_xml(""), sheets=300),
    "entity expansion": lambda: handmade(
        sheet_xml(f"<row>{text_cell('A1', '&i;')}</row>", head=_BILLION_LAUGHS)
    ),
    "no workbook": lambda: handmade(b"")[:200],
    "cut off": lambda: workbook({"S": [HEADER, [1, "A", URL]]})[:-40],
    "sheet that is no XML": lambda: handmade(b"<worksheet"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_workbook_is_refused_in_seconds_without_memory(name: str) -> None:
    content = HOSTILE[name]()
    process = psutil.Process()
    before, started = process.memory_info().rss, time.monotonic()
    refused = refusal_of(content)
    assert refused.status in (400, 413)
    assert time.monotonic() - started < 20
    assert process.memory_info().rss - before < 30 * MIB


@pytest.mark.parametrize(
    "reference",
    ['r="XFD1048576"', "r = 'XFD1048576'", 's="1"\nr="H1048577"', 'r="AZ300000"', 'r="I1048576"'],
)
def test_far_cell_is_found_however_it_is_written(reference: str) -> None:
    rows = f"<row>{text_cell('A1', 'x')}<c {reference}><v>1</v></c></row>"
    refused = refusal_of(handmade(sheet_xml(rows)))
    assert (refused.status, refused.code) == (413, "too_large")
    assert "more than 8 million" in refused.detail


@pytest.mark.parametrize(("rows", "columns"), [(40, 300), (3, 16_000)])
def test_wide_sheet_within_the_limit_is_read(rows: int, columns: int) -> None:
    further = [f"Column {number}" for number in range(columns - 3)]
    table = [[row, "Mug", URL, *range(columns - 3)] for row in range(1, rows + 1)]
    assert len(products_of(workbook({"S": [HEADER + further, *table]}))) == rows


def test_external_links_are_not_followed() -> None:
    cells = "".join(
        text_cell(f"{column}1", name) for column, name in zip("ABC", HEADER, strict=True)
    )
    row = f'<c r="A2"><v>1</v></c>{text_cell("B2", "Mug")}{text_cell("C2", URL)}'
    link = b'<externalLink xmlns="x"><externalBook r:id="r" xmlns:r="y"/></externalLink>'
    target = (
        b'<Relationships><Relationship Id="r" Target="http://127.0.0.1:9/x.xlsx"/></Relationships>'
    )
    content = handmade(
        sheet_xml(f'<row r="1">{cells}</row><row r="2">{row}</row>'),
        further={
            "xl/externalLinks/externalLink1.xml": link,
            "xl/externalLinks/_rels/externalLink1.xml.rels": target,
        },
    )
    assert [product.product_name for product in products_of(content)] == ["Mug"]
