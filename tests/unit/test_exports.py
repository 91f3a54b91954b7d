"""Exports of shops, marketplaces and catalogues: recognised, read, and returned in their own
format.
"""

import csv
import io
import itertools
import re
import string
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halftone_api.output.csv_file import csv_pieces
from halftone_api.output.rows import Images, OutputRows
from halftone_api.output.workbook import write_workbook
from halftone_api.upload.column_choice import ColumnChoice, MappedColumns
from halftone_api.upload.layout import Layout
from halftone_api.upload.opening import Reading, open_table
from halftone_api.upload.products import ProductFile, UploadLimits
from halftone_api.upload.profiles import PROFILES
from halftone_api.upload.table import Row
from halftone_shared.db.details import ProductRow
from halftone_shared.db.other_rows import OtherRowAt
from halftone_shared.db.requests import NewProduct, OtherRow
from halftone_shared.model.states import Status
from tests.support.exports import EXPORTS, Export
from tests.support.workbooks import rows_of_workbook, workbook

each_export = pytest.mark.parametrize(
    "export", EXPORTS, ids=[f"{at} {export.profile}" for at, export in enumerate(EXPORTS)]
)


def read(export: Export) -> tuple[ProductFile, list[NewProduct | OtherRow]]:
    wanted = ColumnChoice(base_url=export.fields.get("base_url"))
    with open_table(io.BytesIO(export.content), Reading(wanted)) as (table, layout):
        file = ProductFile(table, layout, UploadLimits(1000, 100))
        return file, list(file)


def test_every_system_has_a_table_here() -> None:
    assert {export.profile for export in EXPORTS} == set(PROFILES)


@each_export
def test_export_is_recognised_and_its_images_are_found(export: Export) -> None:
    file, rows = read(export)
    assert file.errors.first == []
    assert file.warnings.first == []
    assert file.layout.profile == export.profile
    products = [row for row in rows if isinstance(row, NewProduct)]
    assert [product.input_image_urls for product in products] == export.images
    assert [product.product_key for product in products] == export.keys
    assert [product.product_name for product in products] == export.names
    assert file.skipped_rows == len(rows) - len(products)


@each_export
def test_replaced_export_differs_in_its_image_cells_alone(export: Export) -> None:
    file, rows = read(export)
    layout = file.layout
    number = itertools.count(1)
    names = {row.line: [f"{next(number)}.jpg" for _ in row.input_image_urls]
             for row in rows if isinstance(row, NewProduct)}  # fmt: skip
    output = OutputRows(layout, lambda name: f"https://out.example/{name}", Images.REPLACE)
    written = output.rows(stored(row, names.get(row.line, [])) for row in rows)
    text = "".join(
        csv_pieces(
            (row.cells for row in itertools.chain(output.header(), written)),
            layout.delimiter,
            safe=False,
            has_bom=layout.has_bom,
        )
    )
    assert text.startswith("\ufeff") == export.has_bom
    given = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""),
                            delimiter=export.delimiter, strict=True))  # fmt: skip
    assert len(given) == len(export.rows)
    written_columns = {column.write for column in layout.images}
    for before, after in zip(export.rows, given, strict=True):
        filled = before + [""] * (len(after) - len(before))
        others = [at for at in range(len(after)) if at not in written_columns]
        assert [after[at] for at in others] == [filled[at] for at in others]
    shown = [cell for row in given for cell in row]
    for made in itertools.chain(*names.values()):
        assert sum(f"https://out.example/{made}" in cell for cell in shown) == 1


def stored(row: NewProduct | OtherRow, files: list[str]) -> ProductRow | OtherRowAt:
    """The row as the database returns it when its images are done."""
    if isinstance(row, OtherRow):
        return OtherRowAt(0, 1, row.line, list(row.cells), row.kinds)
    return ProductRow(
        seq=1,
        line=row.line,
        serial_number=row.serial_number,
        product_key=row.product_key,
        product_name=row.product_name,
        cells=list(row.cells),
        kinds=row.kinds,
        state=Status.COMPLETED,
        attempts=1,
        input_image_urls=list(row.input_image_urls),
        files=[*files],
        images_json=None,
    )


# --- the property ---

LEGAL = string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@/?%"
url_path = st.text(st.sampled_from(LEGAL), max_size=15).map(
    lambda text: re.sub(r"&amp;|[,;]+(?=(?:[a-z][a-z0-9+.-]*:)?//)", "", text, flags=re.I)
)
image_url = url_path.map(lambda path: f"https://images.example/{path}".rstrip(",;"))
separator = st.sampled_from([",", ", ", "|", ";", " ", "\n", "\r\n", " | ", ";\t"])
image_cell = st.builds(
    lambda urls, between: (between.join(urls), urls),
    st.lists(image_url, min_size=1, max_size=4),
    separator,
)
# openpyxl writes a text that begins with = as a formula, and # may begin an error. It does not mark
# a text of spaces alone as one whose spaces count, so for every reader that cell is empty.
workbook_cell = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12
).filter(lambda text: not text.startswith(("=", "#")) and "_x" not in text and not text.isspace())
other_cell = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12) | st.text(
    st.sampled_from("\"',;|\t \r\na1é=\u2028\x85"), max_size=8
)


Cells = tuple[str, str, tuple[str, list[str]], tuple[str, list[str]]]
COLUMNS = MappedColumns("Key", None, ("Images", "More images"))
HEADER = ["Key", "Note", "Images", "More images"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(other_cell, other_cell, image_cell, image_cell), min_size=1, max_size=5),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_any_table_comes_back_with_the_same_urls_in_the_same_order(
    rows: list[Cells], delimiter: str, encoding: str
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(HEADER)
    cells = [[key, note, first, second] for key, note, (first, _), (second, _) in rows]
    writer.writerows(cells)
    layout, products = read_products(text.getvalue().encode(encoding))
    assert [product.cells for product in products] == cells
    assert [product.input_image_urls for product in products] == urls_of(rows)
    assert [product.product_key for product in products] == [
        key.strip() or None for key, *_ in rows
    ]
    pieces = csv_pieces(
        (row.cells for row in returned(layout, products)), delimiter, safe=False, has_bom=False
    )
    back = csv.reader(io.StringIO("".join(pieces), newline=""), delimiter=delimiter, strict=True)
    assert list(back) == with_outputs(cells, rows)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(workbook_cell, workbook_cell, image_cell, image_cell), min_size=1, max_size=5
    )
)
def test_any_workbook_comes_back_with_the_same_urls_in_the_same_order(rows: list[Cells]) -> None:
    cells = [[key, note, first, second] for key, note, (first, _), (second, _) in rows]
    layout, products = read_products(workbook({"S": [HEADER, *cells]}))
    assert [product.input_image_urls for product in products] == urls_of(rows)
    file = io.BytesIO()
    write_workbook(returned(layout, products), file, layout.sheet)
    back = [[cell or "" for cell in row] for row in rows_of_workbook(file.getvalue())]
    # XML has one kind of line break.
    assert back == [
        [cell.replace("\r\n", "\n") for cell in row] for row in with_outputs(cells, rows)
    ]


def read_products(content: bytes) -> tuple[Layout, list[NewProduct]]:
    with open_table(io.BytesIO(content), Reading(ColumnChoice(columns=COLUMNS))) as (table, layout):
        file = ProductFile(table, layout, UploadLimits(1000, 100))
        return layout, [row for row in file if isinstance(row, NewProduct)]


def urls_of(rows: list[Cells]) -> list[list[str]]:
    return [first + second for _, _, (_, first), (_, second) in rows]


def returned(layout: Layout, products: list[NewProduct]) -> Iterator[Row]:
    """The output file, in which each output has the number of its place in the row."""
    output = OutputRows(layout, lambda name: f"https://out.example/{name}", Images.APPEND)
    named = (stored(each, output_names(len(each.input_image_urls))) for each in products)
    return itertools.chain(output.header(), output.rows(named))


def with_outputs(cells: list[list[str]], rows: list[Cells]) -> list[list[str]]:
    outputs = [
        ",".join(f"https://out.example/{name}" for name in output_names(len(urls)))
        for urls in urls_of(rows)
    ]
    header = [*HEADER, "Output Image Urls"]
    return [header, *([*row, output] for row, output in zip(cells, outputs, strict=True))]


def output_names(count: int) -> list[str]:
    return [f"{number}.jpg" for number in range(1, count + 1)]
