"""The migrations create exactly the tables that the code uses."""

import os
import subprocess
import sys

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from halftone_db import MIGRATIONS, migrate
from halftone_shared.db.engine import SCHEMA_REVISION, check_database, make_engine
from halftone_shared.db.requests import RequestSearch, list_status
from halftone_shared.db.tables import metadata
from halftone_shared.errors import DatabaseUnavailable
from tests.support.postgres import TestPostgres
from tests.support.stored import execute


def test_migrated_schema_is_the_code_s(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []


def test_newest_migration_is_the_one_that_the_code_wants() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == SCHEMA_REVISION


def test_empty_database_says_what_to_run(postgres: TestPostgres) -> None:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE bare")
    engine = make_engine(postgres.url("bare"), pool_size=1)
    with pytest.raises(DatabaseUnavailable, match="halftone migrate"):
        check_database(engine)
    engine.dispose()


def test_migrators_side_by_side_take_turns(postgres: TestPostgres) -> None:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE twice")
    url = postgres.url("twice")
    program = [sys.executable, "-m", "halftone_db"]
    migrators = [
        subprocess.Popen(program, env=os.environ | {"HALFTONE_DATABASE_URL": url}) for _ in range(3)
    ]
    assert [migrator.wait(60) for migrator in migrators] == [0, 0, 0]
    engine = make_engine(url, pool_size=1)
    check_database(engine)
    engine.dispose()


def test_migration_that_meets_a_table_in_use_says_so_and_changes_nothing(
    postgres: TestPostgres,
) -> None:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE used")
    url = postgres.url("used")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["database_url"] = url
    command.upgrade(config, "0003")
    with psycopg.connect(url) as upload:
        upload.execute("SELECT count(*) FROM requests")
        with pytest.raises(DatabaseUnavailable, match="in use"):
            migrate(url)
        assert upload.execute("SELECT version_num FROM alembic_version").fetchone() == ("0003",)
    migrate(url)


def test_requests_of_before_survive_the_newest_migration_and_its_way_back(
    postgres: TestPostgres,
) -> None:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE older")
    url = postgres.url("older")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["database_url"] = url
    command.upgrade(config, "0005")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO requests (id, options, csv_filename, csv_header, csv_delimiter,"
            " csv_url_column, image_token, total_products, total_images, open_shards)"
            " VALUES (gen_random_uuid(), '{}', 'a.csv', '{}', ',', 2, 'token', 1, 1, 1)"
        )
    migrate(url)
    command.downgrade(config, "0005")
    migrate(url)
    engine = make_engine(url, pool_size=1)
    with engine.connect() as connection:
        (found,) = list_status(connection, RequestSearch(owner=None), before=None, limit=2)
    engine.dispose()
    assert found.csv_filename == "a.csv"


def test_newer_schema_is_left_alone_and_says_what_to_run(engine: Engine, database_url: str) -> None:
    execute(engine, "UPDATE alembic_version SET version_num = '9999'")
    execute(engine, "UPDATE schema_compatibility SET works_since = '9999'")
    says = r"'9999', .* newer version of halftone"
    with pytest.raises(DatabaseUnavailable, match=says):
        migrate(database_url)
    with pytest.raises(DatabaseUnavailable, match=says):
        check_database(engine)


def test_newer_schema_that_this_code_works_with_is_ready(engine: Engine) -> None:
    execute(engine, "UPDATE alembic_version SET version_num = '9999'")
    check_database(engine)


def test_older_schema_says_to_migrate(engine: Engine) -> None:
    execute(engine, "UPDATE alembic_version SET version_num = '0005'")
    with pytest.raises(DatabaseUnavailable, match="halftone migrate"):
        check_database(engine)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_database_that_cannot_hold_every_character_is_refused(
    postgres: TestPostgres, encoding: str
) -> None:
    name = f"encoded_{encoding.lower()}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        made = f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'"
        connection.execute(made.encode())
    with pytest.raises(DatabaseUnavailable, match=f"encoding is {encoding}"):
        migrate(postgres.url(name))
