"""A text file as rows: CSV, TSV or TXT. Nothing larger than a row is kept in memory."""

import codecs
import csv
import io
import itertools
import re
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

from halftone_api.errors import Problem, ProblemCode
from halftone_api.upload.table import Beginning, FileKind, Row

DELIMITERS = (",", ";", "\t")
MAX_CELL_CHARACTERS = 1024 * 1024
# A row of empty cells takes forty times as many bytes of memory.
MAX_ROW_CHARACTERS = 4 * MAX_CELL_CHARACTERS
# A header that comes later than this is none.
MAX_LEADING_BLANK_LINES = 10_000
ENCODINGS = (
    "utf-8",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    *(f"windows-{page}" for page in range(1250, 1259)),
    *(f"iso-8859-{part}" for part in (1, 2, 5, 7, 9, 15)),
    "mac-roman",
    "koi8-r",
    "shift_jis",
    "euc-jp",
    "gb18030",
    "big5",
    "euc-kr",
)
# What spreadsheets write where they do not write UTF-8.
_GUESSED_ENCODING = "windows-1252"
_READ_BYTES = 1024 * 1024
_SEPARATOR_LINE = re.compile(r'"?sep=(?P<delimiter>[,;|\t])"?[\r\n]*', re.IGNORECASE)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

csv.field_size_limit(MAX_CELL_CHARACTERS)


class TextTable:
    """A text whose encoding is found and checked to the last byte."""

    kind = FileKind.CSV
    sheet: str | None = None

    def __init__(self, file: BinaryIO, encoding: str | None = None) -> None:
        """`encoding` is one of ENCODINGS; without it the bytes decide. Raises Problem where the
        file is not text.
        """
        self.malformed: Problem | None = None
        self.encoding, self.guessed_at_line = _find_encoding(file, encoding)
        if not self.encoding.startswith("utf-16"):
            _drop_blank_lines_at_end(file)
        self._text = io.TextIOWrapper(file, encoding=self.encoding, newline="")
        self._text.seek(0)
        first = self._text.readline(MAX_ROW_CHARACTERS + 1)
        self.has_bom = first.startswith("\ufeff")
        found = _SEPARATOR_LINE.fullmatch(first.lstrip("\ufeff"))
        self.separator_line = None if found is None else found.group().rstrip("\r\n")
        self._delimiters = DELIMITERS if found is None else (found["delimiter"],)

    def close(self) -> None:
        if not self._text.closed:
            self._text.detach()

    def beginnings(self, rows: int) -> list[Beginning]:
        beginnings = []
        for delimiter in self._delimiters:
            first: list[Row] = []
            try:
                first.extend(itertools.islice(self._not_blank(delimiter), rows))
            except Problem as problem:
                # The rows before it stay. Under another delimiter the same quotes may be text.
                self.malformed = self.malformed or problem
            else:
                if not first:
                    raise Problem(ProblemCode.EMPTY_CSV, "The file is empty.")
            if first:
                beginnings.append(Beginning(self.kind, delimiter, first))
        if not beginnings and self.malformed is not None:
            raise self.malformed
        return beginnings

    def _not_blank(self, delimiter: str) -> Iterator[Row]:
        blank = 0
        for row in self.rows(delimiter):
            if not row.is_blank:
                yield row
            elif (blank := blank + 1) > MAX_LEADING_BLANK_LINES:
                return

    def rows(self, delimiter: str) -> Iterator[Row]:
        characters = 0

        def lines_of_a_row() -> Iterator[str]:
            nonlocal characters
            for text in self._lines():
                characters += len(text)
                if characters > MAX_ROW_CHARACTERS:
                    raise csv.Error(f"it has more than {MAX_ROW_CHARACTERS} characters")
                yield text

        # strict: without it, a lone quote takes in all rows up to the next one.
        reader = csv.reader(
            _unspaced(lines_of_a_row(), delimiter), delimiter=delimiter, strict=True
        )
        before = 0 if self.separator_line is None else 1
        while True:
            line, characters = before + reader.line_num + 1, 0
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise Problem(
                    ProblemCode.MALFORMED_CSV,
                    f"The row that starts on line {line} cannot be read ({error})."
                    " Is a quote missing or not doubled?",
                    line=line,
                ) from None
            yield Row(line, cells)

    def _lines(self) -> Iterator[str]:
        self._text.seek(0)
        read_line = partial(self._text.readline, MAX_ROW_CHARACTERS + 1)
        if self.separator_line is not None:
            read_line()
            return iter(read_line, "")
        # Programs that add a mark to a text that has one leave several.
        first = read_line().lstrip("\ufeff")
        return itertools.chain([first] if first else [], iter(read_line, ""))


def _find_encoding(file: BinaryIO, wanted: str | None) -> tuple[str, int | None]:
    """The file's encoding, and where it was guessed the line of the first byte that is not UTF-8.

    Raises Problem with the byte offset where the bytes are no text in it.
    """
    file.seek(0)
    start = file.read(3)
    marked = next((encoding for bom, encoding in _BOMS if start.startswith(bom)), None)
    if wanted == "utf-16":
        wanted = marked or "utf-16-le"
    encoding = wanted or marked or "utf-8"
    wrong = _first_wrong_byte(file, encoding)
    if wrong is None:
        return encoding, None
    is_guessed = wanted is None and marked is None and not wrong.is_nul
    # A text with letters in UTF-8 before the wrong byte is a broken one, not another encoding.
    if is_guessed and _is_ascii(file, wrong.offset):
        unreadable = _first_wrong_byte(file, _GUESSED_ENCODING)
        if unreadable is None:
            return _GUESSED_ENCODING, _line_of(file, "utf-8", wrong.offset)
        wrong = unreadable if unreadable.is_nul else wrong
    name = {"utf-8": "UTF-8", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16"}.get(encoding, encoding)
    line = _line_of(file, encoding, wrong.offset)
    what = (
        f"There is a NUL character in the {name} text"
        if wrong.is_nul
        else (f"The file is not valid {name} text")
    )
    raise Problem(
        ProblemCode.BAD_ENCODING,
        f"{what}: line {line}, byte {wrong.offset} of the file. Save the file as UTF-8 (Excel calls"
        " it 'CSV UTF-8'), or name its encoding in the form field 'encoding'.",
        byte_offset=wrong.offset,
    )


class _WrongByte:
    def __init__(self, offset: int, *, is_nul: bool) -> None:
        self.offset = offset
        self.is_nul = is_nul


def _first_wrong_byte(file: BinaryIO, encoding: str) -> _WrongByte | None:
    file.seek(0)
    decoder = codecs.getincrementaldecoder(encoding)()
    offset = 0
    while True:
        chunk = file.read(_READ_BYTES)
        kept = decoder.getstate()[0]
        offset -= len(kept)
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            return _WrongByte(offset + error.start, is_nul=False)
        if (nul := text.find("\0")) >= 0:
            return _WrongByte(offset + len(text[:nul].encode(encoding)), is_nul=True)
        if not chunk:
            return None
        offset = file.tell()


def _drop_blank_lines_at_end(file: BinaryIO) -> None:
    """Cut the line breaks off that a file ends with. Reading 100 million of them takes a minute."""
    end = file.seek(0, io.SEEK_END)
    while end > 0:
        start = max(0, end - _READ_BYTES)
        file.seek(start)
        kept = file.read(end - start).rstrip(b"\r\n")
        end = start + len(kept)
        if kept:
            break
    file.truncate(end)


def _is_ascii(file: BinaryIO, end: int) -> bool:
    """Whether all bytes before `end` are ASCII."""
    file.seek(0)
    while end > 0:
        chunk = file.read(min(end, _READ_BYTES))
        if not chunk.isascii():
            return False
        end -= len(chunk)
    return True


def _line_of(file: BinaryIO, encoding: str, byte_offset: int) -> int:
    """The line of the file that a byte is on."""
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
    bare_cell = re.compile(rf"[^{re.escape(delimiter)}]*+{re.escape(delimiter)}?+")
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
    """A line without the spaces before opening quotes, and whether it ends in a quoted cell."""
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
