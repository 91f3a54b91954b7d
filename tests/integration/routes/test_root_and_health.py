"""The root, and the API's liveness and readiness."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, text

from halftone_api.endpoints import all_endpoints, health
from halftone_shared.db.engine import transaction
from tests.support.api import Api, api_settings, running_api
from tests.support.halftone import free_port, wait_for
from tests.support.hostile import Visitor, hostile_server
from tests.support.postgres import TestPostgres
from tests.support.routes import problem_of
from tests.support.stored import WAITING, query


def test_root_tells_programs_what_there_is(api: Api) -> None:
    response = api.get("/", headers={"Accept": "application/json"})
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body["name"] == "halftone"
    assert re.fullmatch(r"\d+\.\d+.*", body["version"])
    assert all(link.startswith("http://api.example/") for link in body["links"].values())
    paths = {endpoint.path for endpoint in all_endpoints() if endpoint.described}
    assert paths == {link.removeprefix("http://api.example") for link in body["links"].values()}


def test_root_is_a_page_for_browsers(api: Api) -> None:
    accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    response = api.get("/", headers={"Accept": accept})
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "accept" in response.headers["vary"].lower()
    assert "/api/upload" in response.text
    hosts = set(re.findall(r"https?://([^/\s\"'<]+)", response.text))
    assert hosts <= {"api.example"}, "a third party's host"
    assert api.get("/").headers["content-type"] == "application/json"


def test_alive_and_ready(api: Api) -> None:
    assert api.get("/healthz").json() == {"status": "ok"}
    ready = api.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")


def test_readiness_names_the_database_when_it_is_away(tmp_path: Path) -> None:
    dead = f"postgresql://user:hunter2@127.0.0.1:{free_port()}/none"
    with running_api(api_settings(dead, tmp_path)) as api:
        assert api.get("/healthz").status_code == 200
        response = api.get("/readyz")
        problem = problem_of(response, 503, "not_ready")
        answered = problem_of(api.get("/api/requests"), 503, "database_unavailable")
    assert problem["failing"] == ["database"]
    assert "database" in problem["detail"]
    for secret in ("hunter2", "127.0.0.1", "user", str(httpx.URL(dead).port)):
        assert secret not in response.text + str(answered)


def test_readiness_names_a_database_that_has_stalled(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "ANSWER_SECONDS", 0.2)
    with transaction(api.engine) as connection:
        connection.execute(text("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE"))
        problem = problem_of(api.get("/readyz"), 503, "not_ready")
    assert problem["failing"] == ["database"]
    assert problem["detail"] == "database: There was no answer within 0.2 s."
    assert api.get("/readyz").status_code == 200


def test_api_whose_calls_hold_every_connection_is_ready(
    database_url: str, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "ANSWER_SECONDS", 2)

    async def ready_meanwhile(api: Api) -> httpx.Response:
        call = asyncio.create_task(api.http.get("/api/requests"))
        while not query(engine, WAITING):  # noqa: ASYNC110 - it is the database that tells
            await asyncio.sleep(0.01)
        ready = await api.http.get("/readyz")
        holder.rollback()
        await call
        return ready

    with (
        running_api(api_settings(database_url, tmp_path, database_pool_size=1)) as api,
        engine.connect() as other,
    ):
        holder = other.execution_options(isolation_level="READ COMMITTED")
        holder.execute(text("LOCK TABLE requests IN ACCESS EXCLUSIVE MODE"))
        assert api.run(ready_meanwhile(api)).status_code == 200


def test_readiness_names_a_database_that_was_not_migrated(
    postgres: TestPostgres, tmp_path: Path
) -> None:
    with running_api(api_settings(postgres.url("postgres"), tmp_path)) as api:
        problem = problem_of(api.get("/readyz"), 503, "not_ready")
    assert problem["failing"] == ["database"]
    assert "halftone migrate" in problem["detail"]


def test_readiness_names_the_broker_when_it_is_away(database_url: str, tmp_path: Path) -> None:
    with running_api(api_settings(database_url, tmp_path, rabbitmq_url=dead_broker())) as api:
        problem = problem_of(api.get("/readyz"), 503, "not_ready")
    assert problem["failing"] == ["broker"]
    assert "hunter2" not in str(problem)


def test_broker_that_says_nothing_is_named_as_one_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "CHECK_TIMEOUT_SECONDS", 0.2)
    with hostile_server(Visitor.wait_until_gone) as silent:
        problem = health._broker_problem(f"amqp://guest:guest@127.0.0.1:{silent.port}/")
    assert problem == "RabbitMQ cannot be reached (AMQPConnectorStackTimeout)."


def test_api_that_has_stopped_holds_no_connection(
    database_url: str, engine: Engine, tmp_path: Path
) -> None:
    others = (
        "SELECT FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with running_api(api_settings(database_url, tmp_path, rabbitmq_url=dead_broker())) as api:
        assert api.get("/api/requests").status_code == 200
        assert query(engine, others)
    wait_for(lambda: not query(engine, others), 5, "end of the connections")


def dead_broker() -> str:
    return f"amqp://user:hunter2@127.0.0.1:{free_port()}/none"
