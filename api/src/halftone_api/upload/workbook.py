"""An Excel workbook as rows. A separate process reads the sheet, see workbook_child.py."""

import csv
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import IO, Any, BinaryIO, Self

import structlog

from halftone_api.errors import Problem, ProblemCode
from halftone_api.upload.cells import has_url
from halftone_api.upload.other_files import zip_kind
from halftone_api.upload.table import Beginning, FileKind, Row

log = structlog.get_logger(__name__)

DELIMITER = ","
_CHILD = "halftone_api.upload.workbook_child"
_TOO_LARGE = {
    "too_large": "it is too large when it is unpacked",
    "too_many_cells": "the cells of a sheet span more than 8 million",
    "too_many_sheets": "it has too many sheets or other parts",
}


class Workbook:
    """One sheet of a workbook, as a table. Its rows are kept in a temporary file."""

    kind = FileKind.XLSX
    encoding = "utf-8"
    has_bom = False
    separator_line: str | None = None
    guessed_at_line: int | None = None
    malformed: Problem | None = None

    def __init__(self, rows: IO[str], sheet: str) -> None:
        self._rows = rows
        self.sheet: str | None = sheet

    @classmethod
    def read(
        cls, file: BinaryIO, sheet: str | None, fits: Callable[[Sequence[Beginning]], bool]
    ) -> Self:
        """The sheet of that name. Without a name, the first sheet with a header that fits, or else
        the first sheet with URLs, or with rows. Raises Problem.
        """
        rows = tempfile.TemporaryFile("w+", encoding="utf-8", newline="")  # noqa: SIM115
        try:
            with _on_disk(file) as source:
                name = _Child(source.fileno(), rows.fileno()).convert(sheet, fits)
        except BaseException:
            rows.close()
            raise
        return cls(rows, name)

    def close(self) -> None:
        self._rows.close()

    def beginnings(self, rows: int) -> list[Beginning]:
        first = list(islice((row for row in self.rows(DELIMITER) if not row.is_blank), rows))
        if not first:
            raise Problem(ProblemCode.EMPTY_CSV, f"The sheet {self.sheet!r} is empty.")
        return [Beginning(self.kind, DELIMITER, first)]

    def rows(self, delimiter: str) -> Iterator[Row]:
        self._rows.seek(0)
        try:
            for line, (kinds, *cells) in enumerate(csv.reader(self._rows), start=1):
                yield Row(line, cells, kinds)
        except csv.Error as error:
            raise Problem(
                ProblemCode.MALFORMED_CSV,
                f"A cell of the sheet {self.sheet!r} is too long.",
            ) from error


def _on_disk(file: BinaryIO) -> IO[bytes]:
    """The upload as a file on disk. A small upload is in memory, which another process cannot
    read.
    """
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.seek(0)
    shutil.copyfileobj(file, copy, 1024 * 1024)
    copy.flush()
    return copy


class _Child:
    """The process that reads the workbook. Its own time limit ends it."""

    def __init__(self, source: int, output: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", _CHILD, str(source), str(output)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(source, output),
            text=True,
            encoding="utf-8",
        )

    def convert(self, sheet: str | None, fits: Callable[[Sequence[Beginning]], bool]) -> str:
        with self._process as process:
            try:
                found = self._answer()
                name = self._choose(found["sheets"], found["visible"], sheet, fits)
                self._ask(name, take=True)
                self._answer()
            finally:
                process.kill()
        return name

    def _choose(
        self,
        sheets: Sequence[str],
        visible: Sequence[str],
        wanted: str | None,
        fits: Callable[[Sequence[Beginning]], bool],
    ) -> str:
        if wanted is not None:
            return _named(sheets, wanted)
        with_rows = with_urls = None
        for name in visible:
            self._ask(name, take=False)
            first = [Row(*row) for row in self._answer()["first"]]
            if not first:
                continue
            if fits([Beginning(FileKind.XLSX, DELIMITER, first)]):
                return name
            with_rows = with_rows or name
            if any(has_url(cell) for row in first for cell in row.cells):
                with_urls = with_urls or name
        found = with_urls or with_rows
        if found is None:
            raise Problem(ProblemCode.EMPTY_CSV, "The workbook has no sheet with rows.")
        return found

    def _ask(self, sheet: str, *, take: bool) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        try:
            self._process.stdin.write(json.dumps({"sheet": sheet, "take": take}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # its answer is missing as well

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "died"}
        if "error" not in answer:
            return answer
        log.info("workbook refused", reason=answer["error"])
        raise _refused(answer["error"], answer.get("names", []))


def _named(sheets: Sequence[str], wanted: str) -> str:
    for name in sheets:
        if name.strip().casefold() == wanted.casefold():
            return name
    listed = ", ".join(repr(name[:100]) for name in sheets[:20])
    raise Problem(
        ProblemCode.INVALID_OPTION,
        f"The workbook has no sheet {wanted[:100]!r}. It has {listed}.",
        option="sheet",
    )


def _refused(code: str, names: Sequence[str]) -> Problem:
    if code == "not_a_workbook":
        return Problem(ProblemCode.NOT_CSV, zip_kind(names))
    if code in _TOO_LARGE:
        return Problem(
            ProblemCode.TOO_LARGE,
            f"The workbook is not read: {_TOO_LARGE[code]}. Save the sheet as CSV and upload that.",
        )
    return Problem(
        ProblemCode.NOT_CSV,
        "The workbook cannot be read: it is damaged, protected by a password, or needs more memory"
        " or time than a workbook may take. Save the sheet as CSV and upload that.",
    )
