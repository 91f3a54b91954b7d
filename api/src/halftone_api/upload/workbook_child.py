"""Reads one Excel workbook in a separate process: `python -m …workbook_child DESCRIPTOR OUTPUT`.

A workbook of two kilobytes can make its reader allocate half a terabyte. So this process limits its
memory and time, and checks all sizes before unpacking. If it dies, its parent refuses the file. It
imports nothing of the API, so that it starts in 0.1 s.

Protocol, one line of JSON each: it writes the names of its sheets, then the first rows of each
sheet that the parent asks for, until the parent takes one. It writes that sheet to OUTPUT as CSV,
one line per row, with the kinds of the other cells in the first cell; then it exits. A refusal is a
line with `error`.
"""

import csv
import io
import json
import os
import re
import resource
import signal
import struct
import sys
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import IO, Any

from python_calamine import CalamineSheet, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

MEMORY_BYTES = 1024 * 1024 * 1024
PROCESSOR_SECONDS = 30
WALL_SECONDS = 60
OUTPUT_BYTES = 2 * 1024 * 1024 * 1024
MAX_SHEETS = 200
MAX_PARTS = 5000
# Of the archive's directory: 800 bytes a part.
MAX_DIRECTORY_BYTES = 4 * 1024 * 1024
MAX_UNPACKED_BYTES = 512 * 1024 * 1024
# Limit for parts larger than 1 MiB: unpacked to packed size. Sheets of real catalogues have 5 to
# 40.
MAX_RATIO = 300
# Cells of the smallest rectangle around all cells: calamine takes 32 bytes for each.
MAX_CELLS = 8 * 1024 * 1024
FIRST_ROWS = 12
# Of a name in an archive that is no workbook.
MAX_NAME = 200

_END_OF_DIRECTORY = b"PK\x05\x06"
_END_OF_LARGE_DIRECTORY = b"PK\x06\x06"  # ZIP64
# Fast path: a sheet without cells beyond column Z or row 299,999 has fewer than MAX_CELLS. Most
# catalogues have none, and this search takes a sixth of the time of the full one.
_FAR_REFERENCE = re.compile(rb"""r\s*=\s*["'](?:[A-Z]{2}|[A-Z](?:[3-9][0-9]{5}|[0-9]{7}))""")
_REFERENCE = re.compile(rb"""<(?:\w+:)?c\s[^>]*?\br\s*=\s*["']([A-Z]{1,3})([0-9]{1,7})["']""")
_CHUNK = 1024 * 1024
_OVERLAP = 256

TEXT, NUMBER, BOOLEAN, DATE, TIME = "s", "n", "b", "d", "t"
_KINDS = {int: NUMBER, float: NUMBER, bool: BOOLEAN, date: DATE, datetime: DATE, time: TIME}


class Refused(Exception):
    """The workbook is refused. The code is one of workbook.py; `names` are names in the archive."""

    def __init__(self, code: str, names: Sequence[str] = ()) -> None:
        super().__init__(code)
        self.code = code
        self.names = names


def main() -> None:
    _limit_resources()
    try:
        _serve(f"/dev/fd/{sys.argv[1]}", int(sys.argv[2]))
    except Refused as refused:
        _say({"error": refused.code, "names": list(refused.names)})
    except MemoryError:
        _say({"error": "too_large"})
    except (OSError, ValueError, zipfile.BadZipFile, RuntimeError, NotImplementedError):
        _say({"error": "unreadable"})
    except Exception as error:  # noqa: BLE001 - calamine's errors have no common base
        _say({"error": "unreadable", "reason": type(error).__name__})


def _limit_resources() -> None:
    signal.alarm(WALL_SECONDS)
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (OUTPUT_BYTES, OUTPUT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _serve(path: str, output: int) -> None:
    check_sizes(path)
    workbook = CalamineWorkbook.from_path(path)
    sheets = [each.name for each in workbook.sheets_metadata if each.typ is SheetTypeEnum.WorkSheet]
    if len(sheets) > MAX_SHEETS:
        raise Refused("too_many_sheets")
    shown = [
        each.name
        for each in workbook.sheets_metadata
        if each.name in sheets and each.visible is SheetVisibleEnum.Visible
    ]
    _say({"sheets": sheets, "visible": shown})
    loaded: tuple[str, CalamineSheet] | None = None
    while True:
        command = json.loads(sys.stdin.readline() or "null")
        if command is None:
            return
        name = command["sheet"]
        if loaded is None or loaded[0] != name:
            loaded = None  # frees the memory before the next sheet is read
            loaded = (name, workbook.get_sheet_by_name(name))
        if command["take"]:
            with os.fdopen(output, "w", encoding="utf-8", newline="", closefd=False) as file:
                rows = _write(loaded[1], file)
            _say({"rows": rows})
            return
        _say({"first": _first_rows(loaded[1])})


def check_sizes(path: str) -> None:
    """Check the directory and the cells' references before anything is loaded into memory."""
    with open(path, "rb") as file:  # noqa: PTH123 - a descriptor's path
        _check_directory(file)
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        if not any(part.filename == "xl/workbook.xml" for part in parts):
            raise Refused("not_a_workbook", [part.filename[-MAX_NAME:] for part in parts])
        if sum(part.file_size for part in parts) > MAX_UNPACKED_BYTES:
            raise Refused("too_large")
        for part in parts:
            large = part.file_size > 1024 * 1024
            if large and part.file_size > MAX_RATIO * max(part.compress_size, 1):
                raise Refused("too_large")
        for part in parts:
            if part.filename.startswith("xl/worksheets/") and part.filename.endswith(".xml"):
                _check_cells(archive, part)


def _check_directory(file: IO[bytes]) -> None:
    """Check the directory before zipfile makes an object for each of its entries.

    zipfile reads entries to the end of the directory, however many the archive says it has.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 66_000))
    end = file.read()
    at = end.rfind(_END_OF_DIRECTORY)
    if at < 0 or len(end) < at + 16:
        raise Refused("unreadable")
    parts, directory = struct.unpack_from("<HI", end, at + 10)
    large = end[at - 76 : at - 20] if at >= 76 else b""
    if large.startswith(_END_OF_LARGE_DIRECTORY):
        parts, directory = struct.unpack_from("<QQ", large, 32)
    if parts > MAX_PARTS or directory > MAX_DIRECTORY_BYTES:
        raise Refused("too_many_sheets")


def _check_cells(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> None:
    """Check the largest column and row of a sheet. Its own dimensions are not trusted."""
    if not any(_FAR_REFERENCE.search(text) for text in _texts(archive, part)):
        return
    last_row = last_column = 1
    for text in _texts(archive, part):
        if not (found := _REFERENCE.findall(text)):
            continue
        columns, rows = zip(*found, strict=True)
        last_row = max(last_row, *map(int, set(rows)))
        last_column = max(last_column, *map(_column_number, set(columns)))
        if last_row * last_column > MAX_CELLS:
            raise Refused("too_many_cells")


def _texts(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> Iterator[bytes]:
    """The part in pieces that overlap, so that each reference is whole in one of them."""
    with archive.open(part) as file:
        before = b""
        while chunk := file.read(_CHUNK):
            text = before + chunk
            yield text
            before = text[-_OVERLAP:]


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number


def _rows(sheet: CalamineSheet) -> Iterator[tuple[list[str], str]]:
    """Each row from the first of the sheet, starting at its first column: texts and kinds."""
    start = sheet.start
    left = 0 if start is None else start[1]
    padding = [""] * left
    for values in sheet.iter_rows():
        texts = [
            value if type(value) is str and "\0" not in value else _shown(value) for value in values
        ]
        kinds = "".join([_KINDS.get(type(value), TEXT) for value in values])
        plain = not kinds.strip(TEXT)
        yield padding + texts, "" if plain else TEXT * left + kinds


def _first_rows(sheet: CalamineSheet) -> list[list[Any]]:
    first: list[list[Any]] = []
    for number, (texts, kinds) in enumerate(_rows(sheet), start=1):
        if any(text.strip() for text in texts):
            first.append([number, texts, kinds])
        if len(first) == FIRST_ROWS or number > 10_000:
            break
    return first


def _write(sheet: CalamineSheet, file: IO[str]) -> int:
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    rows = 0
    for texts, kinds in _rows(sheet):
        writer.writerow([kinds, *texts])
        rows += 1
    return rows


def _shown(value: Any) -> str:
    """A value as the sheet shows it in the usual format."""
    if isinstance(value, str):
        return value.replace("\0", "") if "\0" in value else value
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime):
        midnight = value.time() == time()
        return value.date().isoformat() if midnight else value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    return str(value)


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
