"""The job in BullMQ over Redis, with sharp: `bullmq/peer.js`, in as many processes as cores.

Needs Node.js 20 with npm, and Debian's redis-server.
"""

import csv
import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.halftone import free_port

PROGRAM = Path(__file__).with_name("bullmq")
REDIS_SERVER, NODE, NPM = (shutil.which(name) for name in ("redis-server", "node", "npm"))


@dataclass(frozen=True)
class Run:
    """How long a run took, the processor time of all its processes, and the bytes it wrote."""

    seconds: float
    processor_seconds: float
    bytes_out: int


def run(content: str, folder: Path, *, mozjpeg: bool = False, jobs_at_once: int = 8) -> Run:
    """Compress every image of an uploaded CSV at quality 50 into the folder. `jobs_at_once` holds
    for each process.
    """
    products = folder / "products.json"
    products.write_text(json.dumps(_products(content)))
    with _running(folder, mozjpeg=mozjpeg, jobs_at_once=jobs_at_once) as (port, processes):
        before = _processor_seconds(processes)
        took = subprocess.run(
            [_found(NODE), str(PROGRAM / "peer.js"), "upload", str(port), str(products)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        used = _processor_seconds(processes) - before
    return Run(float(took), used, sum(path.stat().st_size for path in folder.glob("*.jpg")))


def install() -> None:
    """Install the packages once. Raises RuntimeError without Node.js and Redis."""
    if not (PROGRAM / "node_modules").exists():
        command = [_found(NPM), "install", "--silent", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=PROGRAM, check=True)


@contextmanager
def _running(
    folder: Path, *, mozjpeg: bool, jobs_at_once: int
) -> Iterator[tuple[int, list[psutil.Process]]]:
    install()
    port = free_port()
    redis = [_found(REDIS_SERVER), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    worker = [
        _found(NODE),
        str(PROGRAM / "peer.js"),
        "work",
        str(port),
        str(folder),
        str(mozjpeg).lower(),
    ]
    environment = os.environ | {"PEER_CONCURRENCY": str(jobs_at_once)}
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                _ended(subprocess.Popen(redis, cwd=folder, stdout=subprocess.DEVNULL))
            )
        ]
        for _ in range(os.cpu_count() or 1):
            started = subprocess.Popen(worker, env=environment)
            processes.append(stack.enter_context(_ended(started)))
        yield port, [psutil.Process(process.pid) for process in processes]


@contextmanager
def _ended(process: "subprocess.Popen[bytes]") -> "Iterator[subprocess.Popen[bytes]]":
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _products(content: str) -> list[dict[str, object]]:
    rows = list(csv.reader(io.StringIO(content)))[1:]
    return [{"serial": serial, "urls": urls.split(",")} for serial, _, urls in rows]


def _processor_seconds(processes: list[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(one.user + one.system for one in times)


def _found(command: str | None) -> str:
    if command is None:
        raise RuntimeError(
            "the peer needs Node.js 20, npm and Redis: apt-get install nodejs npm redis-server"
        )
    return command
