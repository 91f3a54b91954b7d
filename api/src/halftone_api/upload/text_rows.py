"""Reads a text file (CSV, TSV or TXT) as rows. At most one row is kept in memory."""

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
# A row of empty cells takes forty times as much memory as its text.
MAX_ROW_CHARACTERS = 4 * MAX_CELL_CHARACTERS
# A header after more blank lines than this is not found.
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
# The encoding of spreadsheets that do not write UTF-8.
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
    """A text file whose encoding is detected and verified to the last byte."""

    kind = FileKind.CSV
    sheet: str | None = None

    def __init__(self, file: BinaryIO, encoding: str | None = None) -> None:
        """`encoding` is one of ENCODINGS; without it the bytes decide. Raises Problem if the file
        is not text.
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
                # Keep the rows before it: under another delimiter the same quotes may be plain
                # text.
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

        # strict: otherwise a lone quote swallows all rows up to the next quote.
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
        # There may be several BOMs: some programs add one to a text that already has one.
        first = read_line().lstrip("\ufeff")
        return itertools.chain([first] if first else [], iter(read_line, ""))


def _find_encoding(file: BinaryIO, wanted: str | None) -> tuple[str, int | None]:
    """The file's encoding and, if it was guessed, the line of the first byte that is not UTF-8.

    Raises Problem with the byte offset at which the bytes are not text in that encoding.
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
    # If UTF-8 letters precede the invalid byte, the text is damaged UTF-8, not another encoding.
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
    """Cut off the line breaks at the end of a file. Reading 100 million of them takes a minute."""
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
    """The lines, without the spaces before an opening quote (`1, "a, b"`), after which csv would
    read the quote as text.
    """
    bare_cell = re.compile(rf"[^{re.escape(delimiter)}]*+{re.escape(delimiter)}?+")
    inside = False
    for line in lines:
        # Fast path for most lines: no such spaces, and an even number of quotes.
        if not inside and ' "' not in line and line.count('"') % 2 == 0:
            yield line
        else:
            line, inside = _unspace_line(line, bare_cell, inside=inside)
            yield line


_OPENING_QUOTE = re.compile(r' *+"')
_REST_OF_QUOTED = re.compile(r'(?:[^"]|"")*+"')


def _unspace_line(line: str, bare_cell: "re.Pattern[str]", *, inside: bool) -> tuple[str, bool]:
    """A line without the spaces before opening quotes, and whether it ends inside a quoted cell."""
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
