"""Files that are no table: the refusal says what the file is and what to upload instead."""

import gzip
import io
import json
import tarfile
import zipfile

import pytest

from halftone_api.errors import Problem
from halftone_api.upload.column_choice import ColumnChoice, MappedColumns
from halftone_api.upload.opening import Reading, open_table
from tests.support.images import jpeg

URL = "http://images.example/1.jpg"


def archive(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            file.writestr(name, "x")
    return content.getvalue()


def ole(stream: str) -> bytes:
    """An OLE file: a header, and a directory with the root and this stream."""
    entries = b"".join(
        name.encode("utf-16-le").ljust(128, b"\0") for name in ("Root Entry", stream)
    )
    return b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".ljust(512, b"\0") + entries.ljust(512, b"\0")


def tar() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as file:
        file.addfile(tarfile.TarInfo("products.csv"))
    return content.getvalue()


PRODUCTS = [{"sku": "MUG", "images": [URL]}]
LOGIN = (
    "<!DOCTYPE html>\n<html><head><title>Log in &ndash; Shop</title></head>"
    '<body><form><input type="password"></form></body></html>'
)
OTHER_FILES = {
    "JSON": (json.dumps({"products": PRODUCTS}).encode(), "is JSON", '{"products"'),
    "JSON list": (json.dumps(PRODUCTS, indent=2).encode(), "is JSON", "Export the products"),
    "JSON in one long line": (json.dumps(PRODUCTS * 100_000).encode(), "is JSON", "as CSV"),
    "JSON lines": (b'{"sku": "MUG"}\n{"sku": "CUP"}\n', "is JSON", "as CSV"),
    "JSON in UTF-16": (json.dumps(PRODUCTS).encode("utf-16"), "is JSON", "as CSV"),
    "error of an API": (b'{"error": "unauthorized"}', "is JSON", "unauthorized"),
    "sign-in page": (LOGIN.encode(), "a web page (HTML) with the title 'Log in – Shop'", "sign in"),
    "web page": (b"\r\n<html><p>Not found</p>", "a web page (HTML), not a table", "Export the"),
    "table of a page": (b"<table><tr><td>Code</td></tr></table>", "a web page", "in Excel or"),
    "XHTML": (b'<?xml version="1.0"?>\n<html><title>Hi</title>', "title 'Hi'", "Export the"),
    "feed": (b'<?xml version="1.0"?><rss version="2.0">', "XML with the root element <rss>", ""),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG image", "the URL of each"),
    "Excel 2003 XML": (
        b'<?xml version="1.0"?><?mso-application progid="Excel.Sheet"?><Workbook/>',
        "an Excel 2003 XML table",
        "(.xlsx)",
    ),
    "PDF": (b"%PDF-1.7\n", "a PDF", "Export the products"),
    "RTF": (b"{\\rtf1\\ansi Code}", "an RTF document", "Export the products"),
    "xls": (ole("Workbook"), "an old Excel workbook (.xls)", "save the sheet as an Excel workbook"),
    "xls of Excel 5": (ole("Book"), "an old Excel workbook (.xls)", "(.xlsx)"),
    "password": (ole("EncryptedPackage"), "a workbook or document with a password", "Remove"),
    "doc": (ole("WordDocument"), "a Word document (.doc)", "Export the products"),
    "xls with its directory far away": (ole("?"), "probably a workbook (.xls)", "(.xlsx)"),
    "xlsb": (archive("xl/workbook.bin"), "a binary Excel workbook (.xlsb)", "(.xlsx)"),
    "docx": (archive("word/document.xml"), "a Word document (.docx)", "Export the products"),
    "pptx": (archive("ppt/presentation.xml"), "a PowerPoint presentation", "Export the products"),
    "ods": (archive("mimetype", "content.xml"), "an OpenDocument file (.ods", "in LibreOffice"),
    "numbers": (archive("Index/Document.iwa"), "an Apple Numbers", "File > Export To > Excel"),
    "ZIP of a table": (archive("a.jpg", "out/products.csv"), "a ZIP archive", "'out/products.csv'"),
    "ZIP of pictures": (archive("a.jpg", "b.jpg"), "a ZIP archive without a table", "Export the"),
    "empty ZIP": (archive(), "an empty ZIP archive", "Export the products"),
    "gzip": (gzip.compress(b"Code,Foto"), "a gzip archive", "Unpack it"),
    "TAR": (tar(), "a TAR archive", "Unpack it"),
    "RAR": (b"Rar!\x1a\x07\x01\0", "a RAR archive", "Unpack it"),
    "PNG": (b"\x89PNG\r\n\x1a\n", "a PNG image", "Upload the table of the products"),
    "JPEG": (jpeg(), "a JPEG image", "Upload the table of the products"),
    "WebP": (b"RIFF\x24\0\0\0WEBPVP8 ", "a WebP image", "Upload the table of the products"),
    "HEIC": (b"\0\0\0\x18ftypheic", "a HEIC image", "Upload the table of the products"),
    "video": (b"\0\0\0\x18ftypmp42", "a video", "Upload the table of the products"),
    "SQLite": (b"SQLite format 3\0", "an SQLite database", "Export the products"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_FILES)
def test_file_that_is_no_table_is_called_what_it_is(name: str) -> None:
    content, kind, advice = OTHER_FILES[name]
    with pytest.raises(Problem) as caught, open_table(io.BytesIO(content), Reading()):
        pass
    assert (caught.value.code, caught.value.status) == ("not_csv", 400)
    assert kind in caught.value.detail
    assert advice in caught.value.detail
    assert len(caught.value.detail) < 400


@pytest.mark.parametrize("column", ["<id>", '{"id"', "[1]", "<html>"])
def test_table_whose_header_begins_like_another_file_is_read(column: str) -> None:
    content = f"{column},Foto\nMUG,{URL}\n".replace('{"id"', '"{""id"""').encode()
    wanted = ColumnChoice(columns=MappedColumns(1, None, ("Foto",)))
    with open_table(io.BytesIO(content), Reading(wanted)) as (_, layout):
        assert layout.columns_json()["images"] == ["Foto"]
