"""Programs asked to stop while a service that they need hangs: they exit in time and lose
nothing.
"""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread

import httpx
import pytest

from halftone_api.main import STOP_SECONDS
from tests.support.bucket import running_bucket
from tests.support.csv_files import HEADER
from tests.support.halftone import PYTHON, environment, free_port, running_separately, wait_for
from tests.support.images import jpeg
from tests.support.origin import Answer, Origin
from tests.support.relay import relayed, relayed_postgres

GRACE_SECONDS = 1
# The time that docs/how-to/operate.md tells operators to allow: the grace period and 15 s.
WORKER_SECONDS = GRACE_SECONDS + 15


@pytest.mark.broker
def test_programs_are_gone_in_time_and_another_worker_finishes_their_products(
    tmp_path: Path,
    database_url: str,
    rabbitmq_url: str,
    origin: Origin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three workers and an API. For each, one of the services it uses hangs."""
    image = origin.serve("/a.jpg", Answer(jpeg(), delay_seconds=1))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with ExitStack() as stack:
        bucket = stack.enter_context(running_bucket())
        postgres, postgres_url = stack.enter_context(relayed_postgres(database_url))
        rabbitmq, relayed_rabbitmq_url = stack.enter_context(relayed(rabbitmq_url))
        to_bucket, bucket_url = stack.enter_context(relayed(bucket.url))
        monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.url)
        settings = {
            "storage_url": "s3://bucket",
            "shutdown_grace_seconds": str(GRACE_SECONDS),
            "auth": "off",
        }
        service = stack.enter_context(
            running_separately(tmp_path, database_url, rabbitmq_url, workers=0, **settings)
        )
        well = environment(
            tmp_path, **settings, database_url=database_url, rabbitmq_url=rabbitmq_url
        )
        workers = [
            stack.enter_context(running_worker(well | hanging, tmp_path / name))
            for name, hanging in (
                ("without PostgreSQL", {"HALFTONE_DATABASE_URL": postgres_url}),
                ("without RabbitMQ", {"HALFTONE_RABBITMQ_URL": relayed_rabbitmq_url}),
                ("without a bucket", {"AWS_ENDPOINT_URL": bucket_url}),
            )
        ]
        port = free_port()
        without_postgres = {"HALFTONE_DATABASE_URL": postgres_url, "HALFTONE_API_PORT": str(port)}
        api = stack.enter_context(
            running_program("halftone_api", well | without_postgres, tmp_path / "api")
        )
        wait_for(lambda: _answer(f"http://127.0.0.1:{port}/readyz") == 200, what="the other API")

        request_id = service.accepted(
            HEADER + "".join(f"{number},SKU,{image}\n" for number in range(1, 61))
        )
        # RabbitMQ distributes messages in turns, and a worker fetches four at a time from one host.
        wait_for(
            lambda: bucket.calls and origin.hits["/a.jpg"] > 12,
            what="active products in all three",
        )
        for relay in (postgres, rabbitmq, to_bucket):
            relay.fall_silent()
        calling = Thread(target=_answer, args=(f"http://127.0.0.1:{port}/api/requests",))
        calling.start()
        calling.join(1)
        for program in (*workers, api):
            assert program.poll() is None
            program.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        for program, seconds in [
            *((worker, WORKER_SECONDS) for worker in workers),
            (api, STOP_SECONDS + 2),
        ]:
            program.wait(asked + seconds - time.monotonic())
        calling.join()
        stack.enter_context(running_worker(well, tmp_path / "well"))
        status = service.ended(request_id, 90)
        assert (status["status"], status["processed_images"]) == ("COMPLETED", 60)


@pytest.mark.broker
def test_interrupt_after_another_ends_worker_and_api_at_once(
    tmp_path: Path, database_url: str, rabbitmq_url: str
) -> None:
    with (
        relayed_postgres(database_url) as (postgres, postgres_url),
        running_separately(tmp_path, postgres_url, rabbitmq_url) as service,
    ):
        postgres.fall_silent()
        calling = Thread(target=_answer, args=(service.url + "/api/requests",))
        calling.start()
        calling.join(1)
        programs = list(service.processes.values())
        service.processes.clear()
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            calling.join(1)
            assert [program.poll() for program in programs] == [None, None]
            for program in programs:
                program.send_signal(number)
        for program in programs:
            program.wait(2)
        calling.join()


@contextmanager
def running_worker(variables: dict[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with running_program("halftone_workers", variables, log) as worker:
        wait_for(lambda: "worker started" in log.read_text(), what=f"worker {log.name}")
        yield worker


@contextmanager
def running_program(
    module: str, variables: dict[str, str], log: Path
) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as output:
        program = subprocess.Popen(
            [PYTHON, "-m", module], env=variables, stdout=output, stderr=output
        )
    try:
        yield program
    finally:
        program.kill()
        program.wait()


def _answer(url: str) -> int | None:
    """The HTTP status, or None when there is no response."""
    try:
        return httpx.get(url, timeout=60, trust_env=False).status_code
    except httpx.HTTPError:
        return None
