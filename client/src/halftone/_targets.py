"""Where a download is written: to a path, into a folder, or to an open file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from email.message import Message
from email.utils import collapse_rfc2231_value
from pathlib import Path
from typing import IO, TypeAlias

Target: TypeAlias = "str | os.PathLike[str] | IO[bytes]"


class Writing:
    """A download on its way into a file. `size`: how many bytes were written."""

    def __init__(self, file: IO[bytes], *, restartable: bool) -> None:
        self._file = file
        self._restartable = restartable
        self.size = 0

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self.size += len(chunk)

    def restart(self) -> bool:
        """Forget what was written, so that the download can begin again; False where it cannot."""
        if self.size and not self._restartable:
            return False
        if self.size:
            self._file.seek(0)
            self._file.truncate()
            self.size = 0
        return True


@contextmanager
def writing_to(target: Target, disposition: str = "") -> Iterator[Writing]:
    """Write to a target. A file that exists is replaced only by a whole one.

    `disposition`: the answer's Content-Disposition, which names the file in a folder. What is
    neither a folder nor a regular file, as a pipe or a device, is written to directly.
    """
    if not isinstance(target, (str, os.PathLike)):
        with nullcontext(target) as file:
            yield Writing(file, restartable=False)
        return
    path = Path(target)
    if path.is_dir():
        path /= file_name(disposition)
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield Writing(file, restartable=False)
        return
    final = path.resolve()  # a link stays a link
    part = final.with_name(final.name + ".part")
    try:
        with part.open("wb") as file:
            yield Writing(file, restartable=True)
        part.replace(final)
    finally:
        part.unlink(missing_ok=True)


def file_name(disposition: str) -> str:
    """The name that a Content-Disposition gives. It has no folder and no control characters."""
    header = Message()
    header["Content-Disposition"] = disposition
    names = [
        value
        for parameter, value in header.get_params([], "Content-Disposition")
        if parameter == "filename"
    ]
    # The encoded name, a tuple, wins (RFC 6266, 4.3).
    names.sort(key=lambda value: isinstance(value, str))
    given = collapse_rfc2231_value(names[0]) if names else ""
    name = given.replace("\\", "/").rpartition("/")[2]
    shown = "".join(each if each.isprintable() else "_" for each in name)
    return shown.lstrip(".") or "download"
