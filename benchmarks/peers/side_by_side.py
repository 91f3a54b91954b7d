"""halftone and BullMQ with sharp, on the same photographs from the same origin, in turns."""

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from benchmarks.figures import Figure, at_least
from benchmarks.origin import running_origin
from benchmarks.parts import SERVICE, used_so_far
from benchmarks.peers import bullmq_design
from benchmarks.peers.bullmq_design import Run
from benchmarks.photos import LARGE, SMALL, photos
from benchmarks.service import catalogue, new_folder, run_to_the_end, running_service
from tests.support.halftone import Service

ROUNDS = 3
# Of each process of the peer, without and with latency: more makes neither faster.
JOBS_AT_ONCE, JOBS_AT_ONCE_WITH_LATENCY = 8, 64


@dataclass(frozen=True)
class Setting:
    """What is fetched, and what halftone should reach, as a multiple of the peer's rate."""

    title: str
    size: tuple[int, int]
    products: int
    images: int
    latency_seconds: float
    goal: float


SETTINGS = (
    Setting("small", SMALL, 200, 20, 0.0, 1.5),
    Setting("small, 300 ms", SMALL, 200, 20, 0.3, 2.0),
    Setting("photographs", LARGE, 200, 2, 0.0, 2.2),
    Setting("photographs, 300 ms", LARGE, 200, 2, 0.3, 2.2),
)


def peers() -> list[Figure]:
    """Small images and photographs, without and with 300 ms for each answer; medians of rounds in
    turns. Bytes at equal score are in the section `quality`.
    """
    return [figure for setting in SETTINGS for figure in _measured(setting)]


def _measured(setting: Setting) -> Iterator[Figure]:
    bullmq_design.install()
    files = photos(setting.size)
    images = setting.products * setting.images
    runs: dict[str, list[Run]] = {}
    with (
        running_origin(files, latency_seconds=setting.latency_seconds) as urls,
        _halftone(setting) as service,
    ):
        run_to_the_end(service, catalogue(urls, 20, setting.images))  # warms up
        contestants: dict[str, Callable[[str], Run]] = {
            "halftone, fast": partial(_run_halftone, service, "fast"),
            "halftone, balanced": partial(_run_halftone, service, "balanced"),
            "BullMQ, sharp": partial(_run_bullmq, setting, mozjpeg=False),
            "BullMQ, sharp with mozjpeg": partial(_run_bullmq, setting, mozjpeg=True),
        }
        for _ in range(ROUNDS):
            for name, run in contestants.items():
                csv = catalogue(urls, setting.products, setting.images)
                runs.setdefault(name, []).append(run(csv))
    rates = {}
    for name, some in runs.items():
        rates[name] = images / statistics.median(run.seconds for run in some)
        used = statistics.median(run.processor_seconds for run in some)
        yield Figure(f"{setting.title}: {name}", rates[name], "images/s")
        yield Figure(f"{setting.title}: {name}, processor", 1000 * used / images, "ms/image")
        yield Figure(f"{setting.title}: {name}, bytes", some[0].bytes_out / images, "B/image")
    fast, balanced = rates["halftone, fast"], rates["halftone, balanced"]
    plain, mozjpeg = rates["BullMQ, sharp"], rates["BullMQ, sharp with mozjpeg"]
    yield at_least(f"{setting.title}: fast ÷ sharp", fast / plain, "×", setting.goal)
    yield at_least(f"{setting.title}: balanced ÷ sharp with mozjpeg", balanced / mozjpeg, "×", 3)


@contextmanager
def _halftone(setting: Setting) -> Iterator[Service]:
    with running_service(connections_per_host="1000" if setting.latency_seconds else "32") as one:
        yield one


def _run_halftone(service: Service, effort: str, csv: str) -> Run:
    before = used_so_far(service)
    took, status = run_to_the_end(service, csv, effort=effort)
    after = used_so_far(service)
    used = sum(after.seconds[part] - before.seconds[part] for part in SERVICE)
    return Run(took, used, status["bytes_out"])


def _run_bullmq(setting: Setting, csv: str, *, mozjpeg: bool) -> Run:
    jobs = JOBS_AT_ONCE_WITH_LATENCY if setting.latency_seconds else JOBS_AT_ONCE
    return bullmq_design.run(csv, new_folder(), mozjpeg=mozjpeg, jobs_at_once=jobs)
