"""`halftone up` on nothing but this package: it starts, keeps its children running, keeps its data, and stops whole."""

import os
import signal
import subprocess
from functools import partial
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.halftone import PYTHON, Service, environment, free_port, running_up, wait_for
from tests.support.images import jpeg
from tests.support.origin import Origin
from tests.support.postgres import TestPostgres

HEADER = "Serial Number,Product Name,Input Image Urls\n"


def test_children_that_die_are_started_again_and_the_work_goes_on(tmp_path: Path, origin: Origin) -> None:
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


def test_stop_leaves_no_process_behind(tmp_path: Path) -> None:
    with running_up(tmp_path, "--workers", "2") as service:
        family = psutil.Process(service.processes["up"].pid).children(recursive=True)
        assert len([child for child in family if "halftone_workers" in _command(child)]) == 2
        postgres = _postgres(tmp_path)
        assert postgres
    assert [process for process in family if process.is_running()] == []
    assert _postgres(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="scheduling policies are Linux'")
def test_work_on_images_interrupts_nobody_and_answers_to_clients_may(tmp_path: Path, origin: Origin) -> None:
    url = origin.serve("/a.jpg", jpeg())
    with running_up(tmp_path) as service:
        service.ended(service.accepted(f"{HEADER}1,SKU1,{url}\n"))
        (worker,), (api,) = _children(service, "halftone_workers"), _children(service, "halftone_api")
        threads = [thread.id for process in (worker, *worker.children()) for thread in process.threads()]
        assert len(threads) > len(worker.children())
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_BATCH}
        assert os.sched_getscheduler(api.pid) == os.SCHED_OTHER


def test_killed_launcher_leaves_no_api_and_no_worker_behind(tmp_path: Path) -> None:
    port = free_port()
    command = [PYTHON, "-m", "halftone_cli", "up", "--port", str(port), "--home", str(tmp_path / "home")]
    with (tmp_path / "log").open("wb") as log:
        launcher = subprocess.Popen(command, env=environment(tmp_path), stdout=log, stderr=log)
    try:
        wait_for(lambda: "halftone is ready" in (tmp_path / "log").read_text(), 60, "readiness")
        family = psutil.Process(launcher.pid).children(recursive=True)
        launcher.kill()
        launcher.wait()
        wait_for(lambda: not [child for child in family if child.is_running()], 60, "end of the family")
    finally:
        for process in _postgres(tmp_path):
            process.send_signal(signal.SIGINT)


def test_port_in_use_is_said_with_what_to_do(tmp_path: Path, origin: Origin) -> None:
    port = origin.url.rpartition(":")[2]
    command = [PYTHON, "-m", "halftone_cli", "up", "--port", port, "--home", str(tmp_path / "home")]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment(tmp_path), check=False)
    assert answer.returncode == 1
    assert f"127.0.0.1 port {port} cannot be used" in answer.stderr
    assert "--port" in answer.stderr


def test_bad_settings_stop_the_start_and_are_all_named(tmp_path: Path) -> None:
    command = [PYTHON, "-m", "halftone_cli", "up", "--port", str(free_port()), "--home", str(tmp_path / "home")]
    bad = environment(tmp_path, MAX_ROWS="many", CODEC_PROCESSES="0", LOG_LEVEL="loud")
    answer = subprocess.run(command, capture_output=True, text=True, env=bad, check=False, timeout=60)
    assert answer.returncode == 2
    named = {line.partition(": ")[0].strip() for line in answer.stderr.splitlines()[1:]}
    assert named == {"HALFTONE_MAX_ROWS='many'", "HALFTONE_CODEC_PROCESSES='0'", "HALFTONE_LOG_LEVEL='loud'"}
    assert not (tmp_path / "home" / "postgres").exists()


@pytest.mark.parametrize("module", ["halftone_api", "halftone_workers", "halftone_cli"])
def test_storage_that_cannot_be_used_stops_the_start(tmp_path: Path, module: str, database_url: str) -> None:
    (tmp_path / "taken").write_text("a file")
    storage = (tmp_path / "taken").as_uri()
    command = [PYTHON, "-m", module]
    named = {"DATABASE_URL": database_url, "RABBITMQ_URL": f"amqp://127.0.0.1:{free_port()}"}
    if module == "halftone_cli":
        command += ["up", "--port", str(free_port()), "--home", str(tmp_path / "home")]
        named = {}
    settings = environment(tmp_path, STORAGE_URL=storage, **named)
    answer = subprocess.run(command, capture_output=True, text=True, env=settings, check=False, timeout=60)
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr
    assert f"HALFTONE_STORAGE_URL={storage!r}: it cannot be used (" in answer.stderr


def test_output_that_cannot_be_written_is_said_before_anything_is_uploaded(service: Service, tmp_path: Path) -> None:
    source = tmp_path / "products.csv"
    source.write_text(f"{HEADER}1,SKU1,http://shop.example/a.jpg\n")
    before = service.http.get("/api/requests").json()
    answer = _halftone("submit", str(source), "--url", service.url, "--output", str(tmp_path / "nowhere" / "out.csv"))
    assert answer.returncode == 2
    assert "cannot be written" in answer.stderr
    assert service.http.get("/api/requests").json() == before


def test_database_that_cannot_be_reached_is_said(tmp_path: Path) -> None:
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    for program in ([PYTHON, "-m", "halftone_cli", "migrate"], [PYTHON, "-m", "halftone_db"]):
        settings = environment(tmp_path, DATABASE_URL=url)
        answer = subprocess.run(program, capture_output=True, text=True, env=settings, check=False)
        assert answer.returncode == 1
        (line,) = answer.stderr.splitlines()
        assert line.startswith("The database cannot be reached: ")


@pytest.mark.parametrize("url", ["halftone", "mysql://h/x", "postgresql://h:port/x", "postgresql://h/x?bogus=1"])
@pytest.mark.parametrize("command", [["migrate"], ["keys", "list"], ["doctor"], ["queues", "--once"]])
def test_bad_database_url_is_said_by_every_command(tmp_path: Path, url: str, command: list[str]) -> None:
    settings = environment(tmp_path, DATABASE_URL=url)
    program = [PYTHON, "-m", "halftone_cli", *command]
    answer = subprocess.run(program, capture_output=True, text=True, env=settings, check=False)
    assert answer.returncode == 2
    assert f"HALFTONE_DATABASE_URL={url!r}: expected postgresql://" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_key_may_have_any_printable_name(tmp_path: Path, database_url: str) -> None:
    def keys(*arguments: str) -> "subprocess.CompletedProcess[str]":
        settings = environment(tmp_path, DATABASE_URL=database_url) | {"COLUMNS": "150"}
        program = [PYTHON, "-m", "halftone_cli", "keys", *arguments]
        return subprocess.run(program, capture_output=True, text=True, env=settings, check=False)

    for name in ("[/x]", "shop [red] 1", "名前"):
        made = keys("create", name)
        assert made.returncode == 0, made.stderr
        assert made.stdout.strip()
        assert name in made.stderr
        assert name in keys("list").stdout
    for name in ("", "x" * 201, "two\nlines"):
        refused = keys("create", name)
        assert refused.returncode == 2
        assert "1 to 200 printable characters" in refused.stderr


def test_output_may_be_a_link_or_a_pipe(service: Service, origin: Origin, tmp_path: Path) -> None:
    request_id = service.accepted(f"{HEADER}1,SKU1,{origin.serve('/a.jpg', jpeg())}\n")
    service.ended(request_id)
    download = partial(_halftone, "download", request_id, "--url", service.url, "--output")
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    target.write_text("old")
    link.symlink_to(target)
    assert download(str(link)).returncode == 0
    assert link.is_symlink()
    expected = target.read_text()
    assert expected.count("/api/image/") == 1
    shown = download("/dev/stdout")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(expected.splitlines()[0])
    bracketed = download(str(tmp_path / "o[draft].csv"))
    assert "o[draft].csv" in bracketed.stdout


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["status", "x\ny"], 1),
        (["status", "../../healthz"], 1),
        (["details", os.fsdecode(b"\xff")], 1),
        (["status", "1", "--url", "http://[::1"], 3),
    ],
)
def test_odd_arguments_are_no_tracebacks(service: Service, arguments: list[str], exit_code: int) -> None:
    named = arguments if "--url" in arguments else [*arguments, "--url", service.url]
    answer = _halftone(*named)
    assert answer.returncode == exit_code
    assert answer.stderr.strip()
    assert "Traceback" not in answer.stderr


def test_what_is_no_halftone_is_said(origin: Origin) -> None:
    origin.serve("/api/status/1", jpeg())
    for request_id, exit_code in (("1", 3), ("2", 1)):  # something, and an error
        answer = _halftone("status", request_id, "--url", origin.url)
        assert answer.returncode == exit_code
        assert "as halftone does" in answer.stderr


def test_submit_waits_and_writes_the_output(service: Service, origin: Origin, tmp_path: Path) -> None:
    source = tmp_path / "products.csv"
    source.write_text(f"{HEADER}1,SKU1,{origin.serve('/a.jpg', jpeg())}\n")
    answer = _halftone("submit", str(source), "--url", service.url, "--wait", "--output", str(tmp_path / "out.csv"))
    assert answer.returncode == 0, answer.stderr
    assert "COMPLETED (succeeded), 100 %" in answer.stdout
    assert (tmp_path / "out.csv").read_text().count("/api/image/") == 1


def test_submit_exits_with_1_when_nothing_succeeds(service: Service, origin: Origin, tmp_path: Path) -> None:
    source = tmp_path / "products.csv"
    source.write_text(f"{HEADER}1,SKU1,{origin.url}/missing.jpg\n")
    assert _halftone("submit", str(source), "--url", service.url, "--wait").returncode == 1


def test_refused_upload_prints_its_row_errors_one_a_line(service: Service, tmp_path: Path) -> None:
    source = tmp_path / "products.csv"
    source.write_text(f"{HEADER}one,SKU1,http://shop.example/a.jpg\n2,,http://shop.example/b.jpg\n")
    answer = _halftone("submit", str(source), "--url", service.url)
    assert answer.returncode == 2
    lines = [line.strip() for line in answer.stderr.splitlines()]
    assert [line.partition(":")[0] for line in lines if line.startswith("line ")] == [
        "line 2, Serial Number",
        "line 3, Product Name",
    ]


def test_unreachable_service_is_said() -> None:
    answer = _halftone("status", "8243ff57-4d97-4733-bd91-3bb51286b55e", "--url", f"http://127.0.0.1:{free_port()}")
    assert answer.returncode == 3
    assert "No halftone answers at" in answer.stderr


@pytest.mark.parametrize("command", [[], ["up"], ["demo"], ["submit"], ["status"], ["details"], ["keys"], ["migrate"]])
def test_every_command_explains_itself(command: list[str]) -> None:
    answer = _halftone(*command, "--help")
    assert answer.returncode == 0
    assert "Usage: " in answer.stdout


def _halftone(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [PYTHON, "-m", "halftone_cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "120"})


def _children(service: Service, module: str) -> list[psutil.Process]:
    children = psutil.Process(service.processes["up"].pid).children()
    return [child for child in children if module in _command(child)]


def _others(service: Service, module: str, killed: psutil.Process) -> list[psutil.Process]:
    return [child for child in _children(service, module) if child != killed]


def _is_ready(service: Service) -> bool:
    try:
        return service.http.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def _postgres(folder: Path) -> list[psutil.Process]:
    data = str(folder / "home" / "postgres")
    return [
        process
        for process in psutil.process_iter()
        if (command := _command(process)) and "postgres" in command[0] and data in command
    ]


def _command(process: psutil.Process) -> list[str]:
    """A running process's command line; nothing for one that has ended."""
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
