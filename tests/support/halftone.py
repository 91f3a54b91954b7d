"""halftone's own processes, started as users start them, on the test's database and broker."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.support.leftovers import mark_unless_marked

WEBHOOK_SECRET = "whsec_" + "A" * 32
READY_SECONDS = 180
PYTHON = sys.executable

T = TypeVar("T")


@dataclass
class Service:
    """A running halftone. `http` calls its API; `processes` are the started programs, by name."""

    url: str
    http: httpx.Client
    processes: "dict[str, subprocess.Popen[bytes]]"
    log: Path
    rabbitmq_url: str | None = None
    postgres_pid: int | None = None

    def upload(
        self, csv: str | bytes, filename: str = "products.csv", **fields: str
    ) -> httpx.Response:
        data = csv.encode() if isinstance(csv, str) else csv
        return self.http.post(
            "/api/upload", files={"file": (filename, data, "text/csv")}, data=fields
        )

    def accepted(self, csv: str | bytes, **fields: str) -> str:
        """Upload, expect a 202, and return the request's ID."""
        response = self.upload(csv, **fields)
        assert response.status_code == 202, response.text
        request_id: str = response.json()["request_id"]
        return request_id

    def status(self, request_id: str) -> dict[str, Any]:
        response = self.http.get(f"/api/status/{request_id}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def ended(
        self, request_id: str, seconds: float = 60, every_seconds: float = 0.05
    ) -> dict[str, Any]:
        """The status object once the request has ended."""

        def status_at_the_end() -> dict[str, Any] | None:
            status = self.status(request_id)
            return status if status["completed_at"] else None

        return wait_for(status_at_the_end, seconds, f"end of {request_id}", every_seconds)

    def products(self, request_id: str) -> list[dict[str, Any]]:
        products: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            response = self.http.get(
                f"/api/details/{request_id}", params={"cursor": cursor} if cursor else {}
            )
            assert response.status_code == 200, response.text
            products += response.json()["products"]
            cursor = response.json()["next_cursor"]
        return products

    def download(self, request_id: str, **parameters: str) -> str:
        response = self.http.get(f"/api/download/{request_id}", params=parameters)
        assert response.status_code == 200, response.text
        return response.content.decode()


def wait_for(
    condition: Callable[[], T | None],
    seconds: float = 60,
    what: str = "condition",
    every_seconds: float = 0.05,
) -> T:
    """What the condition returns once it is true. The time limit bounds a failing test; it is not a
    measurement.
    """
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s; last: {result!r}"
        time.sleep(every_seconds)


_given: set[int] = set()


def free_port(count: int = 1) -> int:
    """A port that nobody listens on, the first of `count` in a row. It is outside the range that
    the system assigns, so that no other program gets it before the one under test, and this
    process gives each port once.
    """
    while True:
        first = 20_000 + secrets.randbelow(12_000)
        ports = set(range(first, first + count))
        if ports.isdisjoint(_given) and all(map(_is_free, ports)):
            _given.update(ports)
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe, suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """The machine's environment without any halftone settings, plus these."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("HALFTONE_")
    }
    defaults = {
        "STORAGE_URL": (folder / "storage").as_uri(),
        "WEBHOOK_SECRET": WEBHOOK_SECRET,
        "FETCH_ALLOW": "127.0.0.0/8",
        "LOG_FORMAT": "json",
        "UPLOAD_RATE_LIMIT": "off",
    }
    return inherited | {
        f"HALFTONE_{name.upper()}": value for name, value in (defaults | settings).items()
    }


def up_command(home: Path, port: int, *arguments: str) -> list[str]:
    """The command line of `halftone up`."""
    command = [PYTHON, "-m", "halftone_cli", "up", "--port", str(port), "--home", str(home)]
    return [*command, *arguments]


@contextmanager
def running_up(folder: Path, *arguments: str, **settings: str) -> Iterator[Service]:
    """`halftone up` with this environment, stopped by SIGTERM at the end; it must exit with 0."""
    mark_unless_marked()
    port = free_port()
    variables = environment(folder, **settings)
    if "storage_url" not in settings:
        del variables["HALFTONE_STORAGE_URL"]
    command = up_command(folder / "home", port, *arguments)
    with (
        _logged(folder) as log,
        _process(command, variables, log) as process,
        _client(port) as http,
    ):
        service = Service(
            f"http://127.0.0.1:{port}", http, {"up": process}, folder / "halftone.log"
        )
        _wait_until_ready(service)
        yield service
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, service.log.read_text()


@contextmanager
def running_separately(
    folder: Path, database_url: str, rabbitmq_url: str, *, workers: int = 1, **settings: str
) -> Iterator[Service]:
    """`halftone-api` and `halftone-worker` as an operator deploys them, on real servers."""
    port = free_port()
    variables = environment(
        folder,
        database_url=database_url,
        rabbitmq_url=rabbitmq_url,
        api_port=str(port),
        public_url=f"http://127.0.0.1:{port}",
        **({"auth": "off"} | settings),
    )
    with ExitStack() as stack:
        log = stack.enter_context(_logged(folder))
        processes = {
            "api": stack.enter_context(_process([PYTHON, "-m", "halftone_api"], variables, log))
        }
        for number in range(1, workers + 1):
            command = [PYTHON, "-m", "halftone_workers"]
            processes[f"worker {number}"] = stack.enter_context(_process(command, variables, log))
        http = stack.enter_context(_client(port))
        service = Service(
            f"http://127.0.0.1:{port}", http, processes, folder / "halftone.log", rabbitmq_url
        )
        _wait_until_ready(service)
        # Before that, a worker has no handler: a signal would end it at once.
        wait_for(lambda: service.log.read_text().count("worker started") >= workers, what="workers")
        yield service
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        for name, process in processes.items():
            assert process.wait(60) == 0, f"{name}: {service.log.read_text()}"
        assert "shutdown failed" not in service.log.read_text(), service.log.read_text()


@contextmanager
def running_programs(
    folder: Path, commands: "dict[str, tuple[list[str], dict[str, str]]]"
) -> Iterator[Path]:
    """Programs that need not become ready, each with its environment. Gives their common log."""
    with ExitStack() as stack:
        log = stack.enter_context(_logged(folder))
        for command, variables in commands.values():
            stack.enter_context(_process(command, variables, log))
        yield folder / "halftone.log"


def log_lines(service: Service) -> list[dict[str, Any]]:
    """The JSON lines of the service's log."""
    return [
        json.loads(line) for line in service.log.read_text().splitlines() if line.startswith("{")
    ]


@contextmanager
def _logged(folder: Path) -> Iterator[Any]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "halftone.log").open("ab") as log:
        yield log


@contextmanager
def _process(
    command: list[str], variables: dict[str, str], log: Any
) -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen(
        command, env=variables, stdout=log, stderr=log, stdin=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def _client(port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
        yield client


def _wait_until_ready(service: Service) -> None:
    deadline = time.monotonic() + READY_SECONDS
    answer = "no answer"
    while True:
        dead = [name for name, process in service.processes.items() if process.poll() is not None]
        assert not dead, f"{dead} ended: {service.log.read_text()}"
        with suppress(httpx.HTTPError):
            response = service.http.get("/readyz")
            if response.status_code == 200:
                return
            answer = response.text
        assert time.monotonic() < deadline, f"not ready: {answer}\n{service.log.read_text()}"
        time.sleep(0.05)
