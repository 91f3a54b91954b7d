"""The uploaded CSV as rows: bytes in, cells out, with the line on which each row starts. Nothing
larger than a row is kept.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO

from halftone_api.errors import ProblemCode

MAX_CELL_CHARACTERS = 1024 * 1024
MAX_ROW_CHARACTERS = (
    4 * MAX_CELL_CHARACTERS
)  # a row of empty cells takes forty times as many bytes of memory
_READ_BYTES = 1024 * 1024

csv.field_size_limit(MAX_CELL_CHARACTERS)


class CsvRefused(Exception):
    """The file cannot be used as a whole. `code` is the public code, `members` say where."""

    def __init__(self, code: str, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.code = ProblemCode(code)
        self.status = self.code.status
        self.detail = detail
        self.members = members


class CsvRows:
    """A CSV file whose encoding is found and checked; under which delimiter its rows are cells, the
    reader says.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Raises CsvRefused where the file is no text."""
        self._text = io.TextIOWrapper(file, encoding=_check_encoding(file), newline="")

    def read(self, delimiter: str) -> Iterator[tuple[int, list[str]]]:
        """From the beginning: every row that is not blank, with the line on which it starts. Raises
        CsvRefused.
        """
        characters = 0

        def lines_of_a_row() -> Iterator[str]:
            nonlocal characters
            for text in self._lines():
                characters += len(text)
                if characters > MAX_ROW_CHARACTERS:
                    raise csv.Error(f"it has more than {MAX_ROW_CHARACTERS} characters")
                yield text

        # strict: without it, a lone quote swallows the rows up to the next one.
        reader = csv.reader(
            _unspaced(lines_of_a_row(), delimiter), delimiter=delimiter, strict=True
        )
        while True:
            line, characters = reader.line_num + 1, 0
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise CsvRefused(
                    "malformed_csv",
                    f"The row that starts on line {line} cannot be read ({error}). Is a quote missing or not doubled?",
                    line=line,
                ) from None
            if any(cell.strip() for cell in cells):
                yield line, cells

    def _lines(self) -> Iterator[str]:
        self._text.seek(0)
        return iter(partial(self._text.readline, MAX_ROW_CHARACTERS + 1), "")


def _check_encoding(file: BinaryIO) -> str:
    """The file's encoding, by its byte order mark and checked to the last byte. Raises CsvRefused
    with the byte offset.
    """
    file.seek(0)
    start = file.read(3)
    encoding, plain, name, offset = "utf-8-sig", "utf-8", "UTF-8", 0
    if start.startswith(codecs.BOM_UTF8):
        offset = 3
    elif start.startswith(codecs.BOM_UTF16_LE):
        encoding, plain, name, offset = "utf-16", "utf-16-le", "UTF-16", 2
    elif start.startswith(codecs.BOM_UTF16_BE):
        encoding, plain, name, offset = "utf-16", "utf-16-be", "UTF-16", 2
    file.seek(offset)
    decoder = codecs.getincrementaldecoder(plain)()
    while True:
        chunk = file.read(_READ_BYTES)
        offset -= len(decoder.getstate()[0])
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise _bad_encoding(
                file, plain, offset + error.start, f"The file is no valid {name} text."
            ) from None
        if (nul := text.find("\0")) >= 0:
            at = offset + len(text[:nul].encode(plain))
            raise _bad_encoding(file, plain, at, f"A NUL character stands in the {name} text.")
        if not chunk:
            return encoding
        offset = file.tell()


def _bad_encoding(file: BinaryIO, encoding: str, byte_offset: int, detail: str) -> CsvRefused:
    return CsvRefused(
        "bad_encoding",
        f"{detail} See line {_line_of(file, encoding, byte_offset)}, byte {byte_offset} of the file. Save the file as"
        " UTF-8; Excel calls it 'CSV UTF-8'.",
        byte_offset=byte_offset,
    )


def _line_of(file: BinaryIO, encoding: str, byte_offset: int) -> int:
    """The line of the file on which a byte stands."""
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    newlines = io.IncrementalNewlineDecoder(decoder, translate=True)
    file.seek(0)
    line, left = 1, byte_offset
    while left:
        chunk = file.read(min(left, _READ_BYTES))
        left -= len(chunk)
        line += newlines.decode(chunk, final=not left).count("\n")
    return line


def _unspaced(lines: Iterator[str], delimiter: str) -> Iterator[str]:
    """The lines, without the spaces before an opening quote (`1, "a, b"`): csv would take the quote
    as text.
    """
    bare_cell = re.compile(rf"[^{delimiter}]*+{delimiter}?+")
    inside = False
    for line in lines:
        # Most lines have no such spaces, and quotes in pairs: nothing to do, and nothing left open.
        if not inside and ' "' not in line and line.count('"') % 2 == 0:
            yield line
        else:
            line, inside = _unspace_line(line, bare_cell, inside=inside)
            yield line


_OPENING_QUOTE = re.compile(r' *+"')
_REST_OF_QUOTED = re.compile(r'(?:[^"]|"")*+"')


def _unspace_line(line: str, bare_cell: "re.Pattern[str]", *, inside: bool) -> tuple[str, bool]:
    """One line without the spaces before opening quotes, and whether it ends inside a quoted cell."""
    pieces, at = [], 0
    while at < len(line):
        if not inside and (opening := _OPENING_QUOTE.match(line, at)):
            pieces.append('"')
            at, inside = opening.end(), True
        if inside:
            closed = _REST_OF_QUOTED.match(line, at)
            if closed is None:
                return "".join([*pieces, line[at:]]), True
            pieces.append(closed.group())
            at, inside = closed.end(), False
        rest = bare_cell.match(line, at)
        assert rest is not None  # noqa: S101 - it matches nothing, too
        pieces.append(rest.group())
        at = rest.end()
    return "".join(pieces), inside
