"""Reads the rows of the native CSV."""

import re
from array import array
from collections.abc import Iterable, Sequence

from halftone_api.upload.cells import has_scheme, read_urls
from halftone_api.upload.layout import Layout
from halftone_api.upload.native_columns import refuse_duplicate_columns
from halftone_api.upload.row_checks import RowChecks
from halftone_api.upload.row_problems import MAX_REPORTED, Problems, RowProblem, too_many_cells
from halftone_api.upload.table import Row
from halftone_shared.db.requests import NewProduct

MAX_NAME_CHARACTERS = 1000

_SERIAL_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


class NativeRows:
    """The native CSV: every row is a product with its own serial number, a name and URLs."""

    def __init__(self, layout: Layout, checks: RowChecks) -> None:
        """Raises Problem if a column repeats."""
        refuse_duplicate_columns(layout)
        self._layout = layout
        self._checks = checks
        self._is_prepared = False
        self._serial, self._name = layout.keys[0], layout.names[0]
        self._urls = layout.images[0].read
        # Spreadsheets leave unnamed columns at the end of a header; ignore them here.
        self._urls_come_last = not any(cell.strip() for cell in layout.header[self._urls + 1 :])
        self._serials = array("q")
        self._serial_lines = array("q")
        self._duplicates: dict[int, int] = {}

    def prepare(self, rows: Iterable[Row]) -> None:
        """Find repeated serial numbers before the first row is read, since rows with errors are to
        be skipped.
        """
        self._is_prepared = True
        for row in rows:
            text = row.cells[self._serial].strip() if self._serial < len(row.cells) else ""
            if _SERIAL_NUMBER.fullmatch(text):
                self._serials.append(int(text))
                self._serial_lines.append(row.line)
        self._duplicates = {
            self._serial_lines[index]: self._serial_lines[first]
            for index, first in self._repeated()
        }

    def add_duplicates(self, errors: Problems) -> None:
        """Add an error for each row whose serial number appears in an earlier row."""
        duplicates = sorted(self._repeated())
        errors.count += len(duplicates)
        errors.first += [
            self._duplicate(self._serial_lines[index], self._serials[index], first)
            for index, first in (
                (index, self._serial_lines[first]) for index, first in duplicates[:MAX_REPORTED]
            )
        ]
        errors.first.sort(key=lambda problem: problem.line)
        del errors.first[MAX_REPORTED:]

    def _repeated(self) -> list[tuple[int, int]]:
        """The index of each repeated serial number, with the index of its first occurrence.

        Two arrays of machine integers hold a million rows in 16 MB; a dictionary would take 110 MB.
        """
        serials = self._serials
        if all(serials[index] < serials[index + 1] for index in range(len(serials) - 1)):
            return []
        repeated = []
        order = sorted(range(len(serials)), key=serials.__getitem__)
        first = order[0]
        for index in order[1:]:
            if serials[index] == serials[first]:
                repeated.append((index, first))
            else:
                first = index
        return repeated

    def _duplicate(self, line: int, serial: int, first_line: int) -> RowProblem:
        message = f"Serial number {serial} is on line {first_line} already."
        name = self._checks.column_name(self._serial)
        return RowProblem(line, name, "duplicate_serial_number", message, str(serial))

    def read(self, row: Row) -> NewProduct | None:
        line = row.line
        cells, urls = self._split_cells(row)
        serial = self._read_serial(line, cells[self._serial])
        name = self._read_name(line, cells[self._name])
        if urls:
            self._checks.check_urls(line, cells[self._urls], [(self._urls, url) for url in urls])
        else:
            message = "The product has no image URL."
            self._checks.error(line, self._urls, "no_url", message, cells[self._urls])
        if self._checks.errors or serial is None:
            return None
        return NewProduct(
            line=line,
            serial_number=serial,
            product_key=cells[self._serial].strip(),
            product_name=name,
            cells=cells,
            input_image_urls=urls,
            kinds=row.kinds,
        )

    def _split_cells(self, row: Row) -> tuple[list[str], list[str]]:
        """The row with exactly one cell per header column, and the URLs of its URL cell.

        If the URL column is the last, unquoted URLs spill into further cells, which belong to it.
        """
        cells, delimiter = row.cells, self._layout.delimiter
        width = len(self._layout.header)
        if len(cells) < width:
            cells = cells + [""] * (width - len(cells))
        if self._urls_come_last and not self._holds_other_text(cells[self._urls + 1 : width]):
            url_cell, urls = _spilled(cells[self._urls :], delimiter)
            unnamed = [""] * (width - 1 - self._urls)
            return [*cells[: self._urls], url_cell, *unnamed], urls
        if any(cell.strip() for cell in cells[width:]):
            raise too_many_cells(row, width, delimiter)
        return cells[:width], read_urls(cells[self._urls])

    def _holds_other_text(self, unnamed: Sequence[str]) -> bool:
        """Whether cells in unnamed columns hold something other than spilled URLs. If so, they are
        columns of their own.
        """
        return any(cell.strip() and not has_scheme(cell) for cell in unnamed)

    def _read_serial(self, line: int, cell: str) -> int | None:
        text = cell.strip()
        if not _SERIAL_NUMBER.fullmatch(text):
            message = "A serial number is a whole number of at most 18 digits."
            self._checks.error(line, self._serial, "not_a_number", message, cell)
            return None
        serial = int(text)
        if not self._is_prepared:
            self._serials.append(serial)
            self._serial_lines.append(line)
        elif (first_line := self._duplicates.get(line)) is not None:
            duplicate = self._duplicate(line, serial, first_line)
            self._checks.error(line, self._serial, duplicate.code, duplicate.message, cell)
        return serial

    def _read_name(self, line: int, cell: str) -> str:
        name = cell.strip()
        if not name:
            message = "The product has no name."
            self._checks.error(line, self._name, "empty_name", message, cell)
        elif len(name) > MAX_NAME_CHARACTERS:
            message = (
                f"A product name has at most {MAX_NAME_CHARACTERS} characters, this one"
                f" {len(name)}."
            )
            self._checks.error(line, self._name, "field_too_long", message, cell)
        return name


def _spilled(cells: Sequence[str], delimiter: str) -> tuple[str, list[str]]:
    """Rejoin a URL cell that was split because it was unquoted; the cell and its URLs."""
    if delimiter == "\t":  # no URL contains a tab: each cell holds whole URLs
        filled = [cell for cell in cells if cell.strip()]
        return ",".join(filled), [url for cell in filled for url in read_urls(cell)]
    joined = _join_spilled(cells, delimiter)
    return joined, read_urls(joined)


def _join_spilled(cells: Sequence[str], delimiter: str) -> str:
    """Join the pieces: a cell without a scheme belongs to the URL before it."""
    pieces: list[str] = [cells[0]]
    empty: list[str] = []
    for cell in cells[1:]:
        if not cell.strip():
            empty += (delimiter, cell)  # part of the URL only if more of the URL follows
        elif has_scheme(cell):
            pieces += (",", cell)
            empty.clear()
        else:
            pieces += (*empty, delimiter, cell)
            empty.clear()
    return "".join(pieces)
