"""The uploaded CSV as rows: encodings, delimiters, line endings, quoting, and correct line
numbers.
"""

import codecs

import pytest

from halftone_shared.db.requests import NewProduct
from tests.support.csv_files import (
    HEADER,
    MIB,
    OTHER,
    URL,
    codes_of,
    only_row,
    read,
    refusal_of,
    rows_of,
)

# --- encodings ---

TEXT = HEADER + f"1,Straße 名前 😀,{URL}\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    ],
    ids=["utf-8", "utf-8 with BOM", "utf-16-le", "utf-16-be"],
)
def test_text_is_the_same_in_every_encoding(data: bytes) -> None:
    products, (row,) = read(data)
    assert products.layout.header == ["Serial Number", "Product Name", "Input Image Urls"]
    assert row == NewProduct(
        2, 1, "Straße 名前 😀", ["1", "Straße 名前 😀", URL], [URL], product_key="1"
    )


@pytest.mark.parametrize("at", [0, 60, MIB - 1, MIB, MIB + 1, 2 * MIB + 17])
def test_bad_byte_is_named_by_its_offset_in_every_chunk(at: int) -> None:
    data = bytearray(codecs.BOM_UTF8 + HEADER.encode() + b"x" * (3 * MIB))
    at += len(codecs.BOM_UTF8)
    data[at] = 0xFF
    refused = refusal_of(bytes(data))
    assert (refused.code, refused.status, refused.members) == (
        "bad_encoding",
        400,
        {"byte_offset": at},
    )
    assert str(at) in refused.detail


@pytest.mark.parametrize("bom", [b"", codecs.BOM_UTF8])
def test_offset_counts_bytes_not_characters(bom: bytes) -> None:
    start = bom + HEADER.encode() + "ß€😀".encode() * 200_000
    assert refusal_of(start + b"\x80").members == {"byte_offset": len(start)}


def test_character_cut_in_two_by_a_chunk_is_no_error() -> None:
    start = HEADER.encode() + b"1,"
    name = b"x" * (MIB - len(start) - 1) + "ß".encode()
    assert codes_of(start + name + f",{URL}\n".encode()) == ["field_too_long"]


def test_broken_character_across_two_chunks_is_named_where_it_begins() -> None:
    header = "ß" + HEADER  # so the text is UTF-8, not windows-1252
    data = header.encode() + b"x" * (MIB - len(header.encode()) - 1) + b"\xc3(" + b"x" * MIB
    assert refusal_of(data).members == {"byte_offset": MIB - 1}


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (TEXT.encode() + b"\xe2\x82", len(TEXT.encode())),
        (codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le") + b"x", 2 + len(TEXT.encode("utf-16-le"))),
        (codecs.BOM_UTF16_BE + HEADER.encode("utf-16-be") + b"\xd8\x00\x00x", 2 + 2 * len(HEADER)),
        (TEXT.encode() + "\ud800".encode("utf-8", "surrogatepass"), len(TEXT.encode())),
    ],
    ids=[
        "cut off in utf-8",
        "odd byte in utf-16",
        "lone surrogate in utf-16",
        "surrogate in utf-8",
    ],
)
def test_broken_ends_and_surrogates_are_refused_with_their_offset(data: bytes, offset: int) -> None:
    refused = refusal_of(data)
    assert (refused.code, refused.members) == ("bad_encoding", {"byte_offset": offset})


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("rows", [1, 30_000])
def test_what_excel_saves_as_ansi_is_read_with_a_warning(rows: int, ending: str) -> None:
    lines = [HEADER.strip(), *(f"{row},Vase,{URL}" for row in range(1, rows + 1))]
    text = ending.join([*lines, f"0,Tür – 5 €,{URL}"])
    products, found = read(text.encode("cp1252"), max_rows=50_000)
    assert found[-1].product_name == "Tür – 5 €"
    (warning,) = products.warnings.first
    assert (warning.line, warning.code, warning.value) == (
        rows + 2,
        "encoding_guessed",
        "windows-1252",
    )


@pytest.mark.parametrize("byte", [0x81, 0x8D, 0x8F, 0x90, 0x9D])
def test_byte_that_windows_1252_does_not_have_is_refused(byte: int) -> None:
    start = HEADER.encode() + b"1,T\xfcr"
    refused = refusal_of(start + bytes([byte]) + f",{URL}\n".encode())
    assert (refused.code, refused.members) == ("bad_encoding", {"byte_offset": len(start) - 2})


def test_bad_text_in_utf_16_is_refused_with_the_line() -> None:
    data = codecs.BOM_UTF16_LE + (HEADER + "1,Türgriff,\r\n2,").encode("utf-16-le")
    assert ": line 3, byte " in refusal_of(data + b"\x00\xd8x").detail
    assert ": line 3, byte " in refusal_of(data + b"\x00\x00").detail


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("characters", [len(HEADER), MIB + 5])
def test_nul_is_refused_with_its_offset(encoding: str, characters: int) -> None:
    bom = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(encoding, b"")
    start = bom + (HEADER + "ß" * (characters - len(HEADER))).encode(encoding)
    refused = refusal_of(start + "\0".encode(encoding))
    assert (refused.code, refused.members) == ("bad_encoding", {"byte_offset": len(start)})


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
    ],
    ids=["utf-16-le without BOM", "utf-16-be without BOM", "utf-32"],
)
def test_other_encodings_are_refused(data: bytes) -> None:
    assert refusal_of(data).code == "bad_encoding"


def test_sep_line_decides_the_delimiter_and_counts_as_a_line() -> None:
    for mark in ("", "\ufeff"):
        products, (row,) = read(f"{mark}sep=;\r\n" + HEADER.replace(",", ";") + f"1;A,B;{URL}\n")
        assert (row.line, row.product_name) == (3, "A,B")
        assert products.layout.separator_line == "sep=;"


@pytest.mark.parametrize(
    "header",
    [
        "\ufeff\ufeff\ufeff" + HEADER,
        HEADER.replace(" ", "\u00a0"),
        HEADER.replace(" ", "  "),
        'Serial Number,Product Name,"Input Image\nUrls"\n',
        "Serial Number\u200b, Product Name,Input Image Urls *\n",
    ],
)
def test_what_nobody_sees_in_a_header_does_not_matter(header: str) -> None:
    assert only_row(f"{header}1,A,{URL}\n").input_image_urls == [URL]


# --- delimiters, line endings, quoting ---


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_delimiter_and_line_ending_is_read(delimiter: str, end: str) -> None:
    lines = [
        ["Serial Number", "Product Name", "Input Image Urls"],
        ["1", "A", URL],
        ["2", "B", OTHER],
    ]
    data = end.join(delimiter.join(cells) for cells in lines)
    products, rows = read(data)
    assert products.layout.delimiter == delimiter
    assert [
        (row.line, row.serial_number, row.product_name, row.input_image_urls) for row in rows
    ] == [
        (2, 1, "A", [URL]),
        (3, 2, "B", [OTHER]),
    ]


def test_line_endings_may_be_mixed() -> None:
    data = f"Serial Number,Product Name,Input Image Urls\r1,A,{URL}\r\n\n2,B,{URL}\r\r3,C,{URL}"
    assert [(row.line, row.serial_number) for row in rows_of(data)] == [(2, 1), (4, 2), (6, 3)]


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [
        ("Serial Number;Product Name;Input Image Urls;Price, EUR", ";"),
        ("Serial Number\tProduct Name\tInput Image Urls\tA;B,C", "\t"),
        ('Serial Number,Product Name,Input Image Urls,"a;b;c;d;e"', ","),
    ],
)
def test_delimiter_is_the_one_that_gives_the_columns(header: str, delimiter: str) -> None:
    data = f"{header}\n" + delimiter.join(["1", "A", URL, "x"])
    products, (row,) = read(data)
    assert products.layout.delimiter == delimiter
    assert row.cells == ["1", "A", URL, "x"]


def test_line_is_the_one_on_which_the_row_starts() -> None:
    data = f'{HEADER}1,"A\nB\r\nC\rD",{URL}\n\n2,E,{URL}\n3,"F\n",{URL}\n4,G,{URL}\n'
    rows = rows_of(data)
    assert [(row.line, row.product_name) for row in rows] == [
        (2, "A\nB\r\nC\rD"),
        (7, "E"),
        (8, "F"),
        (10, "G"),
    ]
    assert rows[0].cells[1] == "A\nB\r\nC\rD"


def test_header_over_two_lines_moves_the_rows() -> None:
    data = f'"Notes\n(internal)",Serial Number,Product Name,Input Image Urls\nx,1,A,{URL}\n'
    assert only_row(data).line == 3


def test_doubled_quotes_and_delimiters_in_quotes_are_content() -> None:
    assert only_row(f'{HEADER}1,"6"" mug, ""large""",{URL}\n').product_name == '6" mug, "large"'


def test_quote_inside_a_bare_cell_is_content() -> None:
    assert only_row(f'{HEADER}1,6" mug,{URL}\n').product_name == '6" mug'


@pytest.mark.parametrize(
    "row",
    [
        f'1, "A, B", "{URL},{OTHER}"',
        f'1,   "A, B",   "{URL}, {OTHER}"',
        f' "1", "A, B", "{URL}", "{OTHER}"',
    ],
)
def test_cell_may_be_quoted_behind_spaces(row: str) -> None:
    found = only_row(f"{HEADER}{row}\n")
    assert (found.serial_number, found.product_name) == (1, "A, B")
    assert found.input_image_urls == [URL, OTHER]


def test_header_may_be_quoted_behind_spaces() -> None:
    assert (
        only_row(f'"Serial Number", "Product Name", "Input Image Urls"\n1,A,{URL}\n').serial_number
        == 1
    )


def test_empty_quoted_cell_behind_a_space_is_empty() -> None:
    assert codes_of(f'{HEADER}1, "", {URL}\n') == ["empty_name"]


def test_cell_quoted_behind_a_space_may_begin_with_a_quote() -> None:
    assert only_row(f'{HEADER}1, """A, B""", {URL}\n').product_name == '"A, B"'


def test_space_before_a_quote_inside_a_quoted_cell_stays() -> None:
    row = only_row(f'{HEADER}1,"a, ""b""\n ""c"" , """,{URL}\n')
    assert row.cells[1] == 'a, "b"\n "c" , "'


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (f'1,"A,{URL}\n2,B,{URL}\n3,C,{URL}\n', 2),
        (f'1,A,{URL}\n\n2,"B"x,{URL}\n', 4),
        (f'1,"A\nB",{URL}\n2,C,"{URL}\n', 4),
        (f'1,"A,{URL}\n2,"B",{URL}\n', 2),
    ],
    ids=[
        "never closed",
        "text behind the closing quote",
        "behind a row of two lines",
        "closed by the next row's",
    ],
)
def test_lone_quote_is_refused_with_the_line_of_its_row(body: str, line: int) -> None:
    refused = refusal_of(HEADER + body)
    assert (refused.code, refused.status, refused.members) == ("malformed_csv", 400, {"line": line})
    assert f"line {line} " in refused.detail


def test_lone_quote_in_the_header_is_refused_with_its_line() -> None:
    refused = refusal_of(f'Serial Number,Product Name,"Input Image Urls\n1,A,{URL}\n')
    assert (refused.code, refused.members) == ("malformed_csv", {"line": 1})


def test_cell_of_a_megabyte_is_refused_with_its_line() -> None:
    refused = refusal_of(f"{HEADER}1,A,{URL}\n2,{'x' * (MIB + 1)},{URL}\n")
    assert (refused.code, refused.members) == ("malformed_csv", {"line": 3})
