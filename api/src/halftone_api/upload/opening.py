"""Opens an uploaded file as a table. Its first bytes decide its type, not its name."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import BinaryIO

from halftone_api.errors import Problem, ProblemCode
from halftone_api.upload.layout import Layout
from halftone_api.upload.recognition import fits, recognise
from halftone_api.upload.table import Table
from halftone_api.upload.text_rows import TextTable
from halftone_api.upload.wanted import Wanted
from halftone_api.upload.workbook import Workbook

_ZIP = b"PK\x03\x04"
# The first bytes of file types that people upload by mistake.
_OTHER_KINDS = {
    b"\xd0\xcf\x11\xe0": "an old Excel file (.xls), or a workbook with a password",
    b"%PDF": "a PDF",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"\x1f\x8b": "a gzip file",
    b"PK\x05\x06": "an empty ZIP file",
}


@dataclass(frozen=True)
class Reading:
    """The form fields about how the file is read."""

    wanted: Wanted = field(default_factory=Wanted)
    encoding: str | None = None
    sheet: str | None = None


@contextmanager
def open_table(file: BinaryIO, reading: Reading) -> Iterator[tuple[Table, Layout]]:
    """The rows of the file and their layout, for the duration of the block. Raises Problem."""
    with closing(_open(file, reading)) as table:
        yield table, recognise(table, reading.wanted)


def _open(file: BinaryIO, reading: Reading) -> Table:
    file.seek(0)
    start = file.read(8)
    if start.startswith(_ZIP):
        return Workbook.read(file, reading.sheet, partial(fits, wanted=reading.wanted))
    for magic, kind in _OTHER_KINDS.items():
        if start.startswith(magic):
            raise Problem(
                ProblemCode.NOT_CSV,
                f"The file is {kind}. Save the table as CSV or as .xlsx and upload that.",
            )
    if reading.sheet is not None:
        raise Problem(
            ProblemCode.INVALID_OPTION,
            "The form field 'sheet' cannot be used: the file is a text, not a workbook.",
            option="sheet",
        )
    return TextTable(file, reading.encoding)
