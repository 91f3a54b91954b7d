"""Processor time of each part of a running service."""

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from benchmarks.figures import Figure
from tests.support.halftone import Service

# Texts that identify a part by its command line; the first match counts.
PARTS = {
    "codec": "halftone_workers.codec_processes.child",
    "worker": "halftone_workers",
    "API and dispatcher": "halftone_api",
    "PostgreSQL": "postgres",
    "RabbitMQ": "beam.smp",
    "the shop": "multiprocessing.spawn",
    "the benchmark itself": "benchmarks",
}
# The parts of halftone and the servers it depends on.
SERVICE = ("codec", "worker", "API and dispatcher", "PostgreSQL", "RabbitMQ")
_IDLE, _REST = "idle", "the rest of the machine"


@dataclass(frozen=True)
class Used:
    """Processor seconds so far: by part, idle, and the total of all cores."""

    seconds: dict[str, float]
    idle: float
    all_cores: float


def used_so_far(service: Service) -> Used:
    """Counts this process, all its descendants, and the service's PostgreSQL (which is not a
    child).
    """
    seconds: dict[str, float] = defaultdict(float)
    for process in _ours(service):
        try:
            command, times = " ".join(process.cmdline()), process.cpu_times()
        except psutil.Error:
            continue
        part = next((name for name, sign in PARTS.items() if sign in command), None)
        if part is not None:
            seconds[part] += times.user + times.system
    machine = psutil.cpu_times()
    return Used(
        seconds,
        machine.idle + getattr(machine, "iowait", 0.0),
        time.monotonic() * (os.cpu_count() or 1),
    )


def milliseconds_an_image(before: Used, after: Used, images: int) -> list[Figure]:
    """Where the processor time between the two readings went. Idle time and the machine's other
    work complete it to 100 %.
    """
    spent = {name: after.seconds[name] - before.seconds[name] for name in PARTS}
    spent[_IDLE] = after.idle - before.idle
    spent[_REST] = after.all_cores - before.all_cores - sum(spent.values())
    return [
        Figure(f"processor: {name}", 1000 * seconds / images, "ms/image")
        for name, seconds in spent.items()
    ]


def _ours(service: Service) -> Iterator[psutil.Process]:
    this = psutil.Process()
    yield this
    yield from this.children(recursive=True)
    if service.postgres_pid is not None:
        postgres = psutil.Process(service.postgres_pid)
        yield postgres
        yield from postgres.children(recursive=True)
