"""Rows as CSV: UTF-8, CRLF, quoted where necessary."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from halftone_api.upload.text_rows import DELIMITERS

BYTE_ORDER_MARK = "\ufeff"
# Rows are handed on in pieces of about this size.
_PIECE_CHARACTERS = 64 * 1024
# The first characters of what a spreadsheet reads as a formula, full-width forms included (OWASP,
# CSV injection).
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv_pieces(
    rows: Iterable[Sequence[Any]],
    delimiter: str,
    *,
    safe: bool,
    has_bom: bool = False,
    separator_line: str | None = None,
) -> Iterator[str]:
    """The text of the rows, in pieces, generated as it is read.

    With `safe`, a spreadsheet reads no cell as a formula and reads the text as UTF-8. What the
    upload began with is kept: a byte order mark, or a line such as `sep=;`.
    """
    buffer = io.StringIO(newline="")
    buffer.write(BYTE_ORDER_MARK if safe or has_bom else "")
    buffer.write(f"{separator_line}\r\n" if separator_line else "")
    plain, quoted = (
        csv.writer(buffer, delimiter=delimiter, lineterminator="\r\n", quoting=quoting)
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
    )
    others = [other for other in DELIMITERS if other != delimiter]
    for cells in rows:
        # A program that opens the file with another delimiter would split such a cell, perhaps into
        # formulas.
        splits = safe and any(other in str(cell) for cell in cells for other in others)
        (quoted if splits else plain).writerow(
            [_formula_safe(cell) for cell in cells] if safe else cells
        )
        if buffer.tell() >= _PIECE_CHARACTERS:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _formula_safe(cell: Any) -> Any:
    return "'" + cell if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell
