"""The uploaded CSV: bytes in, products and row problems out. No database, no network.

What is refused as a whole raises CsvRefused. Row problems are collected, all of them counted, so
that one upload tells a person everything that is wrong with the file.
"""

import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from typing_extensions import TypedDict

from halftone_api.upload.cells import read_urls
from halftone_api.upload.csv_rows import CsvRefused, CsvRows
from halftone_shared.db.requests import NewProduct
from halftone_shared.model.json_types import Count
from halftone_shared.model.urls import MAX_URL_CHARACTERS, image_url_problem

MAX_REPORTED = 100
MAX_NAME_CHARACTERS = 1000
MAX_COLUMNS = 16_384  # as many as a spreadsheet has
MAX_VALUE_CHARACTERS = 200

_SERIAL = "Serial Number"
_NAME = "Product Name"
_URLS = "Input Image Urls"
_REQUIRED = (_SERIAL, _NAME, _URLS)
_ALIASES = {
    "serial number": _SERIAL,
    "s. no": _SERIAL,
    "s. no.": _SERIAL,
    "s.no": _SERIAL,
    "s.no.": _SERIAL,
    "product name": _NAME,
    "input image urls": _URLS,
}
DELIMITERS = (",", ";", "\t")

_STARTS_WITH_SCHEME = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://")
_SERIAL_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True)
class CsvLimits:
    max_rows: int
    max_urls_per_product: int


class RowError(TypedDict):
    """What is wrong in one cell, as clients see it."""

    line: Count
    column: str
    code: str
    message: str
    value: str


@dataclass(frozen=True)
class RowProblem:
    """What is wrong in one cell. `line` is the line of the file on which the row starts, the header
    being line 1.
    """

    line: int
    column: str
    code: str
    message: str
    value: str

    def to_json(self) -> RowError:
        return {
            "line": self.line,
            "column": self.column,
            "code": self.code,
            "message": self.message,
            "value": _cut(self.value),
        }


@dataclass
class Problems:
    """The first MAX_REPORTED problems, and how many there are in all."""

    count: int = 0
    first: list[RowProblem] = field(default_factory=list)

    def add(self, problem: RowProblem) -> None:
        self.count += 1
        if len(self.first) < MAX_REPORTED:
            self.first.append(problem)


class ProductCsv:
    """A CSV file of products. Iterate once; then `errors` and `warnings` are complete.

    With `strict`, a further URL that is not valid is an error, and a warning otherwise.
    """

    def __init__(self, file: BinaryIO, limits: CsvLimits, *, strict: bool = False) -> None:
        """Reads as far as the header. Raises CsvRefused."""
        self._limits = limits
        self._strict = strict
        self._file = CsvRows(file)
        self.delimiter, self.header = self._read_header()
        self._columns = _find_columns(self.header)
        self.url_column = self._columns[_URLS]
        # Columns without a name behind it are what a spreadsheet leaves over.
        self._urls_come_last = not any(cell.strip() for cell in self.header[self.url_column + 1 :])
        self.errors = Problems()
        self.warnings = Problems()
        self._serials = array("q")
        self._serial_lines = array("q")

    def __iter__(self) -> Iterator[NewProduct]:
        """The products of the rows without an error, in order. Raises CsvRefused where the file
        cannot be read on.
        """
        rows = 0
        for line, cells in self._rows():
            rows += 1
            if rows > self._limits.max_rows:
                raise CsvRefused(
                    "too_many_rows",
                    f"The file has more than {self._limits.max_rows} rows. Split it into several uploads.",
                    limit=self._limits.max_rows,
                )
            product = self._read_row(line, cells)
            if product is not None:
                yield product
        if rows == 0:
            raise CsvRefused("no_rows", "The file has a header, but no row below it.")
        self._find_duplicate_serials()

    # --- the file ---

    def _read_header(self) -> tuple[str, list[str]]:
        """The delimiter under which the first row shows most of the required columns, and that row."""
        candidates: list[tuple[int, int, str, list[str]]] = []
        malformed: CsvRefused | None = None
        for delimiter in DELIMITERS:
            try:
                header = next((cells for _, cells in self._file.read(delimiter)), None)
            except CsvRefused as refused:
                malformed = malformed or refused
                continue
            if header is None:
                raise CsvRefused("empty_csv", "The file is empty.")
            found = sum(_normal(cell) in _ALIASES for cell in header)
            candidates.append((found, len(header), delimiter, header))
        found, _, delimiter, header = max(candidates, default=(0, 0, "", []))
        if found == 0 and malformed is not None:
            raise malformed
        if len(header) > MAX_COLUMNS:
            raise CsvRefused(
                "malformed_csv", f"The header has more than {MAX_COLUMNS} columns.", line=1
            )
        return delimiter, header

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        rows = self._file.read(self.delimiter)
        next(rows)
        return rows

    # --- a row ---

    def _read_row(self, line: int, cells: list[str]) -> NewProduct | None:
        cells, urls = self._split_cells(line, cells)
        before = self.errors.count
        serial = self._read_serial(line, cells[self._columns[_SERIAL]])
        name = self._read_name(line, cells[self._columns[_NAME]])
        self._check_urls(line, cells[self.url_column], urls)
        if self.errors.count > before or serial is None:
            return None
        return NewProduct(line, serial, name, cells, urls)

    def _split_cells(self, line: int, cells: list[str]) -> tuple[list[str], list[str]]:
        """The row with exactly one cell a header column, and the URLs of its URL cell.

        Where the URL column is the last, unquoted URLs spill over: further cells belong to it.
        """
        width = len(self.header)
        if len(cells) < width:
            cells = cells + [""] * (width - len(cells))
        if self._urls_come_last and not self._holds_other_text(cells[self.url_column + 1 : width]):
            url_cell, urls = _spilled(cells[self.url_column :], self.delimiter)
            unnamed = [""] * (width - 1 - self.url_column)
            return [*cells[: self.url_column], url_cell, *unnamed], urls
        if any(cell.strip() for cell in cells[width:]):
            raise CsvRefused(
                "malformed_csv",
                f"The row on line {line} has {len(cells)} cells, the header has {width}. Quote cells that hold"
                f" {self.delimiter!r}.",
                line=line,
            )
        return cells[:width], read_urls(cells[self.url_column])

    def _holds_other_text(self, unnamed: Sequence[str]) -> bool:
        """Whether cells in columns without a name are something else than spilled URLs, and thus
        columns after all.
        """
        return any(cell.strip() and not _STARTS_WITH_SCHEME.match(cell) for cell in unnamed)

    def _read_serial(self, line: int, cell: str) -> int | None:
        text = cell.strip()
        if not _SERIAL_NUMBER.fullmatch(text):
            message = "A serial number is a whole number of at most 18 digits."
            self._error(line, _SERIAL, "not_a_number", message, cell)
            return None
        serial = int(text)
        self._serials.append(serial)
        self._serial_lines.append(line)
        return serial

    def _read_name(self, line: int, cell: str) -> str:
        name = cell.strip()
        if not name:
            self._error(line, _NAME, "empty_name", "The product has no name.", cell)
        elif len(name) > MAX_NAME_CHARACTERS:
            message = f"A product name has at most {MAX_NAME_CHARACTERS} characters, this one {len(name)}."
            self._error(line, _NAME, "field_too_long", message, cell)
        return name

    def _check_urls(self, line: int, cell: str, urls: Sequence[str]) -> None:
        if not urls:
            self._error(line, _URLS, "no_url", "The product has no image URL.", cell)
        elif len(urls) > self._limits.max_urls_per_product:
            message = f"A product has at most {self._limits.max_urls_per_product} image URLs, this one {len(urls)}."
            self._error(line, _URLS, "too_many_urls", message, cell)
        else:
            self._check_each_url(line, cell, urls)

    def _check_each_url(self, line: int, cell: str, urls: Sequence[str]) -> None:
        problems = [
            (url, problem) for url in urls if (problem := image_url_problem(url)) is not None
        ]
        if not problems:
            return
        for url in urls:
            if len(url) > MAX_URL_CHARACTERS:
                message = f"A URL has at most {MAX_URL_CHARACTERS} characters, this one {len(url)}."
                self._error(line, _URLS, "field_too_long", message, url)
                return
        if len(problems) == len(urls):
            message = f"None of the product's URLs is an http(s) URL: {problems[0][1]}"
            self._error(line, _URLS, "no_valid_url", message, cell)
            return
        for url, problem in problems:
            if self._strict:
                self._error(line, _URLS, "invalid_url", problem, url)
            else:
                self.warnings.add(
                    RowProblem(line, self._column(_URLS), "invalid_url", problem, url)
                )

    # --- the whole ---

    def _find_duplicate_serials(self) -> None:
        """Add an error for each row whose serial number stands on an earlier row.

        Two arrays of machine integers hold a million rows in 16 MB; a dictionary of them would take
        110.
        """
        serials = self._serials
        if all(serials[index] < serials[index + 1] for index in range(len(serials) - 1)):
            return
        duplicates = []
        order = sorted(range(len(serials)), key=serials.__getitem__)
        first = order[0]
        for index in order[1:]:
            if serials[index] == serials[first]:
                duplicates.append((index, first))
            else:
                first = index
        self.errors.count += len(duplicates)
        duplicates.sort()
        for index, first in duplicates[:MAX_REPORTED]:
            message = f"Serial number {serials[index]} stands on line {self._serial_lines[first]} already."
            self.errors.first.append(
                RowProblem(
                    self._serial_lines[index],
                    self._column(_SERIAL),
                    "duplicate_serial_number",
                    message,
                    str(serials[index]),
                )
            )
        self.errors.first.sort(key=lambda problem: problem.line)
        del self.errors.first[MAX_REPORTED:]

    def _error(self, line: int, column: str, code: str, message: str, value: str) -> None:
        self.errors.add(RowProblem(line, self._column(column), code, message, value))

    def _column(self, required: str) -> str:
        """A required column by the name that it has in this file."""
        return self.header[self._columns[required]].strip()


def _find_columns(header: Sequence[str]) -> dict[str, int]:
    """Where each required column stands. Raises CsvRefused for missing and for duplicate columns."""
    names = [_ALIASES.get(_normal(cell), _normal(cell)) for cell in header]
    duplicates = sorted(_cut(name) for name, count in Counter(names).items() if name and count > 1)
    if duplicates:
        raise CsvRefused(
            "duplicate_columns",
            f"The header has more than one column {_listed(duplicates)}.",
            columns=duplicates,
        )
    missing = [name for name in _REQUIRED if name not in names]
    if missing:
        raise CsvRefused(
            "missing_columns",
            f"The header has no column {_listed(missing)}. It needs {_listed(_REQUIRED)}; it has {_listed(header)}.",
            columns=missing,
        )
    return {name: names.index(name) for name in _REQUIRED}


def _normal(cell: str) -> str:
    return cell.strip().casefold()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(_cut(name)) for name in names[:20])


def _cut(value: str) -> str:
    """As much of it as an answer repeats."""
    return value[:MAX_VALUE_CHARACTERS]


def _spilled(cells: Sequence[str], delimiter: str) -> tuple[str, list[str]]:
    """One URL cell from those that an unquoted one fell into, and its URLs."""
    if delimiter == "\t":  # which stands in no URL: each cell is one, or several
        filled = [cell for cell in cells if cell.strip()]
        return ",".join(filled), [url for cell in filled for url in read_urls(cell)]
    joined = _join_spilled(cells, delimiter)
    return joined, read_urls(joined)


def _join_spilled(cells: Sequence[str], delimiter: str) -> str:
    """A cell without a scheme belongs to the URL before it."""
    pieces: list[str] = [cells[0]]
    empty: list[str] = []
    for cell in cells[1:]:
        if not cell.strip():
            empty += (delimiter, cell)  # belongs to the URL only when more of it follows
        elif _STARTS_WITH_SCHEME.match(cell):
            pieces += (",", cell)
            empty.clear()
        else:
            pieces += (*empty, delimiter, cell)
            empty.clear()
    return "".join(pieces)
