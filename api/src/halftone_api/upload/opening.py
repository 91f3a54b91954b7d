"""Opens an uploaded file as a table. Its bytes decide its type, not its name."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import BinaryIO

from halftone_api.errors import Problem, ProblemCode
from halftone_api.upload.column_choice import ColumnChoice
from halftone_api.upload.layout import Layout
from halftone_api.upload.other_files import START_BYTES, binary_kind, text_kind
from halftone_api.upload.recognition import fits, recognise
from halftone_api.upload.table import Table
from halftone_api.upload.text_rows import TextTable
from halftone_api.upload.workbook import Workbook

_ZIP = b"PK\x03\x04"


@dataclass(frozen=True)
class Reading:
    """The form fields about how the file is read."""

    wanted: ColumnChoice = field(default_factory=ColumnChoice)
    encoding: str | None = None
    sheet: str | None = None


@contextmanager
def open_table(file: BinaryIO, reading: Reading) -> Iterator[tuple[Table, Layout]]:
    """The rows of the file and their layout, for the duration of the block. Raises Problem."""
    file.seek(0)
    start = file.read(START_BYTES)
    with closing(_open(file, start, reading)) as table:
        with _kind_explained(start):
            layout = recognise(table, reading.wanted)
        yield table, layout


def _open(file: BinaryIO, start: bytes, reading: Reading) -> Table:
    if start.startswith(_ZIP):
        return Workbook.read(file, reading.sheet, partial(fits, wanted=reading.wanted))
    if (kind := binary_kind(start)) is not None:
        raise Problem(ProblemCode.NOT_CSV, kind)
    if reading.sheet is not None:
        raise Problem(
            ProblemCode.INVALID_OPTION,
            "The form field 'sheet' cannot be used: the file is a text, not a workbook.",
            option="sheet",
        )
    with _kind_explained(start):
        return TextTable(file, reading.encoding)


@contextmanager
def _kind_explained(start: bytes) -> Iterator[None]:
    """Replace a refusal by one that says what the file is, if it is another kind of text.

    The kind counts only after the file is refused: any text may be the header of a table.
    """
    try:
        yield
    except Problem:
        if start.startswith(_ZIP) or (kind := text_kind(start)) is None:
            raise
        raise Problem(ProblemCode.NOT_CSV, kind) from None
