"""What a file is that people upload by mistake, by its first bytes, and what to do. Pure."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

# How many bytes at the start of a file show what it is.
START_BYTES = 64 * 1024
_SHOWN_CHARACTERS = 80
_EXPORT = "Export the products as CSV or as an Excel workbook (.xlsx), and upload that."
_SAVE_AS_XLSX = "Open it in {program} and save the sheet as an Excel workbook (.xlsx)."
_UNPACK = "Unpack it and upload the CSV or the .xlsx file in it."
_PICTURE = "Upload the table of the products: it has the URL of each picture."


@dataclass(frozen=True)
class _Magic:
    """`signature` at `offset` shows that a file is `kind`; `advice` is what to do."""

    signature: bytes
    kind: str
    advice: str = _EXPORT
    offset: int = 0


_MAGICS = (
    _Magic(b"%PDF", "a PDF"),
    _Magic(b"{\\rtf", "an RTF document"),
    _Magic(b"\x89PNG", "a PNG image", _PICTURE),
    _Magic(b"\xff\xd8\xff", "a JPEG image", _PICTURE),
    _Magic(b"GIF8", "a GIF image", _PICTURE),
    _Magic(b"WEBP", "a WebP image", _PICTURE, 8),
    _Magic(b"ftypavif", "an AVIF image", _PICTURE, 4),
    _Magic(b"ftyphei", "a HEIC image", _PICTURE, 4),
    _Magic(b"ftyp", "a video", _PICTURE, 4),
    _Magic(b"II*\0", "a TIFF image", _PICTURE),
    _Magic(b"MM\0*", "a TIFF image", _PICTURE),
    _Magic(b"8BPS", "a Photoshop image", _PICTURE),
    _Magic(b"\x1f\x8b", "a gzip archive", _UNPACK),
    _Magic(b"BZh", "a bzip2 archive", _UNPACK),
    _Magic(b"\xfd7zXZ\0", "an xz archive", _UNPACK),
    _Magic(b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    _Magic(b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    _Magic(b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    _Magic(b"ustar", "a TAR archive", _UNPACK, 257),
    _Magic(b"PK\x05\x06", "an empty ZIP archive"),
    _Magic(b"SQLite format 3\0", "an SQLite database"),
    _Magic(b"\0\1\0\0Standard ", "a Microsoft Access database"),
    _Magic(b"PAR1", "a Parquet file"),
    _Magic(b"MZ\x90\0", "a Windows program"),
)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# The streams of an OLE file, each with what the file is. Their names are UTF-16.
_OLE_STREAMS = (
    ("EncryptedPackage", "a workbook or document with a password",
     "Remove the password (File > Info > Protect Workbook) and upload the file again."),
    ("Workbook", "an old Excel workbook (.xls)", _SAVE_AS_XLSX.format(program="Excel")),
    ("Book", "an old Excel workbook (.xls)", _SAVE_AS_XLSX.format(program="Excel")),
    ("WordDocument", "a Word document (.doc)", _EXPORT),
)  # fmt: skip
# Names in a ZIP archive, each with what the archive is.
_ZIP_PARTS = (
    (r"xl/workbook\.bin", "a binary Excel workbook (.xlsb)", _SAVE_AS_XLSX.format(program="Excel")),
    (r"word/.*", "a Word document (.docx)", _EXPORT),
    (r"ppt/.*", "a PowerPoint presentation (.pptx)", _EXPORT),
    (r"Index/.*\.iwa|Index\.zip", "an Apple Numbers, Pages or Keynote file",
     "In Numbers, choose File > Export To > Excel (.xlsx), and upload that."),
    (r"content\.xml", "an OpenDocument file (.ods or .odt)",
     _SAVE_AS_XLSX.format(program="LibreOffice")),
)  # fmt: skip
_TABLE_NAME = re.compile(r".*\.(?:csv|tsv|txt|xlsx|xlsm)", re.IGNORECASE)

_JSON = re.compile(r'(?:\{\s*["}]|\[\s*[\[{"\]\d-])')
_HTML = re.compile(r"<(?:!doctype html|html|head|body|table|div|meta|script)\b", re.IGNORECASE)
_XML = re.compile(r"(?:<\?xml\b|<!--|<[A-Za-z_][\w:.-]*[\s/>])")
_ROOT = re.compile(r"<([A-Za-z_][\w:.-]*)")
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_SIGN_IN = re.compile(r"type\s*=\s*[\"']?password|sign.?in|log.?in|anmeld", re.IGNORECASE)


def binary_kind(start: bytes) -> str | None:
    """What a file with these first bytes is, if no table begins so: one or two sentences."""
    if start.startswith(_OLE):
        return _ole_kind(start)
    for magic in _MAGICS:
        if start.startswith(magic.signature, magic.offset):
            return f"The file is {magic.kind}. {magic.advice}"
    return None


def _ole_kind(start: bytes) -> str:
    for stream, kind, advice in _OLE_STREAMS:
        if stream.encode("utf-16-le") in start:
            return f"The file is {kind}. {advice}"
    advice = _SAVE_AS_XLSX.format(program="Excel")
    return f"The file is an old Microsoft Office file, probably a workbook (.xls). {advice}"


def zip_kind(names: Sequence[str]) -> str:
    """What a ZIP archive with these names is, if it is no workbook: one or two sentences."""
    for pattern, kind, advice in _ZIP_PARTS:
        if any(re.fullmatch(pattern, name) for name in names):
            return f"The file is {kind}. {advice}"
    tables = [name for name in names if _TABLE_NAME.fullmatch(name)]
    if tables:
        shown = ", ".join(repr(name[-_SHOWN_CHARACTERS:]) for name in tables[:5])
        return f"The file is a ZIP archive. Unpack it and upload the table in it: {shown}."
    return f"The file is a ZIP archive without a table in it. {_EXPORT}"


def text_kind(start: bytes) -> str | None:
    """What a text that is no table is, by its first bytes: two or three sentences. None if it may
    be a table.
    """
    text = _text(start)
    if _JSON.match(text):
        shown = " ".join(text.split())[:_SHOWN_CHARACTERS]
        return f"The file is JSON, such as a program's answer. It begins with {shown!r}. {_EXPORT}"
    if _HTML.match(text):
        return _html_kind(text)
    if _XML.match(text):
        return _xml_kind(text)
    return None


def _text(start: bytes) -> str:
    is_utf_16 = start.startswith((b"\xff\xfe", b"\xfe\xff"))
    return start.decode("utf-16" if is_utf_16 else "utf-8", "replace").lstrip("\ufeff \t\r\n")


def _html_kind(text: str) -> str:
    found = _TITLE.search(text)
    title = " ".join(html.unescape(found[1]).split())[:_SHOWN_CHARACTERS] if found else ""
    titled = f" with the title {title!r}" if title else ""
    page = f"The file is a web page (HTML){titled}, not a table."
    if re.search(r"<table\b", text, re.IGNORECASE) and not _SIGN_IN.search(text):
        return f"{page} {_SAVE_AS_XLSX.format(program='Excel or LibreOffice')}"
    if _SIGN_IN.search(text):
        return (
            f"{page} It asks for a sign-in: sign in to the shop, download the export again, and"
            " upload that."
        )
    return f"{page} {_EXPORT}"


def _xml_kind(text: str) -> str:
    if "Excel.Sheet" in text or "urn:schemas-microsoft-com:office:spreadsheet" in text:
        return f"The file is an Excel 2003 XML table. {_SAVE_AS_XLSX.format(program='Excel')}"
    root = _ROOT.search(text)
    name = root[1][:_SHOWN_CHARACTERS] if root else ""
    if name.lower() == "svg":
        return f"The file is an SVG image. {_PICTURE}"
    if name.lower() == "html":
        return _html_kind(text)
    inside = f" with the root element <{name}>" if name else ""
    return f"The file is XML{inside}, such as a product feed. {_EXPORT}"
