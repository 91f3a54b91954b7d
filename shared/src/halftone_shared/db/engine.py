"""Connections to PostgreSQL, and the check that the database is reachable and migrated.

All SQL runs in synchronous functions that take a connection. Engines use autocommit: one statement
is one transaction and one round trip. `with transaction(engine)` groups several.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg.errors import IdleInTransactionSessionTimeout, ReadOnlySqlTransaction
from sqlalchemy import (
    Connection,
    Engine,
    ExceptionContext,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from halftone_shared.errors import DatabaseUnavailable

# The newest migration that this code was written for; a test compares it with db/migrations.
SCHEMA_REVISION = "0006"


# The statements and the driver rely on these, so they override defaults of the database or its
# user. psycopg parses times in this format only, and READ COMMITTED reads a row again after waiting
# for its lock.
_SESSION = "SET datestyle = 'ISO'; SET default_transaction_isolation = 'read committed'"

# Defaults; the URL overrides them. A host that vanishes, as in a power cut, is given up after 30 s.
# The system's own limits are 15 minutes, or 2 hours on an idle connection.
_CONNECTION = {
    "connect_timeout": "5",
    "application_name": "halftone",
    "tcp_user_timeout": "30000",
    "keepalives_idle": "10",
    "keepalives_interval": "10",
    "keepalives_count": "2",
}


def make_engine(database_url: str, *, pool_size: int, pre_ping: bool = True) -> Engine:
    """An engine with a bounded pool.

    With `pre_ping`, each connection is tested before use, which costs a round trip and hides a
    restart of the server. Without it, the first use after a restart raises; for callers that try
    again.
    """
    url = make_url(_with_driver(database_url))
    engine = create_engine(
        url.set(query=_CONNECTION | url.query | {"client_encoding": "utf8"}),
        isolation_level="AUTOCOMMIT",
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=30,
        pool_pre_ping=pre_ping,
        pool_recycle=1800,
        json_serializer=lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")),
    )
    _at_connect(engine, _SESSION)
    event.listen(engine, "handle_error", _leave_read_only)
    return engine


def _with_driver(database_url: str) -> str:
    scheme, _, rest = database_url.partition("://")
    return f"postgresql+psycopg://{rest}" if scheme in ("postgresql", "postgres") else database_url


def always_by_index(engine: Engine) -> None:
    """Make the engine's statements use indexes, whatever PostgreSQL estimates a table's size to be,
    and plan each of them once.

    A dispatch statement planned while the table was small read the whole table each time: 38 ms
    instead of 0.3 with 50,000 products, until autovacuum caused a new plan. Planning it again each
    time took half of its processor time: 2.0 instead of 1.0 ms.
    """
    _at_connect(engine, "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")


def _at_connect(engine: Engine, statements: LiteralString) -> None:
    @event.listens_for(engine, "connect")
    def _(connection: "psycopg.Connection[Any]", _: object) -> None:
        autocommit, connection.autocommit = connection.autocommit, True
        connection.execute(statements)
        connection.autocommit = autocommit


def _leave_read_only(context: ExceptionContext) -> None:
    """Drop connections to a server that has become read-only, as after a failover. The next use
    opens a new connection.
    """
    if isinstance(context.original_exception, ReadOnlySqlTransaction):
        context.is_disconnect = True


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """One transaction at READ COMMITTED, committed at the end of the block and rolled back when it
    raises.
    """
    with (
        engine.connect().execution_options(isolation_level="READ COMMITTED") as connection,
        connection.begin(),
    ):
        yield connection


def database_seconds(connection: Connection) -> float:
    """The database's clock, in seconds since 1970."""
    seconds = connection.execute(
        text("SELECT extract(epoch FROM clock_timestamp())::float")
    ).scalar_one()
    return float(seconds)


def driver_statement(statement: str) -> str:
    """Convert a statement with `:name` parameters for Connection.exec_driver_sql, which passes it
    to psycopg unchanged.

    Extra white space is removed: psycopg caches its parsing of statements up to 4,096 characters
    only.
    """
    return re.sub(r"(?<!:):([a-z_]+)", r"%(\1)s", " ".join(statement.replace("%", "%%").split()))


# psycopg counts the last two among its internal errors.
_UNAVAILABLE = (
    PoolTimeout,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    ReadOnlySqlTransaction,
    IdleInTransactionSessionTimeout,
)


def is_unavailable(error: Exception) -> bool:
    """Whether the database is unreachable, too busy, read-only or out of space, so that a later
    attempt may succeed; False for a wrong statement. Takes SQLAlchemy's errors and the driver's own
    (COPY raises these).
    """
    return isinstance(error.orig if isinstance(error, DBAPIError) else error, _UNAVAILABLE)


def unreachable(error: SQLAlchemyError) -> DatabaseUnavailable:
    """The error to raise, with the first line of the driver's message."""
    reason = str(error.orig if isinstance(error, DBAPIError) else error).strip().splitlines()[0]
    return DatabaseUnavailable(
        f"The database cannot be reached: {reason}", public="The database cannot be reached."
    )


def check_database(engine: Engine) -> None:
    """Raise DatabaseUnavailable, with the reason, unless the database accepts writes and this code
    can work with its schema: its own version, or a newer one that declares this code compatible.
    """
    try:
        with engine.connect() as connection:
            revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            works_since = (
                connection.execute(text("SELECT works_since FROM schema_compatibility")).scalar()
                if revision and revision > SCHEMA_REVISION
                else SCHEMA_REVISION
            )
            read_only = connection.execute(text("SHOW transaction_read_only")).scalar() == "on"
    except SQLAlchemyError as error:
        if isinstance(error, DBAPIError) and "alembic_version" in str(error.orig):
            raise DatabaseUnavailable("The database is empty: run `halftone migrate`.") from error
        raise unreachable(error) from error
    if not revision or revision < SCHEMA_REVISION or (works_since or "") > SCHEMA_REVISION:
        raise wrong_schema(revision)
    if read_only:
        engine.dispose()  # as in _leave_read_only: the next connection may accept writes
        raise DatabaseUnavailable("The database is read-only.")


def wrong_schema(revision: str | None) -> DatabaseUnavailable:
    """The error for a database whose schema this code cannot work with."""
    newer = revision is not None and revision > SCHEMA_REVISION
    remedy = (
        "a newer version of halftone has migrated it; run that version"
        if newer
        else "run `halftone migrate`"
    )
    return DatabaseUnavailable(
        f"The database is at schema {revision!r}, this version wants {SCHEMA_REVISION!r}: {remedy}."
    )
