"""A PostgreSQL server for the tests, from the wheel, in its own folder, and a migrated database for
each test.
"""

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from halftone_cli.embedded_postgres import EmbeddedPostgres
from halftone_db import migrate
from tests.support.leftovers import make_folder

_TEMPLATE = "halftone_template"
# Only tests that kill the server need durability. The others have their server in memory: a disk
# takes 0.2 s for the 300 files of a database, memory 0.02 s.
_SETTINGS = """
fsync = {fsync}
synchronous_commit = {fsync}
full_page_writes = {fsync}
shared_buffers = 128MB
max_wal_size = 128MB
"""


class TestPostgres:
    """One server. `new_database` is fast: it copies a migrated template."""

    __test__ = False

    def __init__(self, folder: Path, *, durable: bool) -> None:
        settings = _SETTINGS.format(fsync="on" if durable else "off")
        self._server = EmbeddedPostgres(folder, max_connections=200, settings=settings)
        self._numbers = itertools.count(1)

    def make(self) -> None:
        self.start()
        self._execute(f"CREATE DATABASE {_TEMPLATE}")
        migrate(self.url(_TEMPLATE))

    def url(self, database: str) -> str:
        return self._server.running_server().url(database)

    def new_database(self) -> str:
        """The URL of an empty, migrated database."""
        name = f"test_{next(self._numbers)}"
        # The default strategy also writes the copy to the log.
        self._execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY FILE_COPY")
        return self.url(name)

    @property
    def pid(self) -> int:
        """The server's first process, the parent of all others."""
        return self._server.running_server().pid

    def program(self, name: str) -> str:
        """The path of one of PostgreSQL's own programs."""
        return str(self._server.programs.folder / name)

    def drop_database(self, url: str) -> None:
        name = url.rpartition("?")[0].rpartition("/")[2]
        self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def stop_immediately(self) -> None:
        """Stop as in a power cut: open transactions are lost, and start() replays the log."""
        self._server.control("stop", "-m", "immediate")

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[TestPostgres]:
    folder = make_folder(in_memory=not durable)
    postgres = TestPostgres(folder / "data", durable=durable)
    try:
        postgres.make()
        yield postgres
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
