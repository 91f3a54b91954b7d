"""Turns the rows of an upload into products and row problems, by the layout of its table.

A file that is refused as a whole raises Problem. Problems of rows are all counted and the first
ones collected, so that one upload shows a person everything wrong with the file. No database, no
network.
"""

import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import dropwhile

from typing_extensions import TypedDict

from halftone_api.errors import Problem, ProblemCode
from halftone_api.upload.cells import is_image_data, read_urls
from halftone_api.upload.layout import Layout
from halftone_api.upload.native_columns import refuse_duplicate_columns
from halftone_api.upload.table import FileKind, Row, Table
from halftone_shared.db.requests import NewProduct, OtherRow
from halftone_shared.model.image_formats import EXTENSIONS
from halftone_shared.model.json_types import Count
from halftone_shared.model.urls import MAX_URL_CHARACTERS, image_url_problem

MAX_REPORTED = 100
MAX_NAME_CHARACTERS = 1000
MAX_KEY_CHARACTERS = 1000
MAX_VALUE_CHARACTERS = 200
# Blank rows between others are kept in the output, up to this many in one place.
MAX_BLANK_ROWS_KEPT = 1000
# Limit of rows without any text between others; reading one costs as much as any other row.
MAX_BLANK_ROWS = 1_000_000

_STARTS_WITH_SCHEME = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://")
_SERIAL_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
# A second URL without a scheme is part of the first: "https://…/a.jpg, cdn.example/b.jpg".
_TWO_IN_ONE = re.compile(rf"\.(?:{'|'.join(EXTENSIONS)})(?:%20)*[,|;]", re.ASCII | re.IGNORECASE)
_TWO_URLS = (
    "It is read as one URL. If it is several, write each with https:// in front, or send base_url"
    " where they are paths."
)


@dataclass(frozen=True)
class UploadLimits:
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
    """What is wrong in one cell. `line` is the line of the file on which the row starts; the header
    is line 1 if nothing is above it.
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
            "value": self.value[:MAX_VALUE_CHARACTERS],
        }


@dataclass
class Problems:
    """The first MAX_REPORTED problems, and the number of all problems."""

    count: int = 0
    first: list[RowProblem] = field(default_factory=list)

    def add(self, problem: RowProblem) -> None:
        self.count += 1
        if len(self.first) < MAX_REPORTED:
            self.first.append(problem)


class _WrongRow(Exception):
    """The row cannot be read at all; with `on_error=refuse`, the whole file is refused."""

    def __init__(self, problem: RowProblem) -> None:
        super().__init__()
        self.problem = problem


class ProductFile:
    """A table of products. Iterate once; then errors, warnings and skipped_rows are complete.

    An invalid URL after a row's first is a warning, or an error with `strict`. With `skip`, a row
    with an error becomes an OtherRow and its errors become warnings.
    """

    def __init__(
        self,
        table: Table,
        layout: Layout,
        limits: UploadLimits,
        *,
        strict: bool = False,
        skip: bool = False,
    ) -> None:
        """Raises Problem if the header cannot be used."""
        self.layout = layout
        self.errors = Problems()
        self.warnings = Problems()
        self.skipped_rows = 0
        self._table = table
        self._limits = limits
        self._strict = strict
        self._skip = skip
        self._row_errors: list[RowProblem] = []
        self._reader = NativeRows(self) if layout.is_native else ExportRows(self)
        self._warn_of_guessed_encoding()

    def __iter__(self) -> Iterator[NewProduct | OtherRow]:
        """The products of rows without an error, and the rows that are kept unchanged, in the order
        of the file. Raises Problem if the rest of the file cannot be read.
        """
        self._reader.prepare()
        rows = 0
        for row, blank_rows in self._rows_with_blank_ones():
            rows += 1
            if rows > self._limits.max_rows:
                raise self._too_many("rows", self._limits.max_rows)
            if not self.layout.is_native:
                yield from (OtherRow(blank.line, blank.cells) for blank in blank_rows)
            read = self._read(row)
            if read is not None:
                yield read
        if rows == 0:
            raise Problem(ProblemCode.NO_ROWS, "The file has a header, but no row below it.")
        self._reader.finish()

    def _rows_with_blank_ones(self) -> Iterator[tuple[Row, list[Row]]]:
        """Each row that is not blank, with the blank ones before it."""
        blank_rows: list[Row] = []
        blank = 0
        for row in self.rows():
            if not row.is_blank:
                yield row, blank_rows
                blank_rows = []
                continue
            blank += 1
            if blank > max(self._limits.max_rows, MAX_BLANK_ROWS):
                raise self._too_many("blank rows", MAX_BLANK_ROWS)
            if row.cells and len(blank_rows) < MAX_BLANK_ROWS_KEPT:
                blank_rows.append(row)

    def rows(self) -> Iterator[Row]:
        """The rows below the header."""
        header_line = self.layout.header_line
        rows = self._table.rows(self.layout.delimiter)
        return dropwhile(lambda row: row.line <= header_line, rows)

    def _too_many(self, what: str, limit: int) -> Problem:
        return Problem(
            ProblemCode.TOO_MANY_ROWS,
            f"The file has more than {limit} {what}. Split it into several uploads.",
            limit=limit,
        )

    def _read(self, row: Row) -> NewProduct | OtherRow | None:
        """The row's product, or the row unchanged; None if an error in the row refuses the file."""
        self._row_errors = []
        product = None
        try:
            product = self._reader.read(row)
        except _WrongRow as wrong:
            if not self._skip:
                problem = wrong.problem
                raise Problem(
                    ProblemCode.MALFORMED_CSV, problem.message, line=problem.line
                ) from None
            self._row_errors = [wrong.problem]
        if not self._row_errors and product is not None:
            return product
        if self._row_errors and not self._skip:
            for error in self._row_errors:
                self.errors.add(error)
            return None
        for error in self._row_errors:
            self.warnings.add(error)
        self.skipped_rows += 1
        return OtherRow(row.line, row.cells, row.kinds)

    def _warn_of_guessed_encoding(self) -> None:
        line = self._table.guessed_at_line
        if line is None:
            return
        message = (
            f"The file is not UTF-8; it was read as {self._table.encoding}. If letters are wrong,"
            " send its encoding in the form field 'encoding', or save the file as UTF-8."
        )
        self.warnings.add(RowProblem(line, "", "encoding_guessed", message, self._table.encoding))

    # --- for the readers of rows ---

    def error(self, line: int, column: int, code: str, message: str, value: str) -> None:
        self._row_errors.append(RowProblem(line, self.column_name(column), code, message, value))

    @property
    def has_row_errors(self) -> bool:
        return bool(self._row_errors)

    @property
    def skips_wrong_rows(self) -> bool:
        return self._skip

    def column_name(self, column: int) -> str:
        """A column's name as this file writes it."""
        return self.layout.header[column].strip()

    def check_urls(self, line: int, cell: str, urls: Sequence[tuple[int, str]]) -> None:
        """Check the URLs of a product, each with its column. Errors show `cell`."""
        column = urls[0][0]
        limit = self._limits.max_urls_per_product
        if len(urls) > limit:
            message = f"A product has at most {limit} image URLs, this one {len(urls)}."
            self.error(line, column, "too_many_urls", message, cell)
            return
        wrong = [
            (column, url, problem)
            for column, url in urls
            if (problem := image_url_problem(url)) is not None
        ]
        if wrong:
            self._tell_wrong_urls(line, cell, wrong, len(urls))
        for column, url in urls:
            if _TWO_IN_ONE.search(url):
                name = self.column_name(column)
                self.warnings.add(RowProblem(line, name, "maybe_two_urls", _TWO_URLS, url))

    def _tell_wrong_urls(
        self, line: int, cell: str, wrong: Sequence[tuple[int, str, str]], urls: int
    ) -> None:
        for column, url, _ in wrong:
            if len(url) > MAX_URL_CHARACTERS and not is_image_data(url):
                message = f"A URL has at most {MAX_URL_CHARACTERS} characters, this one {len(url)}."
                self.error(line, column, "field_too_long", message, url)
                return
        first, url, problem = wrong[0]
        problem = _better_advice(url) or problem
        if len(wrong) == urls:
            message = f"None of the product's URLs is an http(s) URL: {problem}"
            self.error(line, first, "no_valid_url", message, cell)
            return
        for column, url, problem in wrong:
            problem = _better_advice(url) or problem
            if self._strict:
                self.error(line, column, "invalid_url", problem, url)
            else:
                name = self.column_name(column)
                self.warnings.add(RowProblem(line, name, "invalid_url", problem, url))


def no_images(layout: Layout, file: ProductFile) -> Problem:
    """The problem that refuses a file in which no row has an image."""
    columns = ", ".join(repr(file.column_name(column.read)) for column in layout.images[:20])
    return Problem(
        ProblemCode.NO_ROWS,
        f"No row can be taken: {file.skipped_rows} rows have no usable image URL in {columns}.",
    )


def _better_advice(url: str) -> str | None:
    """Advice for a cell that holds something other than a URL."""
    if is_image_data(url):
        return "The cell holds the picture itself. Export URLs instead of images."
    if "://" in url and not _STARTS_WITH_SCHEME.match(url):
        return "There is other text around the URL. Leave only the URL in the cell."
    if url.strip().lower().startswith("www."):
        return "It has no scheme. Write https:// in front of it."
    if "://" not in url and re.search(r"[/.]", url) and " " not in url.strip():
        return (
            "It is a path, not a URL. Send the form field base_url with the address that such paths"
            " are below, such as https://shop.example/media/."
        )
    return None


class ExportRows:
    """Reads a recognised export, or the columns that the form names. A row needs only an image."""

    def __init__(self, file: ProductFile) -> None:
        self._file = file
        self._layout = file.layout
        self._key: str | None = None
        self._name: str | None = None

    def prepare(self) -> None:
        """Does nothing: no row depends on a later one."""

    def finish(self) -> None:
        """Does nothing: there is no check over all rows."""

    def read(self, row: Row) -> NewProduct | None:
        """The row's product; None if the row has no image."""
        layout = self._layout
        cells = self._filled(row)
        key, name = _first_filled(cells, layout.keys), _first_filled(cells, layout.names)
        if layout.follow_up_rows:
            key, name = self._carried_down(key, name)
        if key is not None and key.casefold() in layout.example_keys:
            return None
        urls = self._urls(cells)
        if not urls:
            return None
        shown = cells[urls[0][0]]
        self._file.check_urls(row.line, shown, urls)
        known_by = key or _first_filled(cells, layout.keys_otherwise) or name
        return NewProduct(
            line=row.line,
            serial_number=None,
            product_key=known_by and known_by[:MAX_KEY_CHARACTERS],
            product_name=name and name[:MAX_NAME_CHARACTERS],
            cells=cells,
            input_image_urls=[url for _, url in urls],
            kinds=row.kinds,
        )

    def _filled(self, row: Row) -> list[str]:
        """The row, padded to one cell per header column."""
        width = len(self._layout.header)
        cells = row.cells
        if len(cells) < width:
            return cells + [""] * (width - len(cells))
        if self._layout.kind is FileKind.CSV and any(cell.strip() for cell in cells[width:]):
            raise _too_many_cells(row, width, self._layout.delimiter)
        return cells

    def _carried_down(self, key: str | None, name: str | None) -> tuple[str | None, str | None]:
        """The row's key and name, from the row above where they are missing.

        A row without both, or one that repeats the key above and has no name, belongs to the row
        above.
        """
        if key is None and name is None:
            key, name = self._key, self._name
        elif key is not None and key == self._key and name is None:
            name = self._name
        self._key, self._name = key, name
        return key, name

    def _urls(self, cells: Sequence[str]) -> list[tuple[int, str]]:
        """The URLs of the row with their columns, in column order."""
        urls = []
        for column in self._layout.images:
            read = column.read if cells[column.read].strip() else column.write
            urls += [(read, url) for url in read_urls(cells[read], self._layout.rules)]
        return urls


class NativeRows:
    """The native CSV: every row is a product with its own serial number, a name and URLs."""

    def __init__(self, file: ProductFile) -> None:
        layout = file.layout
        refuse_duplicate_columns(layout)
        self._file = file
        self._layout = layout
        self._serial, self._name = layout.keys[0], layout.names[0]
        self._urls = layout.images[0].read
        # Spreadsheets leave unnamed columns at the end of a header; ignore them here.
        self._urls_come_last = not any(cell.strip() for cell in layout.header[self._urls + 1 :])
        self._serials = array("q")
        self._serial_lines = array("q")
        self._duplicates: dict[int, int] = {}

    def prepare(self) -> None:
        """Find repeated serial numbers before the first row is read, if rows with errors are
        skipped.
        """
        if not self._file.skips_wrong_rows:
            return
        for row in self._file.rows():
            text = row.cells[self._serial].strip() if self._serial < len(row.cells) else ""
            if _SERIAL_NUMBER.fullmatch(text):
                self._serials.append(int(text))
                self._serial_lines.append(row.line)
        self._duplicates = {
            self._serial_lines[index]: self._serial_lines[first]
            for index, first in self._repeated()
        }

    def finish(self) -> None:
        """Add an error for each row whose serial number appears in an earlier row."""
        if self._file.skips_wrong_rows:
            return
        duplicates = sorted(self._repeated())
        errors = self._file.errors
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
        name = self._file.column_name(self._serial)
        return RowProblem(line, name, "duplicate_serial_number", message, str(serial))

    def read(self, row: Row) -> NewProduct | None:
        line = row.line
        cells, urls = self._split_cells(row)
        serial = self._read_serial(line, cells[self._serial])
        name = self._read_name(line, cells[self._name])
        if urls:
            self._file.check_urls(line, cells[self._urls], [(self._urls, url) for url in urls])
        else:
            message = "The product has no image URL."
            self._file.error(line, self._urls, "no_url", message, cells[self._urls])
        if self._file.has_row_errors or serial is None:
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
            raise _too_many_cells(row, width, delimiter)
        return cells[:width], read_urls(cells[self._urls])

    def _holds_other_text(self, unnamed: Sequence[str]) -> bool:
        """Whether cells in unnamed columns hold something other than spilled URLs. If so, they are
        columns of their own.
        """
        return any(cell.strip() and not _STARTS_WITH_SCHEME.match(cell) for cell in unnamed)

    def _read_serial(self, line: int, cell: str) -> int | None:
        text = cell.strip()
        if not _SERIAL_NUMBER.fullmatch(text):
            message = "A serial number is a whole number of at most 18 digits."
            self._file.error(line, self._serial, "not_a_number", message, cell)
            return None
        serial = int(text)
        if not self._file.skips_wrong_rows:
            self._serials.append(serial)
            self._serial_lines.append(line)
        elif (first_line := self._duplicates.get(line)) is not None:
            duplicate = self._duplicate(line, serial, first_line)
            self._file.error(line, self._serial, duplicate.code, duplicate.message, cell)
        return serial

    def _read_name(self, line: int, cell: str) -> str:
        name = cell.strip()
        if not name:
            message = "The product has no name."
            self._file.error(line, self._name, "empty_name", message, cell)
        elif len(name) > MAX_NAME_CHARACTERS:
            message = (
                f"A product name has at most {MAX_NAME_CHARACTERS} characters, this one"
                f" {len(name)}."
            )
            self._file.error(line, self._name, "field_too_long", message, cell)
        return name


def _too_many_cells(row: Row, width: int, delimiter: str) -> _WrongRow:
    message = (
        f"The row on line {row.line} has {len(row.cells)} cells, the header has {width}. Quote"
        f" cells that hold {delimiter!r}."
    )
    return _WrongRow(RowProblem(row.line, "", "malformed_csv", message, row.cells[-1]))


def _first_filled(cells: Sequence[str], columns: Sequence[int]) -> str | None:
    return next((text for column in columns if (text := cells[column].strip())), None)


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
        elif _STARTS_WITH_SCHEME.match(cell):
            pieces += (",", cell)
            empty.clear()
        else:
            pieces += (*empty, delimiter, cell)
            empty.clear()
    return "".join(pieces)
