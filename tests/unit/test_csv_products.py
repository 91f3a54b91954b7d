"""The uploaded CSV as products: columns, rows, URLs, refusals, and correct line numbers."""

import codecs
import csv
import io
import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from halftone_api.errors import Problem
from tests.support.csv_files import (
    HEADER,
    MIB,
    OTHER,
    URL,
    errors_of,
    only_row,
    read,
    refusal_of,
    rows_of,
)

LONG = "x" * 500_000

quick = settings(max_examples=200, deadline=None)

# --- header ---


@pytest.mark.parametrize(
    "serial", ["Serial Number", "S. No", "S. No.", "S.No.", "s. no", "SERIAL NUMBER", "  s.no. "]
)
def test_serial_number_column_has_aliases(serial: str) -> None:
    assert only_row(f"{serial},Product Name,Input Image Urls\n7,A,{URL}\n").serial_number == 7


def test_header_is_read_without_regard_to_case_and_surrounding_space() -> None:
    products, (row,) = read(f"\t sERIAL nUMBER , PRODUCT NAME,input image urls  \n1,A,{URL}\n")
    assert row.serial_number == 1
    assert products.layout.header == ["\t sERIAL nUMBER ", " PRODUCT NAME", "input image urls  "]


def test_errors_name_the_column_as_the_file_does() -> None:
    (error,) = errors_of(f" S. No ,Product Name,Input Image Urls\nx,A,{URL}\n")
    assert error.column == "S. No"


def test_columns_may_stand_in_any_order_and_further_ones_are_kept() -> None:
    products, (row,) = read(
        f'Notes,Input Image Urls,EAN,Serial Number,Product Name\n" n, ",{URL},,1, A \n'
    )
    assert products.layout.images[0].read == 1
    assert row.cells == [" n, ", URL, "", "1", " A "]
    assert (row.serial_number, row.product_name) == (1, "A")


def test_short_rows_are_filled_up_with_empty_cells() -> None:
    assert only_row(f"Serial Number,Product Name,Input Image Urls,A,B\n1,X,{URL}\n").cells == [
        "1",
        "X",
        URL,
        "",
        "",
    ]


def test_unnamed_columns_may_repeat() -> None:
    assert only_row(f"Serial Number,Product Name,Input Image Urls,,\n1,X,{URL},a,b\n").cells == [
        "1",
        "X",
        URL,
        "a",
        "b",
    ]


def test_urls_spill_into_columns_without_a_name() -> None:
    assert only_row(
        f"Serial Number,Product Name,Input Image Urls,,\n1,X,{URL},{URL},\n"
    ).input_image_urls == [URL, URL]


def test_missing_columns_are_named() -> None:
    refused = refusal_of(f"S. No,Name,Input Image Urls\n1,A,{URL}\n")
    assert (refused.code, refused.status) == ("missing_columns", 400)
    assert refused.members == {
        "columns": ["Product Name"],
        "found_columns": ["S. No", "Name", "Input Image Urls"],
        "url_columns": ["Input Image Urls"],
        "suggested_columns": {"key": "S. No", "name": "Name", "images": ["Input Image Urls"]},
    }
    shown = '{"key": "S. No", "name": "Name", "images": ["Input Image Urls"]}'
    assert f"columns={shown}" in refused.detail


@pytest.mark.parametrize(
    ("header", "duplicate"),
    [
        ("Serial Number,Product Name,Input Image Urls,product name ", "Product Name"),
        ("Serial Number,S. No,Product Name,Input Image Urls", "Serial Number"),
        ("Serial Number,Product Name,Input Image Urls,Notes,NOTES", "notes"),
    ],
)
def test_duplicate_columns_are_named(header: str, duplicate: str) -> None:
    refused = refusal_of(f"{header}\n1,A,{URL}\n")
    assert (refused.code, refused.status) == ("duplicate_columns", 400)
    assert refused.members == {"columns": [duplicate]}


@pytest.mark.parametrize(
    "header", [LONG, f"{HEADER.strip()},{LONG},{LONG}"], ids=["missing", "duplicate"]
)
def test_names_of_columns_are_cut_in_a_refusal(header: str) -> None:
    """A file that is no CSV is often a single line."""
    refused = refusal_of(header + "\n")
    assert refused.code in ("missing_columns", "duplicate_columns")
    assert len(refused.detail) + len(str(refused.members)) < 1000


@pytest.mark.parametrize("data", ["", "\n", "\r\n \r\n", ",,\n", "\ufeff", " "])
def test_file_without_anything_is_empty(data: str) -> None:
    refused = refusal_of(data)
    assert (refused.code, refused.status) == ("empty_csv", 400)


@pytest.mark.parametrize("data", [HEADER, HEADER.strip(), HEADER + "\n\n", HEADER + ",,\n , ,\n"])
def test_header_alone_has_no_rows(data: str) -> None:
    refused = refusal_of(data)
    assert (refused.code, refused.status) == ("no_rows", 400)


def test_header_of_many_columns_is_read_at_once() -> None:
    """Comparing every pair of names would take minutes for a header of a megabyte."""
    names = ",".join(f"c{number}" for number in range(20_000))
    started = time.process_time()
    assert refusal_of(names + "\n1\n").code in ("missing_columns", "malformed_csv")
    assert time.process_time() - started < 1


# --- rows ---


def test_blank_lines_are_passed_over_and_counted() -> None:
    data = f"\n \n{HEADER}\n1,A,{URL}\n,,\n  \t \n2,B,{URL}\n\n"
    assert [(row.line, row.serial_number) for row in rows_of(data)] == [(5, 1), (8, 2)]


@pytest.mark.parametrize(
    ("cell", "number"), [("007", 7), (" 1 ", 1), ("0", 0), ("9" * 18, 10**18 - 1)]
)
def test_serial_number_is_a_whole_number(cell: str, number: int) -> None:
    row = only_row(f"{HEADER}{cell},A,{URL}\n")
    assert (row.serial_number, row.cells[0]) == (number, cell)


def test_cells_stay_as_they_are_and_names_lose_their_outer_space() -> None:
    row = only_row(f"{HEADER} 1 ,  Mug\u00a0,  {URL} \n")
    assert row.cells == [" 1 ", "  Mug\u00a0", f"  {URL} "]
    assert (row.product_name, row.input_image_urls) == ("Mug", [URL])


@pytest.mark.parametrize(
    ("row", "column", "code", "value"),
    [
        *(
            (f"{cell},A,{URL}", "Serial Number", "not_a_number", cell)
            for cell in [
                "x",
                "",
                " ",
                "-1",
                "+1",
                "1.0",
                "1e3",
                "1 2",
                "0x1",
                "1_0",
                "١",
                "½",
                "9" * 19,
            ]
        ),
        (f"1,,{URL}", "Product Name", "empty_name", ""),
        (f"1, \u00a0 ,{URL}", "Product Name", "empty_name", " \u00a0 "),
        (f"1,{'x' * 1001},{URL}", "Product Name", "field_too_long", "x" * 1001),
        ("1,A,", "Input Image Urls", "no_url", ""),
        ("1,A", "Input Image Urls", "no_url", ""),
        ('1,A," , ,"', "Input Image Urls", "no_url", " , ,"),
        (
            "1,A,ftp://files.example/a.jpg",
            "Input Image Urls",
            "no_valid_url",
            "ftp://files.example/a.jpg",
        ),
        ("1,A,photo.jpg", "Input Image Urls", "no_valid_url", "photo.jpg"),
        (
            '1,A,"ftp://a.example/1,mailto://b"',
            "Input Image Urls",
            "no_valid_url",
            "ftp://a.example/1,mailto://b",
        ),
        (f"1,A,{URL}/{'x' * 4096}", "Input Image Urls", "field_too_long", f"{URL}/{'x' * 4096}"),
    ],
)
def test_wrong_row_is_reported_with_its_place(row: str, column: str, code: str, value: str) -> None:
    data = f"{HEADER}100,Good,{URL}\n{row}\n"
    products, rows = read(data)
    (error,) = products.errors.first
    assert (error.line, error.column, error.code, error.value) == (3, column, code, value)
    assert error.message
    assert [row.serial_number for row in rows] == [100]


def test_longest_allowed_values_are_taken() -> None:
    url = "http://images.example/".ljust(4096, "x")
    urls = ",".join([url] * 10)
    (row,) = rows_of(f'{HEADER}1,{"x" * 1000},"{urls}"\n', max_urls=10)
    assert len(row.input_image_urls) == 10


def test_too_many_urls_are_counted() -> None:
    urls = ",".join([URL] * 4)
    (error,) = errors_of(f'{HEADER}1,A,"{urls}"\n', max_urls=3)
    assert (error.line, error.column, error.code, error.value) == (
        2,
        "Input Image Urls",
        "too_many_urls",
        urls,
    )
    assert "3" in error.message
    assert "4" in error.message


def test_every_error_of_a_row_is_reported() -> None:
    errors = errors_of(HEADER + "x,,\n")
    assert [(error.line, error.code) for error in errors] == [
        (2, "not_a_number"),
        (2, "empty_name"),
        (2, "no_url"),
    ]


def test_every_row_is_checked_and_the_first_hundred_errors_are_kept() -> None:
    products, rows = read(HEADER + "".join(f"{n},,{URL}\n" for n in range(1, 251)))
    assert rows == []
    assert products.errors.count == 250
    assert [error.line for error in products.errors.first] == list(range(2, 102))


def test_duplicate_serial_numbers_name_the_line_of_the_first() -> None:
    data = HEADER + "".join(f"{serial},A,{URL}\n" for serial in ("5", "3", "005", "4", "5", "3"))
    errors = errors_of(data)
    assert [(error.line, error.column, error.code, error.value) for error in errors] == [
        (4, "Serial Number", "duplicate_serial_number", "5"),
        (6, "Serial Number", "duplicate_serial_number", "5"),
        (7, "Serial Number", "duplicate_serial_number", "3"),
    ]
    assert [re.findall(r"line (\d+)", error.message) for error in errors] == [["2"], ["2"], ["3"]]


def test_duplicates_and_other_errors_come_in_the_order_of_the_file() -> None:
    errors = errors_of(f"{HEADER}1,A,{URL}\n2,,{URL}\n1,B,{URL}\nx,C,{URL}\n")
    assert [(error.line, error.code) for error in errors] == [
        (3, "empty_name"),
        (4, "duplicate_serial_number"),
        (5, "not_a_number"),
    ]


def test_rows_with_another_error_count_for_duplicates() -> None:
    errors = errors_of(f"{HEADER}1,,{URL}\n1,B,{URL}\n")
    assert [(error.line, error.code) for error in errors] == [
        (2, "empty_name"),
        (3, "duplicate_serial_number"),
    ]


def test_first_hundred_of_duplicates_and_other_errors_together_are_kept() -> None:
    duplicates = "".join(f"1,A,{URL}\n" for _ in range(151))
    nameless = "".join(f"{n},,{URL}\n" for n in range(2, 152))
    products, _ = read(HEADER + duplicates + nameless)
    assert products.errors.count == 300
    assert [error.line for error in products.errors.first] == list(range(3, 103))
    products, _ = read(HEADER + nameless + duplicates)
    assert products.errors.count == 300
    assert [error.line for error in products.errors.first] == list(range(2, 102))


def test_too_many_rows_are_refused_with_the_limit() -> None:
    data = HEADER + "".join(f"{n},A,{URL}\n\n" for n in range(1, 5))
    assert len(read(data, max_rows=4)[1]) == 4
    refused = refusal_of(data, max_rows=3)
    assert (refused.code, refused.status, refused.members) == ("too_many_rows", 413, {"limit": 3})


def test_line_breaks_at_the_end_cost_nothing() -> None:
    """Reading 30 million of them one by one would take half a minute."""
    data = f"{HEADER}1,A,{URL}".encode() + b"\r\n" * 15_000_000
    started = time.process_time()
    assert len(rows_of(data)) == 1
    assert time.process_time() - started < 5


def test_blank_rows_within_a_file_are_bounded() -> None:
    refused = refusal_of(f"{HEADER}1,A,{URL}\n" + "\n" * 1_000_001 + f"2,B,{URL}\n")
    assert (refused.code, refused.members) == ("too_many_rows", {"limit": 1_000_000})


def test_too_many_cells_are_refused_with_the_line() -> None:
    header = "Serial Number,Input Image Urls,Product Name\n"
    refused = refusal_of(f"{header}1,{URL},A\n2,{URL},B,C\n")
    assert (refused.code, refused.status, refused.members) == ("malformed_csv", 400, {"line": 3})


def test_empty_cells_behind_the_last_column_are_passed_over() -> None:
    header = "Serial Number,Input Image Urls,Product Name\n"
    assert only_row(f"{header}1,{URL},A,, ,\n").cells == ["1", URL, "A"]


def test_first_hundred_duplicates_are_those_of_the_first_lines() -> None:
    serials = [9] * 121 + [1] * 121
    products, _ = read(HEADER + "".join(f"{serial},A,{URL}\n" for serial in serials))
    assert products.errors.count == 240
    assert [error.line for error in products.errors.first] == list(range(3, 103))


def test_reported_value_is_cut() -> None:
    (error,) = errors_of(f"{HEADER}1,{'x' * 5000},{URL}\n")
    assert error.to_json()["value"] == "x" * 200


# --- URLs ---


@pytest.mark.parametrize(
    ("cell", "urls"),
    [
        (URL, [URL]),
        (f"{URL},{OTHER}", [URL, OTHER]),
        (f" {URL} ,\t{OTHER} ", [URL, OTHER]),
        (f"{URL},\r\n{OTHER}", [URL, OTHER]),
        (f"{URL},{URL}", [URL, URL]),
        (f"{URL},,{OTHER},", [URL, OTHER]),
        (f",{URL}, ,{OTHER}, ,", [URL, OTHER]),
        ("http://c.example/w_200,h_300/a.jpg", ["http://c.example/w_200,h_300/a.jpg"]),
        (f"http://c.example/w_200,h_300,{URL}", ["http://c.example/w_200,h_300", URL]),
        ("http://c.example/?ids=1,2,3&u=a:b", ["http://c.example/?ids=1,2,3&u=a:b"]),
        (
            f"HTTP://C.example/,HTTPS://c.example/,{URL}",
            ["HTTP://C.example/", "HTTPS://c.example/", URL],
        ),
        ("http://c.example/a;b|c", ["http://c.example/a;b|c"]),
    ],
)
def test_comma_separates_urls_only_before_a_scheme(cell: str, urls: list[str]) -> None:
    assert only_row(f'{HEADER}1,A,"{cell}"\n').input_image_urls == urls


@pytest.mark.parametrize("scheme", ["ftp", "s3", "svn+ssh", "x-a.b"])
def test_any_scheme_begins_a_new_url(scheme: str) -> None:
    products, (row,) = read(f'{HEADER}1,A,"{URL},{scheme}://b/c,d,{OTHER}"\n')
    assert row.input_image_urls == [URL, f"{scheme}://b/c,d", OTHER]
    assert products.warnings.count == 1


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("tail", ["", "{d}", "{d}{d} {d}"])
def test_unquoted_urls_that_spill_over_belong_to_the_last_column(delimiter: str, tail: str) -> None:
    row = delimiter.join(["1", "A", URL, f" {OTHER}", URL]) + tail.format(d=delimiter)
    found = only_row(HEADER.replace(",", delimiter) + row + "\n")
    assert found.input_image_urls == [URL, OTHER, URL]
    assert len(found.cells) == 3
    assert found.cells[2].replace(" ", "") == f"{URL},{OTHER},{URL}"


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_url_with_the_delimiter_inside_is_put_together_again(delimiter: str) -> None:
    url = f"http://c.example/a{delimiter}b{delimiter}c.jpg"
    found = only_row(HEADER.replace(",", delimiter) + delimiter.join(["1", "A", url, OTHER]) + "\n")
    assert found.input_image_urls == [url, OTHER]


def test_cell_behind_a_tab_is_a_url_of_its_own() -> None:
    products, (row,) = read(HEADER.replace(",", "\t") + f"1\tA\t{URL}\tN/A\t\t{OTHER}\n")
    assert row.input_image_urls == [URL, "N/A", OTHER]
    assert row.cells == ["1", "A", f"{URL},N/A,{OTHER}"]
    (warning,) = products.warnings.first
    assert (warning.code, warning.value) == ("invalid_url", "N/A")


def test_url_with_two_commas_in_a_row_is_put_together_again() -> None:
    url = "http://c.example/w_200,,h_300/a.jpg"
    assert only_row(f"{HEADER}1,A,{url},{OTHER}\n").input_image_urls == [url, OTHER]


def test_urls_behind_an_empty_url_cell_count() -> None:
    assert only_row(f"{HEADER}1,A,,{URL},,{OTHER}\n").input_image_urls == [URL, OTHER]


def test_row_of_a_million_cells_is_one_url_that_is_too_long() -> None:
    (error,) = errors_of(f"{HEADER}1,A,{URL}{',x' * MIB}\n")
    assert error.code == "field_too_long"


@pytest.mark.parametrize(
    ("before", "line"),
    [("", 1), (HEADER, 2), (f"{HEADER}1,A,{URL}\n", 3)],
    ids=["header", "first row", "second row"],
)
@pytest.mark.parametrize(
    "piece",
    ["a,", '"a\n",', "\u540d,"],
    ids=["one line", "many short lines", "two bytes a character"],
)
def test_row_without_end_is_refused(before: str, line: int, piece: str) -> None:
    refused = refusal_of(before + piece * (4 * MIB // len(piece) + 1) + "\n")
    assert (refused.code, refused.members) == ("malformed_csv", {"line": line})


def test_rows_together_may_be_larger_than_one_may() -> None:
    further = "x" * 10_000
    rows = "".join(f"{row},A,{further},{URL}\n" for row in range(1, 1001))
    assert len(rows_of(f"Serial Number,Product Name,Further,Input Image Urls\n{rows}")) == 1000


def test_nothing_spills_where_the_url_column_is_not_the_last() -> None:
    row = only_row(f"Serial Number,Product Name,Input Image Urls,Link\n1,A,{URL},{OTHER}\n")
    assert row.input_image_urls == [URL]
    assert row.cells == ["1", "A", URL, OTHER]


def test_further_invalid_url_is_a_warning_and_keeps_its_slot() -> None:
    products, (row,) = read(f'{HEADER}1,A,"{URL},ftp://f.example/b,{OTHER}"\n')
    assert products.errors.count == 0
    assert row.input_image_urls == [URL, "ftp://f.example/b", OTHER]
    (warning,) = products.warnings.first
    assert products.warnings.count == 1
    assert warning.to_json().keys() == {"line", "column", "code", "message", "value"}
    assert (warning.line, warning.column, warning.code, warning.value) == (
        2,
        "Input Image Urls",
        "invalid_url",
        "ftp://f.example/b",
    )


def test_second_url_without_a_scheme_is_a_warning() -> None:
    products, (row,) = read(f'{HEADER}1,A,"{URL}, cdn.example/b.jpg"\n')
    assert row.input_image_urls == [f"{URL},%20cdn.example/b.jpg"]
    (warning,) = products.warnings.first
    assert (warning.line, warning.code) == (2, "maybe_two_urls")
    assert "https://" in warning.message


def test_further_invalid_url_is_an_error_when_strict() -> None:
    data = f'{HEADER}1,A,"{URL},ftp://f.example/b,http://h:0/"\n2,B,{URL}\n'
    products, rows = read(data, strict=True)
    assert products.warnings.count == 0
    assert [(error.line, error.code, error.value) for error in products.errors.first] == [
        (2, "invalid_url", "ftp://f.example/b"),
        (2, "invalid_url", "http://h:0/"),
    ]
    assert [row.serial_number for row in rows] == [2]


def test_first_hundred_warnings_are_kept_and_all_counted() -> None:
    rows = "".join(f'{n},A,"{URL},ftp://f.example/{n},ftp://g.example/{n}"\n' for n in range(1, 76))
    products, found = read(HEADER + rows)
    assert len(found) == 75
    assert products.warnings.count == 150
    assert [warning.line for warning in products.warnings.first] == [
        line for line in range(2, 52) for _ in "ab"
    ]


# --- properties ---

cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
awkward = st.text(st.sampled_from("\"',;\t \r\na1é=\ufeff\u2028\x85"), max_size=8)
any_cell = cell | awkward
name = any_cell.filter(lambda text: text.strip())


@quick
@given(
    st.lists(st.tuples(any_cell, name, any_cell, any_cell), min_size=1, max_size=8),
    st.sampled_from([",", ";", "\t"]),
    st.booleans(),
)
@example([(' "', ' "', "\r", '\n "x')], ",", True)
def test_cells_written_by_a_csv_writer_are_read_back_verbatim(
    cells: list[tuple[str, str, str, str]], delimiter: str, urls_last: bool
) -> None:
    header = ["A", "Serial Number", "Product Name", "B", "C", "Input Image Urls"]
    rows = [[a, str(n), product, b, c, URL] for n, (a, product, b, c) in enumerate(cells, start=1)]
    if not urls_last:
        header, rows = header[::-1], [row[::-1] for row in rows]
    text, lines = _written(header, rows, delimiter)
    products, found = read(text.encode())
    assert products.layout.header == header
    assert [row.cells for row in found] == rows
    assert [row.line for row in found] == lines


def _written(header: list[str], rows: list[list[str]], delimiter: str) -> tuple[str, list[int]]:
    """A file, and the line on which each of its rows starts."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter)
    writer.writerow(header)
    lines = []
    for row in rows:
        lines.append(1 + len(re.findall("\r\n|\r|\n", buffer.getvalue())))
        writer.writerow(row)
    return buffer.getvalue(), lines


path = st.text(st.sampled_from("ab1,;=&?/._~%20"), max_size=20).map(
    lambda text: re.sub("[,;]+//", "//", text).rstrip(",;")
)


@quick
@given(st.lists(path, min_size=1, max_size=6), st.sampled_from([",", ", ", ",\n"]))
def test_urls_in_a_quoted_cell_are_told_apart(paths: list[str], separator: str) -> None:
    urls = [f"http://images.example/{path}" for path in paths]
    assert only_row(f'{HEADER}1,A,"{separator.join(urls)}"\n').input_image_urls == urls


BEGINNINGS = [
    b"",
    HEADER.encode(),
    codecs.BOM_UTF8 + HEADER.encode(),
    codecs.BOM_UTF16_LE + HEADER.encode("utf-16-le"),
    codecs.BOM_UTF16_BE + HEADER.encode("utf-16-be"),
    HEADER.replace(",", ";").encode(),
    HEADER.encode() + b'1,A,"http://images.example/',
]
pieces = st.lists(
    st.sampled_from(
        [
            b",",
            b";",
            b"\t",
            b'"',
            b" ",
            b"\n",
            b"\r",
            b"1",
            b"A",
            b"http://h/",
            b"\0",
            b"\xff",
            b"\xc3\xa9",
        ]
    )
    | st.binary(max_size=4),
    max_size=40,
).map(b"".join)


@quick
@given(st.sampled_from(BEGINNINGS), st.binary(max_size=400) | pieces, st.booleans())
def test_any_bytes_are_read_or_refused(beginning: bytes, rest: bytes, strict: bool) -> None:
    try:
        products, rows = read(beginning + rest, strict=strict)
    except Problem:
        return
    for row in rows:
        assert len(row.cells) == len(products.layout.header)
        assert row.input_image_urls
        assert not any("\0" in cell for cell in row.cells)
