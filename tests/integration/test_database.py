"""Connections to a PostgreSQL with unusual settings."""

import os
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from halftone_shared.db.barrier import settle_products
from halftone_shared.db.engine import check_database, is_unavailable, make_engine
from halftone_shared.errors import DatabaseUnavailable
from halftone_shared.model.results import ProductKey
from halftone_workers.jobs.product import ProductJobs
from tests.support.api import ONE_ROW, api_settings, running_api, stored_rows
from tests.support.relay import relayed_postgres
from tests.support.routes import problem_of
from tests.support.runtime import running_runtime
from tests.support.stored import execute, query, store_request


@pytest.fixture
def alter(database_url: str) -> Callable[[str], None]:
    """Change a setting for all later connections to the test's database."""

    def set_or_reset(what: str) -> None:
        name = database_url.rpartition("?")[0].rpartition("/")[2]
        with psycopg.connect(
            database_url, autocommit=True, options="-c default_transaction_read_only=off"
        ) as admin:
            admin.execute(f"ALTER DATABASE {name} {what}".encode())

    return set_or_reset


def test_times_and_rows_are_read_as_ever(engine: Engine, alter: Callable[[str], None]) -> None:
    alter("SET datestyle = 'SQL, DMY'")
    alter("SET default_transaction_isolation = 'serializable'")
    alter("SET client_encoding = 'LATIN1'")
    row = query(engine, "SELECT now() - interval '1 day' AS then, now(), '日本' AS name")[0]
    assert row.now - row.then == timedelta(days=1)
    assert row.name == "日本"
    assert query(engine, "SHOW transaction_isolation")[0][0] == "read committed"


@pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"),
    reason="other systems name or keep some of it otherwise",
)
def test_host_that_vanished_is_given_up_after_half_a_minute(database_url: str) -> None:
    with relayed_postgres(database_url) as (_, url):
        assert _patience(url) == (30_000, 10, 10, 2)
        assert _patience(f"{url}?tcp_user_timeout=5000&keepalives_count=4") == (5_000, 10, 10, 4)


def _patience(url: str) -> tuple[int, ...]:
    """TCP timeouts of a connection: for unacknowledged data in ms; until the first keepalive and
    between keepalives in seconds; and the number of keepalives.
    """
    engine = make_engine(url, pool_size=1)
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        with socket.socket(fileno=os.dup(driver.fileno())) as connected:
            options = (
                socket.TCP_USER_TIMEOUT,
                socket.TCP_KEEPIDLE,
                socket.TCP_KEEPINTVL,
                socket.TCP_KEEPCNT,
            )
            patience = tuple(connected.getsockopt(socket.IPPROTO_TCP, option) for option in options)
    engine.dispose()
    return patience


def test_read_only_database_is_one_that_is_away(
    engine: Engine, alter: Callable[[str], None]
) -> None:
    check_database(engine)
    alter("SET default_transaction_read_only = on")
    engine.dispose()
    with pytest.raises(DatabaseUnavailable, match="read-only"):
        check_database(engine)
    with pytest.raises(SQLAlchemyError) as refused:
        store_request(engine)
    assert is_unavailable(refused.value)


def test_connections_that_are_read_only_are_left(
    engine: Engine, alter: Callable[[str], None]
) -> None:
    alter("SET default_transaction_read_only = on")
    with engine.connect() as one, engine.connect() as other:
        one.execute(text("SELECT"))
        other.execute(text("SELECT"))
    alter("RESET default_transaction_read_only")
    with pytest.raises(SQLAlchemyError):
        store_request(engine)
    store_request(engine)
    check_database(engine)


def test_worker_waits_for_a_database_that_is_read_only(
    database_url: str, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = store_request(engine)
    settlements: list[Any] = []

    def settle(connection: Connection, settled: Any) -> Any:
        settlements.append(settled)
        if len(settlements) == 1:
            connection.execute(text("SET default_transaction_read_only = on"))
        return settle_products(connection, settled)

    monkeypatch.setattr("halftone_workers.jobs.product.settle_products", settle)
    with running_runtime(database_url, tmp_path) as runtime:
        ProductJobs(runtime).process(ProductKey(request_id, 1))
    assert len(settlements) == 2
    assert query(engine, "SELECT status, attempts FROM products") == [("FAILED", 1)]


def test_upload_to_a_database_that_is_read_only_is_answered_503(
    database_url: str, alter: Callable[[str], None], tmp_path: Path
) -> None:
    alter("SET default_transaction_read_only = on")
    with running_api(api_settings(database_url, tmp_path)) as api:
        problem_of(api.upload(ONE_ROW), 503, "database_unavailable")
        assert problem_of(api.get("/readyz"), 503, "not_ready")["failing"] == ["database"]
        alter("RESET default_transaction_read_only")
        assert api.get("/readyz").status_code == 200
        assert api.upload(ONE_ROW).status_code == 202


def test_upload_that_the_database_breaks_off_is_answered_503(
    database_url: str, engine: Engine, alter: Callable[[str], None], tmp_path: Path
) -> None:
    execute(engine, "ALTER TABLE products ADD CONSTRAINT slow CHECK (pg_sleep(1) IS NOT NULL)")
    alter("SET statement_timeout = '100ms'")
    with running_api(api_settings(database_url, tmp_path)) as api:
        problem_of(api.upload(ONE_ROW), 503, "database_unavailable")
        assert stored_rows(engine)["requests"] == 0
