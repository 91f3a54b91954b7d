"""A storage folder on a small file system, which can be filled, freed, unmounted and mounted."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SIZE = "512m"
_STEP_BYTES = 1024 * 1024


class Volume:
    """`folder` shows the disk while it is mounted. Beneath its mount point nothing may be
    written.
    """

    def __init__(self, disk: Path, folder: Path) -> None:
        self._disk = disk
        self._filler = disk / "filler"
        self.folder = folder
        self.written_beneath: list[str] = []

    def fill(self) -> None:
        with self._filler.open("wb") as filler, suppress(OSError):
            size = 0
            while True:
                os.posix_fallocate(filler.fileno(), size, _STEP_BYTES)
                size += _STEP_BYTES

    def free(self) -> None:
        self._filler.unlink()

    def unmount(self) -> None:
        _run("umount", "--lazy", str(self.folder))

    def mount(self) -> None:
        self.written_beneath += [str(path) for path in self.folder.iterdir()]
        _run("mount", "--bind", str(self._disk / "storage"), str(self.folder))


@contextmanager
def mounted_volume(parent: Path) -> "Iterator[Volume | None]":
    """None where file systems cannot be mounted."""
    disk, folder = parent / "disk", parent / "storage"
    disk.mkdir()
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        yield None
        return
    volume = Volume(disk, folder)
    try:
        (disk / "storage").mkdir()
        volume.mount()
        yield volume
    finally:
        with suppress(subprocess.CalledProcessError):
            volume.unmount()
        _run("umount", "--lazy", str(disk))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
