"""Runs the migrations in one transaction, one migrator at a time, with a limit on waiting for
locks.
"""

import os

from alembic import context
from sqlalchemy import Connection, Engine, text

from halftone_shared.db.engine import make_engine
from halftone_shared.db.tables import metadata
from halftone_shared.errors import DatabaseUnavailable

# "halftone" in ASCII: the key of the advisory lock that admits one migrator at a time.
_MIGRATION_LOCK = 0x68616C66746F6E65


def run() -> None:
    url = context.config.attributes.get("database_url") or os.environ["HALFTONE_DATABASE_URL"]
    engine = make_engine(url, pool_size=1)
    try:
        _migrate(engine)
    finally:
        engine.dispose()  # closes the connection, and releases the lock if a migration failed


def _migrate(engine: Engine) -> None:
    with engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
        _check_encoding(connection)
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
        connection.commit()
        connection.execute(text("SET lock_timeout = '5s'"))
        connection.commit()
        context.configure(connection=connection, target_metadata=metadata, compare_type=True)
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _MIGRATION_LOCK})


def _check_encoding(connection: Connection) -> None:
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise DatabaseUnavailable(
            f"The database's encoding is {encoding}, which does not hold what may be in a CSV:"
            " make one by CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8'."
        )


run()
