"""The database that a command on this machine works with: the environment's, or the one that `halftone up` runs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine

from halftone_cli.home import Home
from halftone_cli.terminal import EXIT_FAILED, EXIT_REFUSED, failing_with
from halftone_shared.database import DatabaseUnavailable, check_database, make_engine
from halftone_shared.settings import PREFIX, SECRETS_FOLDER, BadSettings, DatabaseSettings, load_settings


@contextmanager
def database_url(home_folder: Path) -> Iterator[str]:
    """HALFTONE_DATABASE_URL, or that of the home's server, which runs for the block if nothing else has it run.

    Raises DatabaseUnavailable, or BadSettings.
    """
    name = PREFIX + "DATABASE_URL"
    if os.environ.get(name) or (SECRETS_FOLDER / name.lower()).exists():
        yield load_settings(DatabaseSettings).database_url
        return
    home = Home.at(home_folder)
    if not (home.postgres / "PG_VERSION").exists():
        raise DatabaseUnavailable(
            f"{PREFIX}DATABASE_URL is not set, and there is no database under {home.folder}: run `halftone up` once."
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
    """Where it cannot be had, or is not named as it should be, the command says so and exits."""
    with failing_with(EXIT_FAILED, DatabaseUnavailable), failing_with(EXIT_REFUSED, BadSettings):
        yield


@contextmanager
def local_engine(home_folder: Path) -> Iterator[Engine]:
    """An engine on it, for a command: when it cannot be had, or is not migrated, the command says so and exits."""
    with failing_on_bad_database(), database_url(home_folder) as url:
        engine = make_engine(url, pool_size=1)
        check_database(engine)
        yield engine
        engine.dispose()
