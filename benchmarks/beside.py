"""What the service costs beside its codec: processor time an image, by part.

Processor time holds on a machine that does other work too; a rate does not.
"""

from contextlib import suppress

import psutil

from benchmarks.figures import Figure, at_least, at_most
from benchmarks.origin import running_origin
from benchmarks.parts import SERVICE, Used, used_so_far
from benchmarks.photos import LARGE, SMALL, photos
from benchmarks.service import catalogue, run_to_the_end, running_service

CODEC = "codec"
# What is measured: the size of the photographs, products, and images a product.
CASES = {
    "twenty small": (SMALL, 200, 20),
    "two small": (SMALL, 1000, 2),
    "two photographs": (LARGE, 400, 2),
}
GOALS = {"twenty small": 0.5, "two photographs": 1.8}


def beside_the_codec() -> list[Figure]:
    """Processor time an image in products of twenty small images, of two, and of two
    photographs.
    """
    return [figure for case in CASES for figure in measured(case)]


def measured(case: str) -> list[Figure]:
    size, products, images = CASES[case]
    with running_origin(photos(size)) as urls, running_service() as service:
        run_to_the_end(service, catalogue(urls, products // 10, images))  # warms up
        before, switched = used_so_far(service), _switches(service.processes["worker 1"].pid)
        took, _ = run_to_the_end(service, catalogue(urls, products, images))
        after = used_so_far(service)
        switches = _switches(service.processes["worker 1"].pid) - switched
    done = products * images
    parts = {name: _milliseconds(name, before, after, done) for name in SERVICE}
    beside = sum(parts.values()) - parts[CODEC]
    title = f"{case} a product: beside the codec"
    goal = GOALS.get(case)
    return [
        at_most(title, beside, "ms/image", goal) if goal else Figure(title, beside, "ms/image"),
        *(Figure(f"{case}: {name}", spent, "ms/image") for name, spent in parts.items()),
        at_least(f"{case}: the codec's share", parts[CODEC] / sum(parts.values()), "", 0.4)
        if size == SMALL
        else Figure(f"{case}: the codec's share", parts[CODEC] / sum(parts.values()), ""),
        Figure(f"{case}: the worker's thread changes", switches / done, "an image"),
        Figure(f"{case}: images", done / took, "images/s"),
    ]


def _milliseconds(part: str, before: Used, after: Used, images: int) -> float:
    return 1000 * (after.seconds[part] - before.seconds[part]) / images


def _switches(pid: int) -> int:
    """Context switches of all threads of a process so far."""
    total = 0
    for thread in psutil.Process(pid).threads():
        with suppress(psutil.Error, ProcessLookupError):
            switches = psutil.Process(thread.id).num_ctx_switches()
            total += switches.voluntary + switches.involuntary
    return total
