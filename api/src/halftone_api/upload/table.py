"""The common interface of text files and workbooks: rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from halftone_api.errors import Problem


class FileKind(StrEnum):
    """What was uploaded, and what `?as=` asks for."""

    CSV = "csv"
    XLSX = "xlsx"


class Row(NamedTuple):
    """A row of the file; a tuple, because a large file has a million of them.

    `line` is where the row starts: a line of the text, or a row of the sheet. `kinds` has one
    character per cell of a workbook, see workbook.py; it is empty if every cell is text.
    """

    line: int
    cells: list[str]
    kinds: str = ""

    @property
    def is_blank(self) -> bool:
        return not any(map(str.strip, self.cells))


@dataclass(frozen=True)
class Beginning:
    """The first rows of a table, as split by one delimiter."""

    kind: FileKind
    delimiter: str
    rows: Sequence[Row]


class Table(Protocol):
    """A file whose rows can be read from the beginning any number of times."""

    kind: FileKind
    encoding: str
    # Workbooks only: the sheet that was read.
    sheet: str | None
    # How a text begins: with a byte order mark, or a line `sep=;`.
    has_bom: bool
    separator_line: str | None
    # If windows-1252 was guessed: the line of the first byte that is not UTF-8.
    guessed_at_line: int | None
    # Why the beginning cannot be read with some delimiter; reported if no other delimiter fits.
    malformed: Problem | None

    def beginnings(self, rows: int) -> list[Beginning]:
        """At most `rows` rows that are not blank, once per possible delimiter."""

    def close(self) -> None:
        """Release what the table opened; the uploaded file stays open."""

    def rows(self, delimiter: str) -> Iterator[Row]:
        """Every row, blank ones too. Raises Problem if the rest of the file cannot be read."""
