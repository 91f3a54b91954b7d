"""What is wrong in the rows of an upload: counted in full, the first ones collected."""

from dataclasses import dataclass, field

from typing_extensions import TypedDict

from halftone_api.upload.table import Row
from halftone_shared.model.json_types import Count

MAX_REPORTED = 100
MAX_VALUE_CHARACTERS = 200


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


class WrongRow(Exception):
    """The row cannot be read at all; with `on_error=refuse`, the whole file is refused."""

    def __init__(self, problem: RowProblem) -> None:
        super().__init__()
        self.problem = problem


def too_many_cells(row: Row, width: int, delimiter: str) -> WrongRow:
    message = (
        f"The row on line {row.line} has {len(row.cells)} cells, the header has {width}. Quote"
        f" cells that hold {delimiter!r}."
    )
    return WrongRow(RowProblem(row.line, "", "malformed_csv", message, row.cells[-1]))
