"""Thousands of images with an external processor at once: memory, connections, callbacks."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import psycopg

from benchmarks.figures import Figure, at_least, at_most
from benchmarks.origin import running_origin
from benchmarks.processor_double import SECRET, Called, Double, running_double
from benchmarks.service import (
    catalogue,
    codecs,
    family,
    memory_bytes,
    new_folder,
    processor_seconds,
)
from tests.support.halftone import Service, running_separately, wait_for
from tests.support.images import encoded, picture
from tests.support.postgres import running_postgres
from tests.support.rabbitmq import running_rabbitmq

IMAGES, IMAGES_A_PRODUCT, WARM_UP_IMAGES = 10_000, 2, 1_000
SIZE = (320, 240)
MIB = 1024**2
# Long enough for the idle connections of before to be closed.
QUIET_SECONDS = 20
END_SECONDS = 1800


def processor() -> list[Figure]:
    """10,000 images with an external processor at once, then all their callbacks."""
    source = new_folder() / "source.jpg"
    source.write_bytes(encoded(picture(SIZE), "JPEG", quality=90))
    output = encoded(picture(SIZE), "JPEG", quality=30)
    with (
        running_double(output) as double,
        running_origin([source]) as urls,
        _running(double) as (service, database_url),
    ):
        _send_away(service, double, urls, WARM_UP_IMAGES)
        double.call_back(WARM_UP_IMAGES)
        _wait_for_the_end(service, database_url)
        before = _Seen.now(service, double, database_url)
        started = time.monotonic()
        _send_away(service, double, urls, IMAGES)
        sent_seconds = time.monotonic() - started
        away = _Seen.now(service, double, database_url)
        with _paused_worker(service):
            used = _processor_seconds(service)
            alone = double.call_back(IMAGES // 2)
            used = [
                after - before
                for after, before in zip(_processor_seconds(service), used, strict=True)
            ]
        started = time.monotonic()
        beside = double.call_back(IMAGES)
        _wait_for_the_end(service, database_url)
        ended_seconds = time.monotonic() - started
        after = _Seen.now(service, double, database_url)
    return [
        *_Seen.figures(before, away, after),
        Figure("images sent per second", IMAGES / sent_seconds, "images/s"),
        at_least("callbacks taken, workers idle", _per_second(alone), "callbacks/s", 1000),
        *_shares(used, sum(alone.answers.values())),
        Figure(
            "callbacks taken, workers busy with the outputs", _per_second(beside), "callbacks/s"
        ),
        Figure("outputs checked and stored", IMAGES / ended_seconds, "images/s"),
    ]


class _Seen:
    """Memory and connections at one moment, after a pause without work."""

    def __init__(self, api: int, worker: int, to_database: int, to_processor: int) -> None:
        self.api, self.worker = api, worker
        self.to_database, self.to_processor = to_database, to_processor

    @classmethod
    def now(cls, service: Service, double: Double, database_url: str) -> "_Seen":
        time.sleep(QUIET_SECONDS)
        api = psutil.Process(service.processes["api"].pid)
        with psycopg.connect(database_url) as connection:
            [open_now] = connection.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            ).fetchone() or [0]
        workers = [process for process in family(service) if process.pid != api.pid]
        workers = [process for process in workers if process not in codecs(service)]
        return cls(memory_bytes([api]), memory_bytes(workers), open_now, double.connections())

    @staticmethod
    def figures(before: "_Seen", away: "_Seen", after: "_Seen") -> list[Figure]:
        found = []
        for name, goal in (("api", 20), ("worker", 20)):
            was, at, then = (getattr(seen, name) / MIB for seen in (before, away, after))
            found += [
                Figure(f"memory of the {name} before", was, "MiB"),
                at_most(f"grown by, with {IMAGES:,} images away", at - was, "MiB", goal),
                Figure("grown by, after their end", then - was, "MiB"),
            ]
        return [
            *found,
            Figure("connections to PostgreSQL before", before.to_database, ""),
            at_most(f"with {IMAGES:,} images away", away.to_database, "", before.to_database),
            at_most("connections to the processor meanwhile", away.to_processor, "", 0),
        ]


@contextmanager
def _running(double: Double) -> Iterator[tuple[Service, str]]:
    with running_postgres(durable=True) as postgres, running_rabbitmq() as rabbitmq:
        database_url = postgres.new_database()
        with running_separately(
            new_folder(),
            database_url,
            rabbitmq.new_vhost(),
            connections_per_host="32",
            processor_url=double.url,
            processor_secret=SECRET,
            processor_timeout_seconds="3600",
        ) as service:
            service.postgres_pid = postgres.pid
            yield service, database_url


def _send_away(service: Service, double: Double, urls: list[str], images: int) -> None:
    """Upload, and wait until the processor has every image."""
    service.accepted(catalogue(urls, images // IMAGES_A_PRODUCT, IMAGES_A_PRODUCT))
    wait_for(lambda: double.jobs() == images, END_SECONDS, "jobs", every_seconds=0.25)


def _wait_for_the_end(service: Service, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:

        def has_ended() -> bool:
            rows = connection.execute("SELECT sum(failed_images) FROM requests").fetchone()
            assert rows == (0,), rows
            running = "SELECT FROM requests WHERE completed_at IS NULL"
            return connection.execute(running).fetchone() is None

        wait_for(has_ended, END_SECONDS, "end", every_seconds=0.25)


@contextmanager
def _paused_worker(service: Service) -> Iterator[None]:
    """The worker and its codec processes take no processor time in the block."""
    api = service.processes["api"].pid
    paused = [process for process in family(service) if process.pid != api]
    for process in paused:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in paused:
            process.send_signal(signal.SIGCONT)


def _processor_seconds(service: Service) -> list[float]:
    """Of the API and of PostgreSQL."""
    assert service.postgres_pid is not None
    postgres = psutil.Process(service.postgres_pid)
    server = [postgres, *postgres.children()]
    return [
        processor_seconds([psutil.Process(service.processes["api"].pid)]),
        processor_seconds(server),
    ]


def _shares(used: list[float], callbacks: int) -> list[Figure]:
    api, postgres = (1000 * seconds / callbacks for seconds in used)
    return [
        at_most("processor time of the API, a callback", api, "ms", 1),
        at_most("… and of PostgreSQL together", api + postgres, "ms", 2),
    ]


def _per_second(called: Called) -> float:
    return sum(called.answers.values()) / called.seconds
