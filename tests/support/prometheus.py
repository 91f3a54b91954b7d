"""A Prometheus for the tests, from Debian's package, and promtool, with their own port and folder,
on loopback.
"""

import json
import shutil
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.support.halftone import free_port, wait_for

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "monitoring"


def is_installed() -> bool:
    return shutil.which("prometheus") is not None and shutil.which("promtool") is not None


def promtool(*arguments: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["promtool", *arguments],
        cwd=MONITORING,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


class TestPrometheus:
    """One server that scrapes every second."""

    __test__ = False

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The current series of an expression."""
        parameters = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{parameters}", timeout=10) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result

    def targets(self) -> dict[str, str]:
        """The health of each job's target."""
        with urllib.request.urlopen(f"{self.url}/api/v1/targets", timeout=10) as answer:
            active = json.load(answer)["data"]["activeTargets"]
        return {target["labels"]["job"]: target["health"] for target in active}


@contextmanager
def running_prometheus(folder: Path, targets: dict[str, str]) -> Iterator[TestPrometheus]:
    """Prometheus with monitoring/prometheus.yml, its jobs changed to scrape `targets` (job to
    host:port, …).
    """
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(MONITORING / "alerts.yml")]
    for job in config["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": targets[job["job_name"]].split(",")}]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    server = TestPrometheus(f"http://127.0.0.1:{port}")
    try:
        wait_for(lambda: _is_up(server), 30, "Prometheus")
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _is_up(server: TestPrometheus) -> bool:
    try:
        return all(health == "up" for health in server.targets().values()) and bool(
            server.targets()
        )
    except OSError:
        return False
