"""`halftone up` on nothing but this package: it starts, restarts its children, keeps its data, and
stops completely.
"""

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from halftone_cli import up
from halftone_cli.embedded_postgres import EmbeddedPostgres, PostgresUnavailable
from halftone_cli.home import Home
from halftone_db import migrate
from tests.support.csv_files import HEADER
from tests.support.halftone import (
    PYTHON,
    Service,
    environment,
    free_port,
    running_up,
    up_command,
    wait_for,
)
from tests.support.images import jpeg
from tests.support.origin import Origin
from tests.support.postgres import TestPostgres


def test_children_that_die_are_started_again_and_the_work_goes_on(
    tmp_path: Path, origin: Origin
) -> None:
    url = origin.serve("/a.jpg", jpeg())
    with running_up(tmp_path) as service:
        for module in ("halftone_api", "halftone_workers"):
            (killed,) = _children(service, module)
            killed.kill()
            wait_for(partial(_others, service, module, killed), what=f"new {module}")
            wait_for(lambda: _is_ready(service), what="readiness")
            request_id = service.accepted(f"{HEADER}1,SKU1,{url}\n")
            assert service.ended(request_id)["status"] == "COMPLETED"


def test_state_outlives_a_restart(tmp_path: Path, origin: Origin) -> None:
    url = origin.serve("/a.jpg", jpeg())
    with running_up(tmp_path) as service:
        request_id = service.accepted(f"{HEADER}1,SKU1,{url}\n")
        service.ended(request_id)
        name = service.products(request_id)[0]["output_image_urls"][0].rpartition("/")[2]
        secret = (tmp_path / "home" / "webhook_secret").read_text()
    with running_up(tmp_path) as service:
        assert service.status(request_id)["status"] == "COMPLETED"
        assert service.http.get(f"/api/image/{name}").status_code == 200
        assert (tmp_path / "home" / "webhook_secret").read_text() == secret


def test_proxy_of_the_environment_does_not_stand_between_the_service_and_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    with running_up(tmp_path) as service:
        wait_for(lambda: "halftone is ready" in service.log.read_text(), what="announcement")


def test_port_of_the_environment_is_served_and_a_misspelt_variable_is_warned_of_once(
    tmp_path: Path,
) -> None:
    variables = environment(tmp_path, storage_uri="file:///elsewhere", api_port=str(free_port()))
    command = [PYTHON, "-m", "halftone_cli", "up", "--home", str(tmp_path / "home")]
    with (tmp_path / "log").open("wb") as log:
        launcher = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
        try:
            address = f"ready: http://127.0.0.1:{variables['HALFTONE_API_PORT']}"
            wait_for(lambda: address in (tmp_path / "log").read_text(), what="announcement")
        finally:
            launcher.terminate()
            assert launcher.wait(60) == 0
    said = (tmp_path / "log").read_text()
    assert said.count("HALFTONE_STORAGE_URI is not a halftone setting") == 1
    assert "Did you mean HALFTONE_STORAGE_URL?" in said


def test_stop_leaves_no_process_behind(tmp_path: Path) -> None:
    with running_up(tmp_path, "--workers", "2") as service:
        family = psutil.Process(service.processes["up"].pid).children(recursive=True)
        assert len([child for child in family if "halftone_workers" in _command(child)]) == 2
        postgres = _postgres(tmp_path)
        assert postgres
    assert [process for process in family if process.is_running()] == []
    assert _postgres(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="scheduling policies are Linux'")
def test_work_on_images_interrupts_nobody_and_answers_to_clients_may(
    service: Service, origin: Origin
) -> None:
    url = origin.serve("/a.jpg", jpeg())
    service.ended(service.accepted(f"{HEADER}1,SKU1,{url}\n"))
    (worker,), (api,) = _members(service, "halftone_workers"), _members(service, "halftone_api")
    threads = [
        thread.id for process in (worker, *worker.children()) for thread in process.threads()
    ]
    assert len(threads) > len(worker.children()) > 0
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_BATCH}
    assert os.sched_getscheduler(api.pid) == os.SCHED_OTHER


def test_killed_launcher_leaves_no_api_and_no_worker_behind(tmp_path: Path) -> None:
    port = free_port()
    command = up_command(tmp_path / "home", port)
    with (tmp_path / "log").open("wb") as log:
        launcher = subprocess.Popen(command, env=environment(tmp_path), stdout=log, stderr=log)
    try:
        wait_for(lambda: "halftone is ready" in (tmp_path / "log").read_text(), 60, "readiness")
        family = psutil.Process(launcher.pid).children(recursive=True)
        launcher.kill()
        launcher.wait()
        wait_for(
            lambda: not [child for child in family if child.is_running()], 60, "end of the family"
        )
    finally:
        for process in _postgres(tmp_path):
            process.send_signal(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("awaited", ["home/postgres/PG_VERSION", "home/postgres/postmaster.pid"])
def test_launcher_that_is_told_to_stop_while_it_starts_stops_all(
    tmp_path: Path, number: int, awaited: str
) -> None:
    command = up_command(tmp_path / "home", free_port())
    launcher = subprocess.Popen(command, env=environment(tmp_path))
    try:
        wait_for(
            lambda: (tmp_path / awaited).exists(), 60, "start of PostgreSQL", every_seconds=0.01
        )
        launcher.send_signal(number)
        assert launcher.wait(60) == 0
        assert _postgres(tmp_path) == []
    finally:
        launcher.kill()
        launcher.wait()
        for process in _postgres(tmp_path):
            process.send_signal(signal.SIGINT)


@pytest.mark.parametrize(
    "stop",
    [
        lambda launcher: os.killpg(launcher.pid, signal.SIGINT),  # Ctrl-C in a terminal
        lambda launcher: launcher.terminate(),
    ],
    ids=["ctrl-c", "sigterm"],
)
def test_launcher_whose_migration_waits_for_another_can_be_stopped(
    tmp_path: Path, database_url: str, stop: "Callable[[subprocess.Popen[bytes]], None]"
) -> None:
    lock = int.from_bytes(b"halftone")
    command = up_command(tmp_path / "home", free_port())
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (lock,))
        launcher = subprocess.Popen(
            command, env=environment(tmp_path, database_url=database_url), start_new_session=True
        )
        try:
            waiting = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            wait_for(lambda: other.execute(waiting).fetchone() is not None, 60, "migration")
            stop(launcher)
            assert launcher.wait(30) == 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(launcher.pid, signal.SIGKILL)
            launcher.wait()


def test_terminal_that_is_closed_stops_all(tmp_path: Path) -> None:
    with running_up(tmp_path) as service:
        service.processes["up"].send_signal(signal.SIGHUP)
        assert service.processes["up"].wait(60) == 0
        assert _postgres(tmp_path) == []


def test_launcher_that_cannot_migrate_leaves_no_postgresql_behind(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "home" / "postgres")
    postgres.start()
    migrate(postgres.url)
    with psycopg.connect(postgres.url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'newer'")
    postgres.stop()
    command = up_command(tmp_path / "home", free_port())
    answer = subprocess.run(
        command, capture_output=True, text=True, env=environment(tmp_path), check=False
    )
    assert answer.returncode == 1
    assert "The database cannot be migrated: " in answer.stderr
    assert _postgres(tmp_path) == []


def test_embedded_postgresql_has_connections_for_all_that_is_started(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = up_command(home, free_port(), "--workers", "3")
    launcher = subprocess.Popen(command, env=environment(tmp_path, database_pool_size="100"))
    try:
        wait_for((home / "postgres" / "postmaster.pid").exists, 60, "start of PostgreSQL")
        found = wait_for(partial(_max_connections, home), 60, "answer of PostgreSQL")
    finally:
        launcher.terminate()
        assert launcher.wait(60) == 0
    # The API's pool and 5 more; a worker's 6, and 4 for dispatcher and sweeper; and the 3 that
    # PostgreSQL reserves.
    assert found >= 100 + 5 + 3 * 10 + 3


def _max_connections(home: Path) -> int | None:
    """None while PostgreSQL starts."""
    try:
        with psycopg.connect(EmbeddedPostgres(home / "postgres").url) as connection:
            (found,) = connection.execute(
                "SELECT current_setting('max_connections')::int"
            ).fetchall()
            return int(found[0])
    except (PostgresUnavailable, psycopg.OperationalError):
        return None


def test_port_in_use_is_said_with_what_to_do(tmp_path: Path, origin: Origin) -> None:
    port = origin.url.rpartition(":")[2]
    command = [PYTHON, "-m", "halftone_cli", "up", "--port", port, "--home", str(tmp_path / "home")]
    answer = subprocess.run(
        command, capture_output=True, text=True, env=environment(tmp_path), check=False
    )
    assert answer.returncode == 1
    assert f"127.0.0.1 port {port} cannot be used" in answer.stderr
    assert "--port" in answer.stderr


def test_metrics_port_in_use_is_said_and_not_tried_for_ever(tmp_path: Path) -> None:
    first = free_port(3)
    taken, last = first + 1, first + 2
    with socket.create_server(("127.0.0.1", taken)):
        for port, metrics_port, refused in ((free_port(), first, taken), (last, last, last)):
            settings = environment(tmp_path, metrics_port=str(metrics_port))
            command = up_command(tmp_path / "home", port, "--workers", "2")
            answer = subprocess.run(
                command, capture_output=True, text=True, env=settings, check=False
            )
            assert answer.returncode == 1
            (line,) = answer.stderr.splitlines()
            reason = f"127.0.0.1 port {refused} cannot be used: Address already in use."
            assert line == f"{reason} Name another with HALFTONE_METRICS_PORT."


def test_readiness_that_nobody_can_read_is_no_failure(
    origin: Origin, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    port = int(origin.serve("/readyz", b"ready").removesuffix("/readyz").rpartition(":")[2])
    monkeypatch.setattr(up, "READY_TIMEOUT_SECONDS", 1.0)
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        up._announce("127.0.0.1", port, origin.url)
        monkeypatch.undo()
        with suppress(OSError):
            full.close()
    assert origin.hits["/readyz"] == 1


def test_home_that_cannot_be_used_is_said_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    command = up_command(tmp_path / "home", free_port())
    answer = subprocess.run(
        command, capture_output=True, text=True, env=environment(tmp_path), check=False
    )
    assert answer.returncode == 1
    assert (
        answer.stderr
        == f"{str(tmp_path / 'home')!r} cannot be used: File exists. Name another with --home.\n"
    )


def test_secret_that_a_full_disk_left_empty_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "webhook_secret").touch()
    home = Home.at(tmp_path)
    assert home.secret("webhook_secret", "made") == "made"
    assert home.secret("webhook_secret", "another") == "made"


def test_bad_settings_stop_the_start_and_are_all_named(tmp_path: Path) -> None:
    command = up_command(tmp_path / "home", free_port())
    bad = environment(tmp_path, MAX_ROWS="many", CODEC_PROCESSES="0", LOG_LEVEL="loud")
    answer = subprocess.run(
        command, capture_output=True, text=True, env=bad, check=False, timeout=60
    )
    assert answer.returncode == 2
    named = {line.partition(": ")[0].strip() for line in answer.stderr.splitlines()[1:]}
    assert named == {
        "HALFTONE_MAX_ROWS='many'",
        "HALFTONE_CODEC_PROCESSES='0'",
        "HALFTONE_LOG_LEVEL='loud'",
    }
    assert not (tmp_path / "home" / "postgres").exists()


@pytest.mark.parametrize("module", ["halftone_api", "halftone_workers", "halftone_cli"])
def test_storage_that_cannot_be_used_stops_the_start(
    tmp_path: Path, module: str, database_url: str
) -> None:
    (tmp_path / "taken").write_text("a file")
    storage = (tmp_path / "taken").as_uri()
    command = [PYTHON, "-m", module]
    named = {"DATABASE_URL": database_url, "RABBITMQ_URL": f"amqp://127.0.0.1:{free_port()}"}
    if module == "halftone_cli":
        command += ["up", "--port", str(free_port()), "--home", str(tmp_path / "home")]
        named = {}
    settings = environment(tmp_path, STORAGE_URL=storage, **named)
    answer = subprocess.run(
        command, capture_output=True, text=True, env=settings, check=False, timeout=60
    )
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr
    assert f"HALFTONE_STORAGE_URL={storage!r}: it cannot be used (" in answer.stderr


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "192.0.2.1", "a..b"], ids=["port in use", "not this machine's", "no host"]
)
def test_address_that_cannot_be_served_on_stops_the_start_of_the_api(
    tmp_path: Path, origin: Origin, host: str
) -> None:
    port = origin.url.rpartition(":")[2]
    variables = environment(
        tmp_path,
        database_url="postgresql://nobody@127.0.0.1:1/none",
        rabbitmq_url="in-process",
        api_host=host,
        api_port=port,
    )
    answer = subprocess.run(
        [PYTHON, "-m", "halftone_api"],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 2
    assert (
        f"HALFTONE_API_HOST={host!r}, HALFTONE_API_PORT={port}: expected an address of this machine"
        in answer.stderr
    )
    assert "Traceback" not in answer.stderr


def _children(service: Service, module: str) -> list[psutil.Process]:
    children = psutil.Process(service.processes["up"].pid).children()
    return [child for child in children if module in _command(child)]


def _members(service: Service, module: str) -> list[psutil.Process]:
    """Its processes of one kind, started by the launcher or by an operator."""
    started = [psutil.Process(process.pid) for process in service.processes.values()]
    family = [member for process in started for member in (process, *process.children())]
    return [member for member in family if module in _command(member)]


def _others(service: Service, module: str, killed: psutil.Process) -> list[psutil.Process]:
    return [child for child in _children(service, module) if child != killed]


def _is_ready(service: Service) -> bool:
    try:
        return service.http.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def _postgres(folder: Path) -> list[psutil.Process]:
    """The first process of the server that uses the home's data folder."""
    data = str(folder / "home" / "postgres")
    return [
        process
        for process in psutil.process_iter(["cwd"])
        if process.info["cwd"] == data and "-D" in _command(process)
    ]


def _command(process: psutil.Process) -> list[str]:
    """A running process's command line, empty for one that has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.mark.parametrize("member", ["halftone_api", "halftone_workers"])
def test_child_whose_parent_is_gone_before_it_has_started_ends(
    tmp_path: Path, postgres: TestPostgres, member: str
) -> None:
    read_end, write_end = os.pipe()
    os.close(write_end)
    settings = environment(
        tmp_path,
        database_url=postgres.new_database(),
        rabbitmq_url="in-process",
        api_port=str(free_port()),
        parent_pipe=str(read_end),
    )
    process = subprocess.Popen([PYTHON, "-m", member], env=settings, pass_fds=[read_end])
    os.close(read_end)
    assert process.wait(30) == 0
