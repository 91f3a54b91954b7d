"""The streamed ZIP: opened by Python's zipfile and by unzip."""

import shutil
import subprocess
import zlib
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from zipfile import ZipFile

import pytest

from halftone_api.output.stored_zip import stored_zip

NOON = datetime(2026, 11, 30, 12, 30, 10, tzinfo=UTC)


def written(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    with path.open("wb") as file:
        file.writelines(stored_zip(files, NOON))
    return path


def test_files_come_back_under_their_names(tmp_path: Path) -> None:
    files = {"a.jpg": b"one", "b/é 中.png": b"", "c.webp": bytes(range(256)) * 300}
    path = written(tmp_path / "images.zip", files.items())
    with ZipFile(path) as zipped:
        assert zipped.testzip() is None
        assert {name: zipped.read(name) for name in zipped.namelist()} == files
        assert zipped.infolist()[0].date_time == (2026, 11, 30, 12, 30, 10)


@pytest.mark.parametrize("number", [0, 1, 65_535, 65_536, 70_000])
def test_any_number_of_files_is_opened_by_python_and_unzip(tmp_path: Path, number: int) -> None:
    path = written(tmp_path / "images.zip", ((f"{at}.jpg", b"x") for at in range(number)))
    with ZipFile(path) as zipped:
        assert len(zipped.namelist()) == number
    if number and shutil.which("unzip"):
        subprocess.run(["unzip", "-tqq", path], check=True, capture_output=True)


def test_files_beyond_4_gib_are_found(tmp_path: Path) -> None:
    """Zeros are not written, so that the archive of 4.2 GiB takes no space on the disk."""
    large, path = bytes(64 << 20), tmp_path / "images.zip"
    with path.open("wb") as file:
        for piece in stored_zip(((f"{at}.jpg", large) for at in range(67)), NOON):
            if piece is large:
                file.seek(len(large), 1)
            else:
                file.write(piece)
    with ZipFile(path) as zipped:
        last = zipped.infolist()[-1]
        assert last.header_offset > 2**32
        with zipped.open(last) as content:
            assert content.read(8) == bytes(8)
        assert zlib.crc32(large) == last.CRC
