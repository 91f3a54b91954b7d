"""What a run of a contestant gives."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Run:
    """How long a run took, the processor time of all its processes, and the bytes it wrote.

    `outputs`: a peer's files in the order of the catalogue.
    """

    images: int
    seconds: float
    processor_seconds: float
    bytes_out: int
    outputs: Sequence[Path] = ()


def run_with_outputs(seconds: float, processor_seconds: float, outputs: Sequence[Path]) -> Run:
    """Raises FileNotFoundError if an output is missing."""
    size = sum(path.stat().st_size for path in outputs)
    return Run(len(outputs), seconds, processor_seconds, size, outputs)


def outputs(content: str, folder: Path) -> list[Path]:
    """The files that the images of an uploaded CSV become."""
    rows = list(csv.reader(io.StringIO(content)))[1:]
    return [
        folder / f"{serial}-{at}.jpg"
        for serial, _, urls in rows
        for at in range(len(urls.split(",")))
    ]


def processor_seconds(pids: Sequence[int]) -> float:
    """Of these processes and their children so far."""
    parents = [psutil.Process(pid) for pid in pids]
    processes = [*parents, *(child for one in parents for child in one.children(recursive=True))]
    times = [process.cpu_times() for process in processes]
    return sum(one.user + one.system for one in times)
