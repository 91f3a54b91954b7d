"""The `halftone` command: what each subcommand does. Its errors are one line that says what to
do.
"""

import json
import os
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.support.csv_files import HEADER
from tests.support.halftone import PYTHON, Service, environment, free_port
from tests.support.hostile import closing_after, hostile_server
from tests.support.images import jpeg
from tests.support.origin import Answer, Origin
from tests.support.stored import store_request


def test_output_that_cannot_be_written_is_said_before_anything_is_uploaded(
    service: Service, tmp_path: Path
) -> None:
    source = tmp_path / "products.csv"
    source.write_text(f"{HEADER}1,SKU1,http://shop.example/a.jpg\n")
    before = service.http.get("/api/requests").json()
    answer = _halftone(
        "submit",
        str(source),
        "--url",
        service.url,
        "--output",
        str(tmp_path / "nowhere" / "out.csv"),
    )
    assert answer.returncode == 2
    assert "cannot be written" in answer.stderr
    assert service.http.get("/api/requests").json() == before


def test_progress_is_a_bar_on_a_terminal(service: Service, tmp_path: Path, origin: Origin) -> None:
    slow = origin.serve("/slow.jpg", Answer(jpeg(), delay_seconds=2))
    source = tmp_path / "products.csv"
    source.write_text(f"{HEADER}1,SKU1,{slow}\n")
    command = [PYTHON, "-m", "halftone_cli", "submit", str(source), "--url", service.url]
    variables = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    terminal, theirs = os.openpty()
    with subprocess.Popen([*command, "--wait"], env=variables, stdout=theirs, stderr=theirs) as run:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # the end of a terminal
            while some := os.read(terminal, 65536):
                shown += some
    os.close(terminal)
    assert run.returncode == 0, shown.decode()
    text = shown.decode()
    assert "━" in text
    assert "0/1 product " in text
    assert re.search(r"COMPLETED.*1/1 product 1 image, \d+ kB saved", text)


def test_database_that_cannot_be_reached_is_said(tmp_path: Path) -> None:
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    settings = environment(tmp_path, DATABASE_URL=url)
    for program in ([PYTHON, "-m", "halftone_cli", "migrate"], [PYTHON, "-m", "halftone_db"]):
        answer = subprocess.run(program, capture_output=True, text=True, env=settings, check=False)
        assert answer.returncode == 1
        (line,) = answer.stderr.splitlines()
        assert line.startswith("The database cannot be reached: ")


@pytest.mark.parametrize("module", ["halftone_api", "halftone_workers", "halftone_db"])
@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("--port=9000", 2)])
def test_program_that_takes_no_options_says_so_and_does_nothing(
    module: str, argument: str, code: int, tmp_path: Path
) -> None:
    settings = environment(
        tmp_path,
        DATABASE_URL=f"postgresql://nobody@127.0.0.1:{free_port()}/nothing",
        RABBITMQ_URL="in-process",
    )
    answer = subprocess.run(
        [PYTHON, "-m", module, argument],
        capture_output=True,
        text=True,
        env=settings,
        check=False,
        timeout=60,
    )
    assert answer.returncode == code, answer.stderr
    if code == 0:
        assert "Every setting is a variable of the environment" in answer.stdout
        assert answer.stderr == ""
    else:
        assert answer.stderr.endswith(f"error: unrecognized arguments: {argument}\n")
        assert answer.stdout == ""


@pytest.mark.parametrize("command", [["--help"], ["submit", "--help"], ["keys", "list"]])
def test_standard_output_that_takes_nothing_is_a_line(
    tmp_path: Path, database_url: str, command: list[str]
) -> None:
    settings = environment(tmp_path, DATABASE_URL=database_url)
    with Path("/dev/full").open("w") as full:
        answer = subprocess.run(
            [PYTHON, "-m", "halftone_cli", *command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=settings,
            check=False,
        )
    assert (answer.returncode, answer.stderr) == (
        1,
        "halftone cannot go on: No space left on device\n",
    )


def test_demo_that_cannot_write_its_files_is_a_line(tmp_path: Path) -> None:
    (tmp_path / ".halftone").write_text("no folder")
    command = [PYTHON, "-m", "halftone_cli", "demo"]
    answer = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment(tmp_path),
        cwd=tmp_path,
        check=False,
    )
    assert answer.returncode == 1
    assert answer.stderr == "halftone cannot go on: Not a directory: .halftone/demo\n"


@pytest.mark.parametrize(
    "url", ["halftone", "mysql://h/x", "postgresql://h:port/x", "postgresql://h/x?bogus=1"]
)
@pytest.mark.parametrize(
    "command", [["migrate"], ["keys", "list"], ["doctor"], ["queues", "--once"]]
)
def test_bad_database_url_is_said_by_every_command(
    tmp_path: Path, url: str, command: list[str]
) -> None:
    answer = _halftone(*command, env=environment(tmp_path, DATABASE_URL=url))
    assert answer.returncode == 2
    assert f"HALFTONE_DATABASE_URL={url!r}: expected postgresql://" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_home_may_be_named_from_the_users_folder(tmp_path: Path) -> None:
    there = tmp_path / "shop"
    answer = _halftone(
        "keys", "list", "--home=~/shop", env=environment(tmp_path) | {"HOME": str(tmp_path)}
    )
    assert answer.returncode == 1
    assert f"no database under {there}:" in answer.stderr
    assert not there.exists()


def test_key_may_have_any_printable_name(tmp_path: Path, database_url: str) -> None:
    keys = partial(_halftone, "keys", env=environment(tmp_path, DATABASE_URL=database_url))
    names = ("[/x]", "shop [red] 1", "名前")
    for name in names:
        made = keys("create", name)
        assert made.returncode == 0, made.stderr
        assert made.stdout.strip()
        assert name in made.stderr
    listed = keys("list").stdout
    assert [name for name in names if name not in listed] == []
    for name in ("", "x" * 201, "two\nlines"):
        refused = keys("create", name)
        assert refused.returncode == 2
        assert "1 to 200 printable characters" in refused.stderr


def test_key_can_be_revoked_by_what_the_list_shows(tmp_path: Path, database_url: str) -> None:
    keys = partial(
        _halftone, "keys", env=environment(tmp_path, DATABASE_URL=database_url), columns=80
    )
    for name in ("anna", "n" * 200):
        assert keys("create", name).returncode == 0
    for row in (1, 0):
        listed = [
            line.split()[0]
            for line in keys("list").stdout.splitlines()
            if re.match(r"[0-9a-f]{8}-", line)
        ]
        assert len(listed) == 2
        revoked = keys("revoke", listed[row])
        assert revoked.returncode == 0, revoked.stderr


def test_warning_and_product_have_a_line_each_however_long(
    service: Service, origin: Origin, tmp_path: Path
) -> None:
    name, bad_url = "name " * 39 + "name", "ftp://shop.example/" + "x" * 120
    source = tmp_path / "products.csv"
    source.write_text(f'{HEADER}1,{name},"{origin.serve("/a.jpg", jpeg())},{bad_url}"\n')
    submitted = _halftone("submit", str(source), "--url", service.url, columns=80)
    accepted, warning, _ = submitted.stdout.splitlines()
    assert warning.startswith("  line 2, Input Image Urls: ")
    assert warning.endswith(f"({bad_url!r})")
    request_id = accepted.split()[1].rstrip(":")
    service.ended(request_id)
    title, *_ = _halftone(
        "details", request_id, "--url", service.url, columns=80
    ).stdout.splitlines()
    assert title == f"line 2: {name} [COMPLETED]"


def test_name_has_no_say_over_the_terminal(service: Service, origin: Origin) -> None:
    request_id = service.accepted(f"{HEADER}1,SKU1\x1b[31m,{origin.serve('/a.jpg', jpeg())}\n")
    service.ended(request_id)
    shown = _halftone("details", request_id, "--url", service.url)
    assert "line 2: SKU1\ufffd[31m [COMPLETED]" in shown.stdout


def test_running_requests_are_listed_with_whole_ids(
    tmp_path: Path, database_url: str, engine: Engine
) -> None:
    request_id = store_request(engine, 1_000)
    narrow = environment(tmp_path, DATABASE_URL=database_url)
    assert str(request_id) in _halftone("queues", "--once", env=narrow, columns=80).stdout


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
    assert shown.stdout.splitlines() == expected.splitlines()
    bracketed = download(str(tmp_path / "o[draft].csv"))
    assert "o[draft].csv" in bracketed.stdout


def test_download_that_breaks_off_leaves_the_output_as_it_was(tmp_path: Path) -> None:
    output = tmp_path / "output.csv"
    output.write_text("yesterday's")
    with hostile_server(
        closing_after(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf a CSV")
    ) as server:
        answer = _halftone("download", "any", "--url", server.url, "--output", str(output))
    assert (answer.returncode, answer.stderr.count("broke")) == (4, 1)
    assert output.read_text() == "yesterday's"
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("command", ["download", "submit"])
def test_csv_on_standard_output_stands_behind_what_is_there(
    service: Service, origin: Origin, tmp_path: Path, command: str
) -> None:
    source, log = tmp_path / "products.csv", tmp_path / "log"
    source.write_text(f"{HEADER}1,SKU1,{origin.serve('/a.jpg', jpeg())}\n")
    request_id = service.accepted(source.read_text())
    service.ended(request_id)
    log.write_bytes(b"before\n")
    subject = str(source) if command == "submit" else request_id
    arguments = [
        PYTHON,
        "-m",
        "halftone_cli",
        command,
        subject,
        "--url",
        service.url,
        "--output",
        "/dev/stdout",
    ]
    with log.open("ab") as opened:
        answer = subprocess.run(
            arguments, stdout=opened, stderr=subprocess.PIPE, text=True, check=True
        )
    before, header, row = log.read_text().splitlines()
    assert (before, header) == ("before", f"{HEADER.strip()},Output Image Urls")
    assert row.startswith("1,SKU1,")
    assert "Written: /dev/stdout" in answer.stderr


def test_name_that_the_terminal_has_no_signs_for_is_no_traceback(service: Service) -> None:
    request_id = service.accepted(f"{HEADER}1,Vase äöü \N{AMPHORA},http://127.0.0.1:1/a.jpg\n")
    latin = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command = [PYTHON, "-m", "halftone_cli", "details", request_id, "--url", service.url]
    shown = subprocess.run(command, capture_output=True, env=latin, check=True).stdout.decode(
        "latin-1"
    )
    assert shown.startswith("line 2: Vase äöü ? [")


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["status", "x\ny"], 1),
        (["status", "../../healthz"], 1),
        (["details", os.fsdecode(b"\xff")], 1),
        (["status", "1", "--url", "http://[::1"], 4),
    ],
)
def test_odd_arguments_are_no_tracebacks(
    service: Service, arguments: list[str], exit_code: int
) -> None:
    named = arguments if "--url" in arguments else [*arguments, "--url", service.url]
    answer = _halftone(*named)
    assert answer.returncode == exit_code
    assert answer.stderr.strip()
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    ("key", "exit_code", "said"),
    [("ht_key\n", 1, "There is no request"), ("ht_clé", 4, "HALFTONE_API_KEY is not an API key")],
)
def test_key_may_end_in_a_line_and_else_is_named(
    service: Service, key: str, exit_code: int, said: str
) -> None:
    answer = _halftone(
        "status", "none", "--url", service.url, env={**os.environ, "HALFTONE_API_KEY": key}
    )
    assert answer.returncode == exit_code
    assert answer.stderr.startswith(said)


def test_what_is_no_halftone_is_said(origin: Origin) -> None:
    origin.serve("/api/status/1", jpeg())
    for request_id, exit_code in (("1", 4), ("2", 1)):  # an image, and a 404
        answer = _halftone("status", request_id, "--url", origin.url)
        assert answer.returncode == exit_code
        assert "as halftone does" in answer.stderr


def test_submit_waits_and_writes_the_output(
    service: Service, origin: Origin, tmp_path: Path
) -> None:
    source = tmp_path / "products.csv"
    source.write_text(f"{HEADER}1,SKU1,{origin.serve('/a.jpg', jpeg())}\n")
    answer = _halftone(
        "submit", str(source), "--url", service.url, "--wait", "--output", str(tmp_path / "out.csv")
    )
    assert answer.returncode == 0, answer.stderr
    assert "COMPLETED (succeeded), 100 %" in answer.stdout
    assert (tmp_path / "out.csv").read_text().count("/api/image/") == 1


def test_submit_exits_with_1_when_nothing_succeeds(
    service: Service, origin: Origin, tmp_path: Path
) -> None:
    source = tmp_path / "products.csv"
    source.write_text(f"{HEADER}1,SKU1,{origin.url}/missing.jpg\n")
    assert _halftone("submit", str(source), "--url", service.url, "--wait").returncode == 1


def test_submit_waits_on_while_halftone_is_away(origin: Origin, tmp_path: Path) -> None:
    answer = _submit_to(
        origin,
        tmp_path,
        [
            _RUNNING,
            _RUNNING,
            _problem(503),
            Answer(status=-1),
            Answer(b"<html>", 502),
            _RUNNING,
            _ENDED,
        ],
    )
    assert answer.returncode == 0, answer.stderr
    assert "COMPLETED (succeeded), 100 %" in answer.stdout


def test_accepted_upload_never_exits_as_refused(origin: Origin, tmp_path: Path) -> None:
    answer = _submit_to(origin, tmp_path, [_RUNNING, _problem(401)])
    assert answer.returncode == 1
    assert "Away, or not yours." in answer.stderr


@pytest.mark.parametrize(
    "name", [b"/dev/stdin", b"caf\xe9.csv"], ids=["a pipe", "a name in Latin-1"]
)
def test_upload_may_come_from(service: Service, tmp_path: Path, name: bytes) -> None:
    content = f"{HEADER}1,SKU1,http://shop.example/a.jpg\n".encode()
    source = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118 - bytes
    if name != b"/dev/stdin":
        Path(os.fsdecode(source)).write_bytes(content)
    command = [PYTHON, "-m", "halftone_cli", "submit", os.fsdecode(source), "--url", service.url]
    answer = subprocess.run(command, input=content, capture_output=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert b"1 product, 1 image" in answer.stdout


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
    answer = _halftone(
        "status", "8243ff57-4d97-4733-bd91-3bb51286b55e", "--url", f"http://127.0.0.1:{free_port()}"
    )
    assert answer.returncode == 4
    assert "No halftone answers at" in answer.stderr
    assert "halftone up` starts one" in answer.stderr


COMMANDS = [
    "up",
    "demo",
    "submit",
    "check",
    "requests",
    "status",
    "details",
    "download",
    "cancel",
    "retry",
    "delete",
    "webhooks",
    "presets",
    "migrate",
    "doctor",
    "queues",
]
GROUPS = {"keys": ["create", "list", "revoke"], "origins": ["set", "list", "remove"]}
IN_GROUPS = [f"{group} {name}" for group, names in GROUPS.items() for name in names]


@pytest.mark.parametrize("command", ["", *COMMANDS, *GROUPS, *IN_GROUPS])
def test_every_command_explains_itself(command: str) -> None:
    answer = _halftone(*command.split(), "--help")
    assert answer.returncode == 0
    assert "Usage: " in answer.stdout


def _halftone(
    *arguments: str, env: Mapping[str, str] = os.environ, columns: int = 120
) -> "subprocess.CompletedProcess[str]":
    command = [PYTHON, "-m", "halftone_cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**env, "COLUMNS": str(columns)}
    )


_COUNTS = {
    f"{counted}_{things}": int(counted in ("total", "processed"))
    for counted in ("total", "processed", "failed", "cancelled", "kept_original")
    for things in ("products", "images")
}
_STATUS = _COUNTS | {
    "request_id": "1",
    "csv_filename": "products.csv",
    "created_at": "2026-01-01T00:00:00.000Z",
    "updated_at": "2026-01-01T00:00:00.000Z",
    "bytes_in": 2,
    "bytes_out": 1,
    "bytes_saved": 1,
    "output_csv_url": None,
    "webhook": None,
}


def _status(**members: object) -> Answer:
    return Answer(
        json.dumps(_STATUS | members).encode(), headers={"Content-Type": "application/json"}
    )


_RUNNING = _status(status="PROCESSING", outcome=None, progress=0, completed_at=None)
_ENDED = _status(
    status="COMPLETED", outcome="succeeded", progress=100, completed_at="2026-01-01T00:00:00.000Z"
)


def _problem(status: int) -> Answer:
    body = json.dumps({"detail": "Away, or not yours."}).encode()
    return Answer(body, status, {"Content-Type": "application/problem+json"})


def _submit_to(
    origin: Origin, folder: Path, statuses: list[Answer]
) -> "subprocess.CompletedProcess[str]":
    """`halftone submit --wait` to a server that accepts every upload and then gives these responses
    to status calls.
    """
    accepted = {
        "message": "CSV received and processing started.",
        "request_id": "1",
        "status": "PENDING",
        "total_products": 1,
        "total_images": 1,
        "warning_count": 0,
        "warnings": [],
    }
    origin.serve("/api/upload", Answer(json.dumps(accepted).encode(), 202))
    origin.serve("/api/status/1", partial(next, iter(statuses)))
    (folder / "products.csv").write_text(f"{HEADER}1,SKU1,http://shop.example/a.jpg\n")
    return _halftone("submit", str(folder / "products.csv"), "--url", origin.url, "--wait")
