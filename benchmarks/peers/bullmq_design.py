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
from pathlib import Path

from benchmarks.peers.run import Run, outputs, processor_seconds, run_with_outputs
from tests.support.halftone import free_port

PROGRAM = Path(__file__).with_name("bullmq")
REDIS_SERVER, NODE, NPM = (shutil.which(name) for name in ("redis-server", "node", "npm"))


def run(content: str, folder: Path, *, mozjpeg: bool = False, jobs_at_once: int = 8) -> Run:
    """Compress every image of an uploaded CSV at quality 50 into the folder. `jobs_at_once` holds
    for each process.
    """
    products = folder / "products.json"
    products.write_text(json.dumps(_products(content)))
    with _running(folder, mozjpeg=mozjpeg, jobs_at_once=jobs_at_once) as (port, processes):
        peer = [_found(NODE), str(PROGRAM / "peer.js")]
        subprocess.run([*peer, "ready", str(port)], check=True, timeout=60)
        before = processor_seconds(processes)
        took = subprocess.run(
            [*peer, "upload", str(port), str(products)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        used = processor_seconds(processes) - before
    return run_with_outputs(float(took), used, outputs(content, folder))


def install() -> None:
    """Install the packages once. Raises RuntimeError without Node.js and Redis."""
    if not (PROGRAM / "node_modules").exists():
        command = [
            _found(NPM),
            "install",
            "--silent",
            "--no-audit",
            "--no-fund",
            "--no-package-lock",
        ]
        subprocess.run(command, cwd=PROGRAM, check=True)


@contextmanager
def _running(folder: Path, *, mozjpeg: bool, jobs_at_once: int) -> Iterator[tuple[int, list[int]]]:
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
        yield port, [process.pid for process in processes]


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


def _found(command: str | None) -> str:
    if command is None:
        raise RuntimeError(
            "the peer needs Node.js 20, npm and Redis: apt-get install nodejs npm redis-server"
        )
    return command
