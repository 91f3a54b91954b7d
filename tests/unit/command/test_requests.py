"""Commands on requests: what they print for people and for programs, and their exit codes."""

import json
from pathlib import Path

import pytest

from tests.support.command import ACCEPTED, PRODUCT, STATUS, answer, problem, run
from tests.support.csv_files import HEADER
from tests.support.origin import Answer, Origin

DETAILS = answer({"products": [PRODUCT], "next_cursor": None})
PARTIAL = STATUS | {"outcome": "partial", "failed_images": 1, "processed_images": 1}


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "products.csv"
    path.write_text(f"{HEADER}1,Mug,http://shop.example/a.jpg\n")
    return str(path)


@pytest.mark.parametrize(
    ("members", "exit_code"),
    [
        ({}, 0),
        ({"status": "FAILED", "outcome": "failed", "failed_images": 2}, 1),
        ({"status": "CANCELLED", "outcome": None}, 1),
        ({"outcome": "partial", "failed_images": 1}, 3),
    ],
)
def test_exit_code_says_how_the_request_ended(
    origin: Origin, source: str, members: dict[str, object], exit_code: int
) -> None:
    origin.serve("/api/upload", answer(ACCEPTED, 202))
    origin.serve("/api/status/1", answer(STATUS | members))
    origin.serve("/api/details/1?limit=100", DETAILS)
    assert run("submit", source, "--wait", url=origin.url).exit_code == exit_code


def test_failures_are_grouped_by_code_with_what_to_do(origin: Origin, source: str) -> None:
    origin.serve("/api/upload", answer(ACCEPTED, 202))
    origin.serve("/api/status/1", answer(PARTIAL))
    origin.serve("/api/details/1?limit=100", DETAILS)
    shown = run("submit", source, "--wait", url=origin.url).stdout
    assert "blocked_address" in shown
    assert "HALFTONE_FETCH_ALLOW" in shown
    assert "halftone details 1 --failed` lists them" in shown


def test_counts_of_the_status_save_reading_every_product(origin: Origin) -> None:
    origin.serve("/api/status/1", answer(PARTIAL | {"errors_by_code": {"http_error": 1}}))
    assert "http_error" in run("status", "1", url=origin.url).stdout


def test_refused_upload_exits_with_2_and_an_error_a_line(origin: Origin, source: str) -> None:
    row = {"line": 2, "column": "Product Name", "code": "empty_name", "message": "m", "value": ""}
    refusal = problem(422, "invalid_rows", "2 rows are wrong.", errors=[row], error_count=2)
    origin.serve("/api/upload", refusal)
    refused = run("submit", source, url=origin.url)
    assert refused.exit_code == 2
    assert refused.stderr.splitlines() == [
        "2 rows are wrong.",
        "  line 2, Product Name: m ('')",
        "  and 1 more",
    ]
    as_json = json.loads(run("submit", source, "--json", url=origin.url).stdout)
    assert as_json["error"]["problem"]["errors"] == [row]


def test_options_reach_the_form(origin: Origin, source: str) -> None:
    origin.serve("/api/upload", answer(ACCEPTED, 202))
    options = ["--format", "webp", "--quality", "70", "--strict", "--filters", "sharpen,blur:2"]
    secret = ["--webhook-url", "http://shop.example/hook", "--webhook-secret", "whsec_x"]
    assert run("submit", source, *options, *secret, url=origin.url).exit_code == 0
    body = origin.posts[0][2].decode()
    for name, value in (
        ("format", "webp"),
        ("quality", "70"),
        ("strict", "true"),
        ("filters", "sharpen,blur:2"),
        ("webhook_secret", "whsec_x"),
    ):
        assert f'name="{name}"\r\n\r\n{value}\r\n' in body
    assert "scale" not in body


def test_idempotency_key_is_the_callers(origin: Origin, source: str) -> None:
    origin.serve("/api/upload", answer(ACCEPTED, 202))
    run("submit", source, "--idempotency-key", "today", url=origin.url)
    assert origin.posts[0][1]["idempotency-key"] == "today"


def test_value_out_of_bounds_is_refused_before_anything_is_sent(
    origin: Origin, source: str
) -> None:
    refused = run("submit", source, "--quality", "96", url=origin.url)
    assert refused.exit_code == 2
    assert "--quality" in refused.stderr
    assert not origin.posts


def test_quiet_submit_prints_the_id_alone(origin: Origin, source: str) -> None:
    origin.serve("/api/upload", answer(ACCEPTED, 202))
    assert run("submit", source, "--quiet", url=origin.url).stdout == "1\n"


def test_requests_are_listed_one_a_line(origin: Origin) -> None:
    page = answer({"requests": [STATUS, PARTIAL], "next_cursor": None})
    origin.serve("/api/requests?limit=20", page)
    lines = run("requests", url=origin.url).stdout.splitlines()
    assert lines[0].split() == (
        [
            "1",
            "2026-01-01",
            "00:00",
            "COMPLETED",
            "100",
            "%",
            "2",
            "images,",
            "2.0",
            "MB",
            "saved",
            "products.csv",
        ]
    )
    as_json = run("requests", "--json", url=origin.url).stdout.splitlines()
    assert [json.loads(line)["outcome"] for line in as_json] == ["succeeded", "partial"]
    assert run("requests", "-q", url=origin.url).stdout.split() == ["1", "1"]


def test_failed_images_alone_are_listed(origin: Origin) -> None:
    origin.serve("/api/details/1?limit=100", DETAILS)
    shown = run("details", "1", "--failed", url=origin.url).stdout
    assert "127.0.0.1 is private" in shown
    assert "a.jpg" not in shown


def test_download_before_the_end_says_how_far_and_how_to_wait(
    origin: Origin, tmp_path: Path
) -> None:
    refusal = problem(409, "not_ended", "Later.", request_status="PROCESSING", progress=41.7)
    origin.serve("/api/download/1", refusal)
    refused = run("download", "1", "-o", str(tmp_path / "out.csv"), url=origin.url)
    assert refused.exit_code == 1
    assert "PROCESSING, 41.7 %" in refused.stderr
    assert "halftone status 1 --watch` waits for its end" in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ([], "/api/download/1"),
        (["--safe"], "/api/download/1?safe=spreadsheet"),
        (["--report"], "/api/download/1?report=images"),
        (["--images", "replace", "--as", "xlsx"], "/api/download/1?images=replace&as=xlsx"),
        (["--zip"], "/api/archive/1"),
        (["--zip", "--variant", "thumb"], "/api/archive/1?variant=thumb"),
    ],
)
def test_download_asks_for_what_it_is_told(
    origin: Origin, tmp_path: Path, options: list[str], path: str
) -> None:
    origin.serve(path, Answer(b"content"))
    output = tmp_path / "out"
    assert run("download", "1", *options, "-o", str(output), url=origin.url).exit_code == 0
    assert output.read_bytes() == b"content"


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("attachment; filename=\"K_se-output.csv\"; filename*=UTF-8''K%C3%A4se-output.csv", "Käse"),
        ('attachment; filename="../../.profile-output.csv"', "profile"),
    ],
    ids=["encoded", "with a folder"],
)
def test_download_without_a_name_gets_the_one_of_the_service(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disposition: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    origin.serve("/api/download/1", Answer(b"new", headers={"Content-Disposition": disposition}))
    saved = run("download", "1", url=origin.url)
    file = f"{name}-output.csv"
    assert (saved.exit_code, saved.stdout) == (0, f"Written: {file} (3 bytes)\n")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [(file, b"new")]
    refused = run("download", "1", url=origin.url)
    assert refused.exit_code == 1
    assert f"{file!r} exists already. Name a file with --output." in refused.stderr
    assert [each.name for each in tmp_path.iterdir()] == [file]


def test_report_and_zip_together_are_refused(tmp_path: Path) -> None:
    both = run("download", "1", "--report", "--zip", "-o", str(tmp_path / "x"))
    assert both.exit_code == 2


def test_requests_are_deleted(origin: Origin) -> None:
    origin.serve("/api/requests/1", Answer(status=204))
    origin.serve("/api/requests/2", problem(409, "not_ended", "It runs: cancel it first."))
    answered = run("delete", "1", "2", url=origin.url)
    assert answered.exit_code == 1
    assert "Request 1 and its files are deleted." in answered.stdout
    assert "cancel it first" in answered.stderr


def test_webhook_log_is_shown_and_replayed(origin: Origin) -> None:
    attempt = {
        "attempt": 1,
        "started_at": "2026-01-01T00:00:00.000Z",
        "duration_ms": 12,
        "status_code": 500,
        "error": None,
    }
    event = {
        "webhook_id": "msg_1",
        "run": 1,
        "status": "failed",
        "attempts": 1,
        "created_at": "2026-01-01T00:00:00.000Z",
        "log": [attempt],
    }
    hook = {"request_id": "1", "url": "http://shop.example/hook", "events": [event]}
    origin.serve("/api/webhooks/1", answer(hook))
    origin.serve("/api/webhooks/1/replay", answer({}, 202))
    shown = run("webhooks", "1", "--replay", url=origin.url).stdout
    assert "msg_1: failed after 1 attempt" in shown
    assert "12 ms  500" in shown
    assert origin.hits["/api/webhooks/1/replay"] == 1


def test_retry_calls_the_service_that_is_named(origin: Origin) -> None:
    origin.serve("/api/retry/1", answer(STATUS | {"status": "PENDING", "completed_at": None}))
    assert run("retry", "1", "--url", origin.url).exit_code == 0
    assert origin.hits["/api/retry/1"] == 1
    assert run("retry").exit_code == 2
    assert run("retry", "1", "--all").exit_code == 2
    assert run("retry", "--all", "--since", "soon").exit_code == 2
    assert run("retry", "--all", "--code", "no_such_code").exit_code == 2


def test_every_request_is_retried_through_the_service_that_is_named(origin: Origin) -> None:
    answers = [
        answer({"request_ids": ["1", "2"], "more": True}, 202),
        answer({"request_ids": ["3"], "more": False}, 202),
    ]
    asked = "/api/retry?error_code=storage_failed&since_seconds=7200.0"
    origin.serve(asked, lambda: answers.pop(0))
    shown = run(
        "retry", "--all", "--code", "storage_failed", "--since", "2h", "--quiet", url=origin.url
    )
    assert shown.stdout.split() == ["1", "2", "3"]
    assert origin.hits[asked] == 2


def test_retry_of_every_request_needs_an_admin_key(origin: Origin) -> None:
    refusal = problem(403, "forbidden", "This call needs an admin key.")
    origin.serve("/api/retry?since_seconds=86400.0", refusal)
    refused = run("retry", "--all", "--url", origin.url)
    assert refused.exit_code == 1
    assert "admin key" in refused.stderr


def test_missing_key_names_the_variable_and_how_to_make_one(origin: Origin) -> None:
    origin.serve("/api/status/1", problem(401, "unauthorized", "This call needs a key."))
    refused = run("status", "1", url=origin.url)
    assert refused.exit_code == 1
    assert "HALFTONE_API_KEY" in refused.stderr
    assert "keys create OWNER`" in refused.stderr


def test_private_webhook_address_names_the_setting(origin: Origin, source: str) -> None:
    refusal = problem(400, "invalid_webhook_url", "Its address is not a public one.")
    origin.serve("/api/upload", refusal)
    refused = run("submit", source, "--webhook-url", "http://10.0.0.1/", url=origin.url)
    assert "HALFTONE_FETCH_ALLOW" in refused.stderr


def test_no_escape_codes_and_no_bars_without_a_terminal(origin: Origin, source: str) -> None:
    origin.serve("/api/upload", answer(ACCEPTED, 202))
    origin.serve("/api/status/1", answer(PARTIAL))
    origin.serve("/api/details/1?limit=100", DETAILS)
    shown = run("submit", source, "--wait", url=origin.url, TERM="xterm-256color").output
    assert "\x1b" not in shown
    assert "━━━━ " not in shown
