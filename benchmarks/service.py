"""halftone on PostgreSQL (fsync on) and RabbitMQ, as an operator runs it, for the benchmarks to
load.
"""

import atexit
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.photos import FOLDER
from tests.support.halftone import Service, running_separately, running_up
from tests.support.postgres import running_postgres
from tests.support.rabbitmq import running_rabbitmq

HEADER = "Serial Number,Product Name,Input Image Urls\n"
# How often a request is asked whether it has ended: each time costs half a millisecond of what is
# measured.
POLL_SECONDS = 0.25
NEW_FILES = 500
# Processor time that a new file costs at most where nothing was deleted lately, on the slowest host
# so far; and how long one that was deleted makes others dear.
CALM_MICROSECONDS, CALM_SECONDS, CALM_CHECK_SECONDS = 60.0, 360, 15


@contextmanager
def running_service(**settings: str) -> Iterator[Service]:
    """API and one worker on real servers, once files are as cheap to make as they are in a shop's
    own store.
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
    """`halftone up` as it comes."""
    with running_up(new_folder(), **settings) as service:
        yield service


@contextmanager
def without_accelerator() -> Iterator[None]:
    """What is started meanwhile finds a `halftone_jpeg` that cannot be imported, as where it was
    not built.
    """
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
    """For what is measured to write in: beside the photographs, and deleted when all is measured.

    Where many files were deleted, as by tests in /tmp or by a run before, ext4 looks for five
    minutes at the inode of each before it makes a new one, which was a quarter of what a worker
    did: see `new_file_microseconds`.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=FOLDER.resolve()))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _wait_for_calm_files() -> None:
    """Until what was deleted before, by tests or another run, is forgotten."""
    deadline = time.monotonic() + CALM_SECONDS
    while (cost := new_file_microseconds()) > CALM_MICROSECONDS and time.monotonic() < deadline:
        print(
            f"A new file costs {cost:.0f} µs, as many were deleted here lately: waiting.",
            file=sys.stderr,
        )
        time.sleep(CALM_CHECK_SECONDS)  # nothing tells when ext4 has forgotten them: one asks again


def new_file_microseconds() -> float:
    """Processor time to make an empty file where the benchmarks write: some 20, or 200 to 800 after
    many were deleted.
    """
    folder = new_folder()
    before = time.process_time()
    for number in range(NEW_FILES):
        (folder / str(number)).touch()
    return (time.process_time() - before) / NEW_FILES * 1e6


def catalogue(urls: Sequence[str], products: int, images: int) -> str:
    """A CSV of products with so many images each, taken from the URLs in turn."""
    rows = [HEADER]
    for product in range(products):
        chosen = [urls[(product * images + image) % len(urls)] for image in range(images)]
        rows.append(f'{product + 1},SKU{product + 1},"{",".join(chosen)}"\n')
    return "".join(rows)


def run_to_the_end(
    service: Service, csv: str, seconds: float = 1800
) -> tuple[float, dict[str, Any]]:
    """Upload, wait, and the seconds from the upload's first byte to the request's end; its last
    status object.

    The end is the database's, whose clock is this machine's: it does not depend on how often one
    asks.
    """
    started = time.time()
    request_id = service.accepted(csv)
    status = service.ended(request_id, seconds, every_seconds=POLL_SECONDS)
    assert status["failed_images"] == 0, status
    return datetime.fromisoformat(status["completed_at"]).timestamp() - started, status


def family(service: Service) -> list[psutil.Process]:
    """Every process of the service that it started itself."""
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
    """What these processes hold together, shared pages counted once (proportional set size)."""
    return sum(int(process.memory_full_info().pss) for process in processes)
