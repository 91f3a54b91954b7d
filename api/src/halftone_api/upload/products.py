"""Turns the rows of an upload into products and row problems, by the layout of its table.

A file that is refused as a whole raises Problem. Problems of rows are all counted and the first
ones collected, so that one upload shows a person everything wrong with the file. No database, no
network.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile

from halftone_api.errors import Problem, ProblemCode
from halftone_api.upload.export_rows import ExportRows
from halftone_api.upload.layout import Layout
from halftone_api.upload.native_rows import NativeRows
from halftone_api.upload.row_checks import RowChecks
from halftone_api.upload.row_problems import Problems, RowProblem, WrongRow
from halftone_api.upload.table import Row, Table
from halftone_shared.db.requests import NewProduct, OtherRow
from halftone_shared.runtime.pauses import with_pauses

# Blank rows between others are kept in the output, up to this many in one place.
MAX_BLANK_ROWS_KEPT = 1000
# Limit of rows without any text between others; reading one costs as much as any other row.
MAX_BLANK_ROWS = 1_000_000


@dataclass(frozen=True)
class UploadLimits:
    max_rows: int
    max_urls_per_product: int


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
        self._skip = skip
        self._checks = RowChecks(
            layout.header, self.warnings, limits.max_urls_per_product, strict=strict
        )
        self._native = NativeRows(layout, self._checks) if layout.is_native else None
        self._reader = self._native or ExportRows(layout, self._checks)
        self._warn_of_guessed_encoding()

    def __iter__(self) -> Iterator[NewProduct | OtherRow]:
        """The products of rows without an error, and the rows that are kept unchanged, in the order
        of the file. Raises Problem if the rest of the file cannot be read.
        """
        if self._native is not None and self._skip:
            self._native.prepare(self._rows_below_header())
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
        if self._native is not None and not self._skip:
            self._native.add_duplicates(self.errors)

    def _rows_with_blank_ones(self) -> Iterator[tuple[Row, list[Row]]]:
        """Each row that is not blank, with the blank ones before it."""
        blank_rows: list[Row] = []
        blank = 0
        for row in self._rows_below_header():
            if not row.is_blank:
                yield row, blank_rows
                blank_rows = []
                continue
            blank += 1
            if blank > max(self._limits.max_rows, MAX_BLANK_ROWS):
                raise self._too_many("blank rows", MAX_BLANK_ROWS)
            if row.cells and len(blank_rows) < MAX_BLANK_ROWS_KEPT:
                blank_rows.append(row)

    def _rows_below_header(self) -> Iterator[Row]:
        """The rows below the header."""
        header_line = self.layout.header_line
        rows = self._table.rows(self.layout.delimiter)
        return dropwhile(lambda row: row.line <= header_line, with_pauses(rows))

    def _too_many(self, what: str, limit: int) -> Problem:
        return Problem(
            ProblemCode.TOO_MANY_ROWS,
            f"The file has more than {limit} {what}. Split it into several uploads.",
            limit=limit,
        )

    def _read(self, row: Row) -> NewProduct | OtherRow | None:
        """The row's product, or the row unchanged; None if an error in the row refuses the file."""
        self._checks.errors = []
        product = None
        try:
            product = self._reader.read(row)
        except WrongRow as wrong:
            if not self._skip:
                problem = wrong.problem
                raise Problem(
                    ProblemCode.MALFORMED_CSV, problem.message, line=problem.line
                ) from None
            self._checks.errors = [wrong.problem]
        row_errors = self._checks.errors
        if not row_errors and product is not None:
            return product
        if row_errors and not self._skip:
            for error in row_errors:
                self.errors.add(error)
            return None
        for error in row_errors:
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


def no_images(file: ProductFile) -> Problem:
    """The problem that refuses a file in which no row has an image."""
    layout = file.layout
    columns = ", ".join(repr(layout.header[column.read].strip()) for column in layout.images[:20])
    return Problem(
        ProblemCode.NO_ROWS,
        f"No row can be taken: {file.skipped_rows} rows have no usable image URL in {columns}.",
    )
