"""Runs halftone on PostgreSQL (fsync on) and RabbitMQ, as an operator would, for the benchmarks."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import psutil

from benchmarks.photos import FOLDER
from tests.support.halftone import Service, running_separately, running_up
from tests.support.postgres import running_postgres
from tests.support.rabbitmq import running_rabbitmq

HEADER = "Serial Number,Product Name,Input Image Urls\n"
# How often the status is polled: each poll costs 0.5 ms of the measured time.
POLL_SECONDS = 0.25
NEW_FILES = 500
_runs = count(1)
# The most processor time that a new file takes on the slowest host so far, if nothing was deleted
# recently, in µs; how long deleted files slow new ones down; and how often to check.
CALM_MICROSECONDS, CALM_SECONDS, CALM_CHECK_SECONDS = 60.0, 360, 15


@contextmanager
def running_service(**settings: str) -> Iterator[Service]:
    """API and one worker on real servers, once creating files is as fast as in a shop's own
    store.
    """
    _wait_for_calm_files()
    with ExitStack() as stack:
        folder = new_folder()
        postgres = stack.enter_context(running_postgres(durable=True))
        rabbitmq = stack.enter_context(running_rabbitmq())
        service = stack.enter_context(
            running_separately(
                folder,
                postgres.new_database(),
                rabbitmq.new_vhost(),
                workers=1,
                **({"connections_per_host": "32"} | settings),
            )
        )
        service.postgres_pid = postgres.pid
        yield service


@contextmanager
def running_embedded(**settings: str) -> Iterator[Service]:
    """`halftone up` with default settings, except those given."""
    with running_up(new_folder(), **settings) as service:
        yield service


@contextmanager
def without_accelerator() -> Iterator[None]:
    """Processes started in the block cannot import `halftone_jpeg`, as if it had not been built."""
    before = os.environ.get("PYTHONPATH")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "halftone_jpeg.py").write_text(
            "raise ImportError('left out for this benchmark')\n"
        )
        os.environ["PYTHONPATH"] = folder if before is None else f"{folder}{os.pathsep}{before}"
        try:
            yield
        finally:
            del os.environ["PYTHONPATH"]
            if before is not None:
                os.environ["PYTHONPATH"] = before


def new_folder() -> Path:
    """A folder for the measured service to write in, beside the photographs; deleted after all
    measurements.

    For five minutes after many files were deleted (by tests in /tmp, or by an earlier run), ext4
    examines the inode of each before it creates a new file in the same block group. That took a
    quarter of a worker's time: see `new_file_microseconds`. `chattr +T` gives each folder here a
    block group of its own; other file systems refuse it.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    subprocess.run(["chattr", "+T", FOLDER], check=False, stderr=subprocess.DEVNULL)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=FOLDER.resolve()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _wait_for_calm_files() -> None:
    """Wait until earlier deletions, by tests or another run, no longer slow new files down."""
    deadline = time.monotonic() + CALM_SECONDS
    while (cost := new_file_microseconds()) > CALM_MICROSECONDS and time.monotonic() < deadline:
        print(
            f"A new file costs {cost:.0f} µs, as many were deleted here lately: waiting.",
            file=sys.stderr,
        )
        time.sleep(CALM_CHECK_SECONDS)  # ext4 gives no notice, so poll


def new_file_microseconds() -> float:
    """Processor time to create an empty file in the benchmarks' folder: about 20 µs, or 200 to 800
    µs after many deletions.
    """
    folder = new_folder()
    before = time.process_time()
    for number in range(NEW_FILES):
        (folder / str(number)).touch()
    return (time.process_time() - before) / NEW_FILES * 1e6


def catalogue(urls: Sequence[str], products: int, images: int) -> str:
    """A CSV of products with that many images each, cycling through the URLs.

    A query makes each URL of each call unique: an image whose URL is known is not compressed again.
    """
    rows, run = [HEADER], next(_runs)
    for product in range(products):
        chosen = [
            f"{urls[number % len(urls)]}?{run}-{number}"
            for number in range(product * images, (product + 1) * images)
        ]
        rows.append(f'{product + 1},SKU{product + 1},"{",".join(chosen)}"\n')
    return "".join(rows)


def run_to_the_end(
    service: Service, csv: str, seconds: float = 1800, **options: str
) -> tuple[float, dict[str, Any]]:
    """Upload and wait; return the seconds from the upload's first byte to the request's end, and
    the last status object.

    The end is the database's timestamp, from this machine's clock, so it does not depend on the
    polling interval.
    """
    started = time.time()
    request_id = service.accepted(csv, **options)
    status = service.ended(request_id, seconds, every_seconds=POLL_SECONDS)
    assert status["failed_images"] == 0, status
    return datetime.fromisoformat(status["completed_at"]).timestamp() - started, status


def family(service: Service) -> list[psutil.Process]:
    """Every process that the service started itself."""
    found = []
    for process in service.processes.values():
        parent = psutil.Process(process.pid)
        found += [parent, *parent.children(recursive=True)]
    return found


def codecs(service: Service) -> list[psutil.Process]:
    return [
        process
        for process in family(service)
        if "halftone_workers.codec_processes.child" in process.cmdline()
    ]


def processor_seconds(processes: Sequence[psutil.Process]) -> float:
    return sum(
        times.user + times.system for times in (process.cpu_times() for process in processes)
    )


def memory_bytes(processes: Sequence[psutil.Process]) -> int:
    """Total memory of these processes, with shared pages counted once (proportional set size)."""
    return sum(int(process.memory_full_info().pss) for process in processes)
