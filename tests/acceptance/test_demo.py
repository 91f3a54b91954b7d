"""`halftone demo`: the main job from nothing but this package, and no process left behind."""

import json
import os
import signal
import subprocess
from pathlib import Path

import httpx
import psutil
import pytest

from halftone_cli.demo.catalogue import BROKEN_LINK, OVERSIZED
from tests.support.halftone import PYTHON, environment, wait_for

COMMAND = [PYTHON, "-m", "halftone_cli", "demo"]


def test_demo_shows_what_was_saved_and_stops_everything(tmp_path: Path) -> None:
    answer = subprocess.run(
        COMMAND,
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    for text in ("mug-2.png", "Webhook: request.completed, its signature verified.", "/r/ID"):
        assert text in answer.stdout
    failed = [line for line in answer.stdout.splitlines() if "too_large" in line]
    assert len(failed) == 1
    assert OVERSIZED in failed[0]
    assert BROKEN_LINK in answer.stdout
    assert (tmp_path / ".halftone" / "demo" / "output.csv").read_text().count("/api/image/") == 12
    assert _left_of(tmp_path) == []


def test_demo_in_json_is_the_status_and_the_webhook(tmp_path: Path) -> None:
    answer = subprocess.run(
        [*COMMAND, "--json"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    shown = json.loads(answer.stdout)
    assert shown["webhook"] == "request.completed"
    assert shown["request"]["failed_images"] == 2


# A shell's background job ignores SIGINT.
IN_THE_BACKGROUND = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]


@pytest.mark.parametrize(
    ("number", "how"), [(signal.SIGINT, []), (signal.SIGTERM, IN_THE_BACKGROUND)]
)
def test_demo_that_is_kept_runs_until_it_is_interrupted(
    tmp_path: Path, number: int, how: list[str]
) -> None:
    output = tmp_path / "demo.log"
    with output.open("w") as log:
        demo = subprocess.Popen(
            [*how, *COMMAND, "--keep"],
            cwd=tmp_path,
            env=environment(tmp_path) | {"PYTHONUNBUFFERED": "1"},
            stdout=log,
            stderr=log,
        )
    wait_for(lambda: "until Ctrl-C" in output.read_text(), 90, "the end of the demo's job")
    (page,) = (line for line in output.read_text().splitlines() if "Page of the request" in line)
    url = page.split(": ", 1)[1]
    assert httpx.get(url.split("/r/")[0] + "/readyz", trust_env=False).status_code == 200
    demo.send_signal(number)
    assert demo.wait(60) == 0, output.read_text()
    assert _left_of(tmp_path) == []


def _left_of(folder: Path) -> list[str]:
    """Processes that work in the demo's folder."""
    here = str(folder)
    return [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline"])
        if process.pid != os.getpid()
        and any(here in part for part in process.info["cmdline"] or [])
    ]
