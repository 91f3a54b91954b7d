"""The database for commands on this machine: the environment's, or that of `halftone up`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from halftone_cli.home import Home
from halftone_cli.terminal import EXIT_FAILED, EXIT_REFUSED, failing_with
from halftone_shared.db.engine import check_database, is_unavailable, make_engine, unreachable
from halftone_shared.errors import BadSettings, DatabaseUnavailable
from halftone_shared.runtime.settings import SECRETS_FOLDER, DatabaseSettings, load_settings
from halftone_shared.runtime.variables import PREFIX


@contextmanager
def database_url(home_folder: Path) -> Iterator[str]:
    """HALFTONE_DATABASE_URL, or the URL of the home's server. If that server is not running, it
    runs for the duration of the block.

    Raises DatabaseUnavailable, or BadSettings.
    """
    name = PREFIX + "DATABASE_URL"
    if os.environ.get(name) or (SECRETS_FOLDER / name.lower()).exists():
        yield load_settings(DatabaseSettings).database_url
        return
    home = Home.at(home_folder)
    if not (home.postgres / "PG_VERSION").exists():
        raise DatabaseUnavailable(
            f"{PREFIX}DATABASE_URL is not set, and there is no database under {home.folder}:"
            " run `halftone up` once."
        )
    from halftone_cli.embedded_postgres import EmbeddedPostgres, PostgresUnavailable

    try:
        postgres = EmbeddedPostgres(home.postgres)
        postgres.start()
        url = postgres.url
    except PostgresUnavailable as error:
        raise DatabaseUnavailable(str(error)) from error
    try:
        yield url
    finally:
        postgres.stop()


@contextmanager
def failing_on_bad_database() -> Iterator[None]:
    """Exit with a message if the database is unavailable or its URL is invalid."""
    with failing_with(EXIT_FAILED, DatabaseUnavailable), failing_with(EXIT_REFUSED, BadSettings):
        yield


@contextmanager
def local_engine(home_folder: Path) -> Iterator[Engine]:
    """An engine for a command. If the database is away (now or later) or not migrated, the command
    prints a message and exits.
    """
    with failing_on_bad_database(), database_url(home_folder) as url:
        engine = make_engine(url, pool_size=1)
        check_database(engine)
        try:
            yield engine
        except SQLAlchemyError as error:
            if not is_unavailable(error):
                raise
            raise unreachable(error) from error
        finally:
            engine.dispose()
