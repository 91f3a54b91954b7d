"""`halftone doctor`: its checks, its findings, its output for scripts, and what it hides."""

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4
from zipfile import ZipFile

import pytest
from sqlalchemy import Engine

from halftone_shared.db.workers import WorkerReport, report_worker
from tests.support.halftone import PYTHON, environment, free_port
from tests.support.stored import execute, store_request

SECRET = "whsec_" + "QUJD" * 12


def test_places_are_said_first_and_each_is_tried(tmp_path: Path, database_url: str) -> None:
    answer = _doctor(tmp_path, database_url)
    assert answer.returncode == 0, answer.stdout
    first, second, third, *others = answer.stdout.splitlines()
    assert first.startswith("Database: postgresql://")
    assert first.endswith("(HALFTONE_DATABASE_URL)")
    assert second == "Broker: not named (HALFTONE_RABBITMQ_URL is not set)"
    assert third == f"Storage: {(tmp_path / 'storage').as_uri()} (HALFTONE_STORAGE_URL)"
    assert "✓ Storage: a file was written, read and deleted." in others
    assert "✓ Database: PostgreSQL is reached and takes writes." in others
    assert list((tmp_path / "storage").rglob("*.jpg")) == []


def test_broker_is_tried(tmp_path: Path, database_url: str, rabbitmq_url: str) -> None:
    answer = _doctor(tmp_path, database_url, RABBITMQ_URL=rabbitmq_url)
    assert (answer.returncode, "✓ Broker: RabbitMQ is reached." in answer.stdout) == (0, True)


def test_all_that_is_away_is_said_and_the_exit_code_is_1(tmp_path: Path) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    (tmp_path / "file").write_text("in the way")
    answer = _doctor(
        tmp_path,
        f"postgresql://nobody@{nowhere}/nothing",
        RABBITMQ_URL=f"amqp://{nowhere}",
        STORAGE_URL=(tmp_path / "file" / "storage").as_uri(),
    )
    assert answer.returncode == 1
    broken = [line for line in answer.stdout.splitlines() if line.startswith("✗")]
    assert [line.split()[1] for line in broken] == ["Broker:", "Storage:", "Database:"]
    assert "3 broken" in answer.stdout


def test_broken_invariant_is_shown_with_its_place(
    tmp_path: Path, database_url: str, engine: Engine
) -> None:
    request_id = store_request(engine, 2)
    execute(engine, "UPDATE requests SET total_products = 3")
    answer = _doctor(tmp_path, database_url)
    assert answer.returncode == 1
    assert f"    {request_id}" in answer.stdout


def test_products_that_wait_without_a_worker_are_broken(
    tmp_path: Path, database_url: str, engine: Engine
) -> None:
    store_request(engine, 2)
    answer = _doctor(tmp_path, database_url)
    assert answer.returncode == 1
    assert "✗ 2 products wait and no worker runs." in answer.stdout


def test_versions_engines_and_clocks_are_compared(
    tmp_path: Path, database_url: str, engine: Engine
) -> None:
    now = datetime.now(UTC)
    with engine.connect() as connection:
        for number, (version, clock) in enumerate(
            [("0.0.1", now), ("0.1.0", now + timedelta(minutes=2)), (None, None)]
        ):
            engines = {"pillow": f"{12 + number}.0.0"} if version else None
            report = WorkerReport(
                uuid4(), "press", number, 0, 2, 0, version=version, engines=engines, clock=clock
            )
            report_worker(connection, report)
    answer = _doctor(tmp_path, database_url)
    assert answer.returncode == 0
    for text in (
        "Worker 0 on press: 0.0.1, this command: ",
        "Worker 2 on press: older than schema 0006.",
        "Workers have different image libraries",
        "Worker 1 on press: its clock is 120 s ahead of the database's.",
    ):
        assert f"! {text}" in answer.stdout


def test_wrong_and_unknown_settings_are_named(tmp_path: Path, database_url: str) -> None:
    answer = _doctor(tmp_path, database_url, MAX_ROWS="many", RABITMQ_URL="amqp://mq")
    assert answer.returncode == 1
    assert "✗ HALFTONE_MAX_ROWS='many'" in answer.stdout
    assert "! HALFTONE_RABITMQ_URL" in answer.stdout
    assert "Did you mean HALFTONE_RABBITMQ_URL?" in answer.stdout


def test_bundle_has_findings_and_settings_and_no_secrets(tmp_path: Path, database_url: str) -> None:
    bundle = tmp_path / "bundle.zip"
    answer = _doctor(
        tmp_path,
        database_url,
        "--bundle",
        str(bundle),
        WEBHOOK_SECRET=SECRET,
        RABBITMQ_URL="amqp://shop:hunter2@127.0.0.1:1",
    )
    assert answer.returncode == 1
    with ZipFile(bundle) as archive:
        files = {name: archive.read(name).decode() for name in archive.namelist()}
    assert {finding["area"] for finding in json.loads(files["findings.json"])} >= {
        "connections",
        "settings",
        "versions",
        "work",
        "data",
    }
    settings = {each["variable"]: each for each in json.loads(files["settings.json"])}
    assert settings["HALFTONE_WEBHOOK_SECRET"]["value"] == "…"
    assert settings["HALFTONE_MAX_ROWS"]["source"] == "default"
    for text in (*files.values(), answer.stdout):
        assert "hunter2" not in text
        assert SECRET not in text


def test_json_is_a_finding_a_line(tmp_path: Path, database_url: str) -> None:
    answer = _doctor(tmp_path, database_url, "--json")
    findings = [json.loads(line) for line in answer.stdout.splitlines()]
    assert {finding["level"] for finding in findings} == {"ok", "warning"}
    quiet = _doctor(tmp_path, database_url, "--quiet")
    assert all(line.startswith("warning: ") for line in quiet.stdout.splitlines())


@pytest.mark.parametrize(
    "command", [["migrate"], ["keys", "list"], ["queues", "--once"], ["retry", "--all"]]
)
def test_operator_is_told_first_which_database_and_storage(
    tmp_path: Path, database_url: str, command: list[str]
) -> None:
    answer = subprocess.run(
        [PYTHON, "-m", "halftone_cli", *command],
        env=environment(tmp_path, DATABASE_URL=database_url),
        capture_output=True,
        text=True,
        check=True,
    )
    database, storage, *_ = answer.stdout.splitlines()
    assert (database.split()[0], storage.split()[0]) == ("Database:", "Storage:")


def _doctor(
    folder: Path, database_url: str, *arguments: str, **settings: str
) -> "subprocess.CompletedProcess[str]":
    variables = environment(folder, DATABASE_URL=database_url, **settings)
    command = [PYTHON, "-m", "halftone_cli", "doctor", *arguments]
    nobody = ["--url", f"http://127.0.0.1:{free_port()}"]
    return subprocess.run(
        [*command, *nobody], env=variables, capture_output=True, text=True, check=False
    )
