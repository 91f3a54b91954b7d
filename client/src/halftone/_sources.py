"""What can be uploaded: a file by its path, an open file, bytes, or rows."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from halftone.errors import InvalidUpload

Row: TypeAlias = Mapping[str, Any]


@runtime_checkable
class ReadableFile(Protocol):
    """An open binary file."""

    def read(self, size: int = ..., /) -> bytes: ...
    def seek(self, offset: int, whence: int = ..., /) -> int: ...
    def seekable(self) -> bool: ...


Source: TypeAlias = "str | os.PathLike[str] | ReadableFile | bytes | Iterable[Row]"

DEFAULT_NAME = "products.csv"


@contextmanager
def opened(source: Source, filename: str | None) -> Iterator[tuple[str, ReadableFile]]:
    """The source's file name and its content, which can be read more than once."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        try:
            file = path.open("rb")
        except OSError as error:
            raise InvalidUpload(f"{str(path)!r} cannot be read: {error.strerror}.") from error
        with file, _rewindable(file) as content:
            # A pipe, as /dev/stdin, has no file name of its own.
            usual = path.name if content is file else f"{path.name}.csv"
            yield filename or _text(usual), content
    elif isinstance(source, bytes):
        yield filename or DEFAULT_NAME, io.BytesIO(source)
    elif isinstance(source, ReadableFile):
        with _rewindable(source) as content:
            name = getattr(source, "name", None)
            usual = Path(name).name if isinstance(name, str) else DEFAULT_NAME
            yield filename or _text(usual), content
    else:
        yield filename or DEFAULT_NAME, io.BytesIO(rows_as_csv(source))


def rows_as_csv(rows: Iterable[Row]) -> bytes:
    """A CSV of rows; the columns are their keys in the order of appearance.

    A list in a cell is written as its items with commas between them, as image URLs are.

    >>> rows_as_csv([{"Serial Number": 1, "Input Image Urls": ["u1", "u2"]}])
    b'Serial Number,Input Image Urls\\r\\n1,"u1,u2"\\r\\n'
    """
    table = [_row(row) for row in rows]
    if not table:
        raise InvalidUpload("There are no rows to upload.")
    columns = list(dict.fromkeys(column for row in table for column in row))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in table)
    return text.getvalue().encode()


def _row(row: Any) -> Row:
    if not isinstance(row, Mapping):
        raise InvalidUpload(f"A row is a mapping of column names to cells, not {row!r}.")
    return row


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(str, value))
    return str(value)


@contextmanager
def _rewindable(file: ReadableFile) -> Iterator[ReadableFile]:
    """The file itself, or its content where it can be read only once, as a pipe."""
    if file.seekable():
        yield file
        return
    import shutil  # here, as both take long to import and are seldom needed
    from tempfile import TemporaryFile

    with TemporaryFile() as whole:
        shutil.copyfileobj(file, whole)
        whole.seek(0)
        yield whole


def _text(name: str) -> str:
    """A file name as text, whatever bytes the file system has in it."""
    return os.fsencode(name).decode(errors="replace")
