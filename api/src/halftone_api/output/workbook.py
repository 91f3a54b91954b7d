"""Rows as an Excel workbook, in constant memory."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from math import isfinite
from typing import BinaryIO

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from halftone_api.upload.table import Row

# Excel's limits.
MAX_ROWS = 1_048_576
MAX_COLUMNS = 16_384
MAX_CELL_CHARACTERS = 32_767
_FIRST_YEAR = 1900
_FORBIDDEN_IN_NAMES = str.maketrans(dict.fromkeys("[]:*?/\\'", "_"))


class DoesNotFit(Exception):
    """A workbook cannot hold the rows; the message says what is too long."""


def write_workbook(rows: Iterable[Row], file: BinaryIO, sheet: str | None) -> None:
    """Write the rows as the only sheet of a new workbook. Raises DoesNotFit.

    Numbers, dates and booleans of an uploaded workbook keep their type. Only values return, not
    styles or formulas. URLs are plain text, since Excel allows 65,530 links a sheet.
    """
    options = {
        "constant_memory": True,
        "strings_to_urls": False,
        "strings_to_formulas": False,
        "strings_to_numbers": False,
    }
    with xlsxwriter.Workbook(file, options) as workbook:
        workbook.use_zip64()
        name = (sheet or "Products").translate(_FORBIDDEN_IN_NAMES)[:31] or "Products"
        writer = _Writer(
            workbook.add_worksheet(name),
            workbook.add_format({"num_format": "yyyy-mm-dd"}),
            workbook.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}),
            workbook.add_format({"num_format": "hh:mm:ss"}),
        )
        for number, row in enumerate(rows):
            if number >= MAX_ROWS:
                raise DoesNotFit(f"The file has more than {MAX_ROWS:,} rows")
            writer.write(number, row)


class _Writer:
    def __init__(
        self, sheet: Worksheet, date_format: Format, datetime_format: Format, time_format: Format
    ) -> None:
        self._sheet = sheet
        self._date_format = date_format
        self._datetime_format = datetime_format
        self._time_format = time_format

    def write(self, number: int, row: Row) -> None:
        _check(number, row.cells)
        kinds = row.kinds.ljust(len(row.cells), "s")
        for column, (text, kind) in enumerate(zip(row.cells, kinds, strict=False)):
            if text and not self._write_kind(number, column, text, kind):
                self._sheet.write_string(number, column, text)

    def _write_kind(self, row: int, column: int, text: str, kind: str) -> bool:
        """False if the cell is a text, or if its kind cannot be written."""
        try:
            if kind == "n" and isfinite(value := float(text)):
                self._sheet.write_number(row, column, value)
                return True
            if kind == "b":
                self._sheet.write_boolean(row, column, text == "TRUE")
                return True
            if kind == "d":
                return self._write_date(row, column, text)
            if kind == "t":
                moment = time.fromisoformat(text)
                self._sheet.write_datetime(row, column, moment, self._time_format)
                return True
        except ValueError:
            return False
        return False

    def _write_date(self, row: int, column: int, text: str) -> bool:
        is_date = len(text) == len("2026-01-31")
        moment = date.fromisoformat(text) if is_date else datetime.fromisoformat(text)
        if moment.year < _FIRST_YEAR:
            return False
        cell_format = self._date_format if is_date else self._datetime_format
        self._sheet.write_datetime(row, column, moment, cell_format)
        return True


def _check(number: int, cells: Sequence[str]) -> None:
    if len(cells) > MAX_COLUMNS:
        raise DoesNotFit(f"Row {number + 1} has more than {MAX_COLUMNS:,} columns")
    for text in cells:
        if len(text) > MAX_CELL_CHARACTERS:
            raise DoesNotFit(
                f"A cell of row {number + 1} has {len(text):,} characters, more than"
                f" {MAX_CELL_CHARACTERS:,}"
            )
