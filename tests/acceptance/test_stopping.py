"""Programs that are told to stop while something that they need hangs: they are gone in time, and nothing is lost."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from halftone_api.main import STOP_SECONDS
from tests.support.bucket import running_bucket
from tests.support.halftone import PYTHON, environment, running_separately, wait_for
from tests.support.images import jpeg
from tests.support.origin import Answer, Origin
from tests.support.relay import Relay, running_relay

HEADER = "Serial Number,Product Name,Input Image Urls\n"
GRACE_SECONDS = 1
# What docs/operations.md has an operator give a worker beside its grace period.
WORKER_SECONDS = GRACE_SECONDS + 15


@pytest.mark.broker
@pytest.mark.parametrize("hanging", ["postgresql", "rabbitmq", "bucket"])
def test_worker_is_gone_in_time_and_another_does_what_it_had_in_hand(
    tmp_path: Path,
    database_url: str,
    rabbitmq_url: str,
    origin: Origin,
    hanging: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = origin.serve("/a.jpg", Answer(jpeg(), delay_seconds=1))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with (
        running_bucket() as bucket,
        relayed_postgres(database_url) as (postgres, postgres_url),
        relayed(rabbitmq_url) as (rabbitmq, relayed_rabbitmq_url),
        relayed(bucket.url) as (to_bucket, bucket_url),
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.url)
        settings = {"storage_url": "s3://bucket", "shutdown_grace_seconds": str(GRACE_SECONDS)}
        with running_separately(tmp_path, database_url, rabbitmq_url, workers=0, **settings) as service:
            relays = {"postgresql": postgres, "rabbitmq": rabbitmq, "bucket": to_bucket}
            urls = {"database_url": postgres_url, "rabbitmq_url": relayed_rabbitmq_url}
            with running_worker(environment(tmp_path, **settings, **urls) | {"AWS_ENDPOINT_URL": bucket_url}) as worker:
                request_id = service.accepted(HEADER + "".join(f"{number},SKU,{image}\n" for number in range(1, 13)))
                wait_for(lambda: bucket.calls, what="first image in the bucket")
                relays[hanging].fall_silent()
                wait_for(lambda: origin.hits["/a.jpg"] > 8, what="more products in hand")
                worker.send_signal(signal.SIGTERM)
                worker.wait(WORKER_SECONDS)
            direct = {"database_url": database_url, "rabbitmq_url": rabbitmq_url}
            with running_worker(environment(tmp_path, **settings, **direct)):
                status = service.ended(request_id, 90)
                assert (status["status"], status["processed_images"]) == ("COMPLETED", 12)


@pytest.mark.broker
def test_api_is_gone_in_time(tmp_path: Path, database_url: str, rabbitmq_url: str) -> None:
    with (
        relayed_postgres(database_url) as (postgres, postgres_url),
        running_separately(tmp_path, postgres_url, rabbitmq_url, workers=0) as service,
    ):
        postgres.fall_silent()
        calling = Thread(target=_call, args=(service.url + "/api/requests",))
        calling.start()
        calling.join(1)
        api = service.processes.pop("api")
        api.send_signal(signal.SIGTERM)
        api.wait(STOP_SECONDS + 2)
        calling.join()


@pytest.mark.broker
def test_interrupt_after_another_ends_worker_and_api_at_once(
    tmp_path: Path, database_url: str, rabbitmq_url: str
) -> None:
    with (
        relayed_postgres(database_url) as (postgres, postgres_url),
        running_separately(tmp_path, postgres_url, rabbitmq_url) as service,
    ):
        postgres.fall_silent()
        calling = Thread(target=_call, args=(service.url + "/api/requests",))
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
def relayed_postgres(database_url: str) -> Iterator[tuple[Relay, str]]:
    """A relay to a server on a Unix socket, and the URL of the database through it."""
    parts = urlsplit(database_url)
    with running_relay(parse_qs(parts.query)["host"][0] + "/.s.PGSQL.5432") as relay:
        yield relay, f"postgresql://postgres@127.0.0.1:{relay.port}{parts.path}"


@contextmanager
def relayed(url: str) -> Iterator[tuple[Relay, str]]:
    port = urlsplit(url).port
    assert port is not None
    with running_relay(port) as relay:
        yield relay, url.replace(f":{port}", f":{relay.port}")


@contextmanager
def running_worker(variables: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    worker = subprocess.Popen([PYTHON, "-m", "halftone_workers"], env=variables)
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()


def _call(url: str) -> None:
    with suppress(httpx.HTTPError):
        httpx.get(url, timeout=60, trust_env=False)
