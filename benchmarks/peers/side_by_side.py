"""halftone and other implementations of the same job, on the same photographs from the same origin,
in turns.
"""

import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from benchmarks.figures import Figure, at_least, at_most, save
from benchmarks.origin import running_origin
from benchmarks.parts import SERVICE, used_so_far
from benchmarks.peers import bullmq_design, celery_design, img2dataset_design
from benchmarks.peers.equal_score import bytes_at_equal_score
from benchmarks.peers.run import Run
from benchmarks.photos import LARGE, SMALL, photos
from benchmarks.service import catalogue, new_folder, run_to_the_end, running_service
from halftone_shared.model.options import Effort
from tests.support.halftone import Service

ROUNDS = int(os.environ.get("HALFTONE_BENCH_ROUNDS", "3"))
# Of each process of the peers: more makes neither faster.
JOBS_AT_ONCE, JOBS_AT_ONCE_WITH_LATENCY = 8, 64
THREADS, THREADS_WITH_LATENCY = 32, 256
# The Celery design waits for each image in turn: with latency, a few products show its rate.
CELERY_PRODUCTS_WITH_LATENCY = 4

FAST, BALANCED = "halftone, fast", "halftone, balanced"
SHARP, MOZJPEG = "BullMQ, sharp", "BullMQ, sharp with mozjpeg"
CELERY, IMG2DATASET = "Celery design, a request a core", "img2dataset"
# How halftone is compared with each peer in bytes at equal score: with the effort of its goal.
EFFORTS = {
    SHARP: Effort.FAST,
    MOZJPEG: Effort.BALANCED,
    IMG2DATASET: Effort.FAST,
    CELERY: Effort.FAST,
}


@dataclass(frozen=True)
class Setting:
    """What is fetched, and what halftone should reach, as a multiple of the best peer's rate."""

    title: str
    size: tuple[int, int]
    products: int
    images: int
    latency_seconds: float
    goal: float


SETTINGS = (
    Setting("photographs", LARGE, 100, 2, 0.0, 2.2),
    Setting("small", SMALL, 150, 20, 0.0, 1.5),
    Setting("photographs, 300 ms", LARGE, 100, 2, 0.3, 2.2),
    Setting("small, 300 ms", SMALL, 150, 20, 0.3, 2.0),
)


def peers() -> list[Figure]:
    """Small images and photographs, without and with 300 ms for each answer: images a second,
    processor time and bytes, medians of rounds in turns; and bytes at equal SSIMULACRA2.

    HALFTONE_BENCH_ROUNDS=1 makes it shorter. The figures of each setting are saved at once.
    """
    bullmq_design.install()
    img2dataset_design.install()
    figures: list[Figure] = []
    for setting in SETTINGS:
        figures += _measured(setting)
        save("peers", figures)
    return figures


def _measured(setting: Setting) -> Iterator[Figure]:
    runs = _runs(setting)
    rates = {name: statistics.median(_rates(some)) for name, some in runs.items()}
    for name, some in runs.items():
        used = statistics.median(run.processor_seconds / run.images for run in some)
        yield Figure(f"{setting.title}: {name}", rates[name], "images/s")
        yield Figure(f"{setting.title}: {name}, processor", 1000 * used, "ms/image")
        yield Figure(f"{setting.title}: {name}, bytes", _bytes_an_image(some[0]), "B/image")
    best = max((SHARP, IMG2DATASET, CELERY), key=rates.__getitem__)
    yield at_least(
        f"{setting.title}: fast ÷ best peer ({best})", rates[FAST] / rates[best], "×", setting.goal
    )
    yield at_least(
        f"{setting.title}: balanced ÷ sharp with mozjpeg", rates[BALANCED] / rates[MOZJPEG], "×", 3
    )
    if not setting.latency_seconds:
        peers = {name: (effort, runs[name][0].outputs) for name, effort in EFFORTS.items()}
        for name, ratio in bytes_at_equal_score(setting.size, peers).items():
            title = f"{setting.title}: {EFFORTS[name]}, bytes at the score of {name} ÷ its bytes"
            yield at_most(title, ratio, "×", 1)


def _runs(setting: Setting) -> dict[str, list[Run]]:
    """The runs of each contestant, in turns."""
    runs: dict[str, list[Run]] = {}
    with (
        running_origin(photos(setting.size), latency_seconds=setting.latency_seconds) as urls,
        _halftone(setting) as service,
    ):
        run_to_the_end(service, catalogue(urls, 20, setting.images))  # warms up
        start = _run_img2dataset(setting, catalogue(urls, 1, 1))
        contestants: dict[str, Callable[[str], Run]] = {
            FAST: partial(_run_halftone, service, Effort.FAST),
            BALANCED: partial(_run_halftone, service, Effort.BALANCED),
            SHARP: partial(_run_bullmq, setting, mozjpeg=False),
            MOZJPEG: partial(_run_bullmq, setting, mozjpeg=True),
            IMG2DATASET: partial(_run_img2dataset, setting),
            CELERY: _run_celery,
        }
        for _ in range(ROUNDS):
            for name, run in contestants.items():
                runs.setdefault(name, []).append(run(_catalogue(setting, name, urls)))
    from_start = [img2dataset_design.without_start(run, start) for run in runs[IMG2DATASET]]
    return runs | {IMG2DATASET: from_start}


def _catalogue(setting: Setting, name: str, urls: Sequence[str]) -> str:
    is_celery_with_latency = name == CELERY and setting.latency_seconds
    products = CELERY_PRODUCTS_WITH_LATENCY if is_celery_with_latency else setting.products
    return catalogue(urls, products, setting.images)


def _rates(runs: Sequence[Run]) -> list[float]:
    return [run.images / run.seconds for run in runs]


def _bytes_an_image(run: Run) -> float:
    return run.bytes_out / run.images


@contextmanager
def _halftone(setting: Setting) -> Iterator[Service]:
    with running_service(connections_per_host="1000" if setting.latency_seconds else "32") as one:
        yield one


def _run_halftone(service: Service, effort: Effort, csv: str) -> Run:
    before = used_so_far(service)
    took, status = run_to_the_end(service, csv, effort=effort)
    after = used_so_far(service)
    used = sum(after.seconds[part] - before.seconds[part] for part in SERVICE)
    return Run(status["total_images"], took, used, status["bytes_out"])


def _run_bullmq(setting: Setting, csv: str, *, mozjpeg: bool) -> Run:
    jobs = JOBS_AT_ONCE_WITH_LATENCY if setting.latency_seconds else JOBS_AT_ONCE
    return bullmq_design.run(csv, new_folder(), mozjpeg=mozjpeg, jobs_at_once=jobs)


def _run_img2dataset(setting: Setting, csv: str) -> Run:
    threads = THREADS_WITH_LATENCY if setting.latency_seconds else THREADS
    return img2dataset_design.run(csv, new_folder(), threads=threads)


def _run_celery(csv: str) -> Run:
    return celery_design.run(csv, new_folder(), tasks=os.cpu_count() or 1)
