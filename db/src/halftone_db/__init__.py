"""The schema's migrations, and the command that applies them: `halftone-migrate` or `halftone
migrate`.
"""

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from psycopg.errors import LockNotAvailable
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from halftone_shared.db.engine import is_unavailable, unreachable, wrong_schema
from halftone_shared.errors import DatabaseUnavailable
from halftone_shared.runtime.settings import (
    DatabaseSettings,
    load_settings_or_exit,
    take_no_arguments,
)
from halftone_shared.runtime.variables import unknown_variables, warning_about

# In a wheel the scripts are inside the package; in a checkout they are at db/migrations.
_PACKAGED = Path(__file__).parent / "migrations"
MIGRATIONS = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "migrations"


def migrate(database_url: str) -> None:
    """Migrate a database to the newest schema. Does nothing if it is up to date. Concurrent calls
    wait for each other.

    Raises DatabaseUnavailable, also if a lock on a table times out, if a newer version has migrated
    the database, or if its encoding cannot store every character.
    """
    try:
        command.upgrade(_config(database_url), "head")
    except CommandError as error:
        if not isinstance(error.__cause__, ResolutionError):
            raise
        raise wrong_schema(str(error.__cause__.argument)) from error
    except SQLAlchemyError as error:
        if isinstance(error, DBAPIError) and isinstance(error.orig, LockNotAvailable):
            message = (
                "A table is in use, for example by a large upload. Nothing was changed:"
                " run it again later."
            )
            raise DatabaseUnavailable(message) from error
        if not is_unavailable(error):
            raise
        raise unreachable(error) from error


def _config(database_url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["database_url"] = database_url
    return config


def main() -> None:
    """Migrate the database that HALFTONE_DATABASE_URL names."""
    take_no_arguments(
        "halftone-migrate", "Brings the database of HALFTONE_DATABASE_URL to the newest schema."
    )
    for name in unknown_variables():
        print(warning_about(name), file=sys.stderr)
    try:
        migrate(load_settings_or_exit(DatabaseSettings).database_url)
    except DatabaseUnavailable as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None
    print("The database is at the newest schema.")
