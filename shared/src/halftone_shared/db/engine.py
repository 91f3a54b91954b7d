"""Connections to PostgreSQL, and whether the database is there and migrated.

SQL in halftone has one colour: plain synchronous functions that take a connection. Engines are in
autocommit: one statement is one transaction and one round trip; where several belong together,
`with transaction(engine)` says so.
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

# The newest migration that this code was written for; a test holds it to db/migrations.
SCHEMA_REVISION = "0006"


# What statements and driver rely on, whatever an administrator has set for the database or its
# user: psycopg reads times in this form alone, and a row that was waited for is read anew.
_SESSION = "SET datestyle = 'ISO'; SET default_transaction_isolation = 'read committed'"

# What a URL does not say otherwise. A host that vanished without a word, as by a power cut, is
# given up after half a minute: by the system's own limits after a quarter of an hour, and two hours
# where nothing is under way.
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

    With `pre_ping` a connection is tried before it is used, at the price of a round trip: nobody
    notices that the server was restarted. Without, the first use after a restart raises; for
    callers that try again.
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
    """Have the engine's statements find their rows by index, whatever PostgreSQL thinks of a
    table's size.

    It plans a repeated statement once, for good. Planned while there were a few products, handing
    out read the whole table each time: with 50,000 products 38 ms instead of 0.3, until autovacuum
    came by and had it planned anew.
    """

    _at_connect(engine, "SET enable_seqscan = off")


def _at_connect(engine: Engine, statements: LiteralString) -> None:
    @event.listens_for(engine, "connect")
    def _(connection: "psycopg.Connection[Any]", _: object) -> None:
        autocommit, connection.autocommit = connection.autocommit, True
        connection.execute(statements)
        connection.autocommit = autocommit


def _leave_read_only(context: ExceptionContext) -> None:
    """A server that takes no more writes, as one that another took over from, is left: the next use
    connects anew.
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
    """A statement with `:name` parameters for Connection.exec_driver_sql, which hands it to psycopg
    as it is.

    Short, as psycopg remembers how it takes a statement apart only up to 4,096 characters.
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
    """Whether this says that the database is away, too busy, read-only or out of space, rather than
    that a statement is wrong: try again later. The error is SQLAlchemy's, or the driver's own, as
    of a COPY.
    """
    return isinstance(error.orig if isinstance(error, DBAPIError) else error, _UNAVAILABLE)


def unreachable(error: SQLAlchemyError) -> DatabaseUnavailable:
    """What the driver said, in a line."""
    reason = str(error.orig if isinstance(error, DBAPIError) else error).strip().splitlines()[0]
    return DatabaseUnavailable(
        f"The database cannot be reached: {reason}", public="The database cannot be reached."
    )


def check_database(engine: Engine) -> None:
    """Raise DatabaseUnavailable, saying why, unless the database takes writes and this code can
    work with its schema: its own, or a newer one whose migration says that this code still can.
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
        engine.dispose()  # as _leave_read_only: it may be this connection alone
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
