"""What a file of rows gives its reader, whether it was text or a workbook."""

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
    """A row of the file; a tuple, since a million of them are made.

    `line` is where the row starts: a line of the text, or a row of the sheet. `kinds` has one
    character a cell of a workbook, see workbook.py; it is empty where every cell is text.
    """

    line: int
    cells: list[str]
    kinds: str = ""

    @property
    def is_blank(self) -> bool:
        return not any(map(str.strip, self.cells))


@dataclass(frozen=True)
class Beginning:
    """The first rows of a table, as they are under one delimiter."""

    kind: FileKind
    delimiter: str
    rows: Sequence[Row]


class Table(Protocol):
    """A file whose rows can be read from the beginning, as often as needed."""

    kind: FileKind
    encoding: str
    # Of a workbook: the sheet that was read.
    sheet: str | None
    # What a text begins with: a byte order mark, a line `sep=;`.
    has_bom: bool
    separator_line: str | None
    # Where the bytes were taken for windows-1252: the line of the first one that is not UTF-8.
    guessed_at_line: int | None
    # Why the beginning cannot be read under some delimiter; that matters where no other fits.
    malformed: Problem | None

    def beginnings(self, rows: int) -> list[Beginning]:
        """At most so many rows that are not blank, under each delimiter that is possible."""

    def close(self) -> None:
        """Give back what the table itself has opened; not the uploaded file."""

    def rows(self, delimiter: str) -> Iterator[Row]:
        """Every row, blank ones too. Raises Problem where the file cannot be read on."""
