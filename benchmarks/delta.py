"""The same catalogue again, nothing changed: what the second request costs beside the first.

HALFTONE_BENCH_PRODUCTS sets the size. The shares need no quiet machine as long as the other work
stays the same; the rates do.
"""

import os
from dataclasses import dataclass

from benchmarks.figures import Figure, at_most
from benchmarks.origin import change, running_origin
from benchmarks.parts import SERVICE, used_so_far
from benchmarks.photos import LARGE, photos
from benchmarks.service import catalogue, run_to_the_end, running_service
from tests.support.halftone import Service

PRODUCTS = int(os.environ.get("HALFTONE_BENCH_PRODUCTS", "10000"))
IMAGES = 2
CODEC = "codec"


@dataclass(frozen=True)
class Run:
    """One request: how long it took, and the processor time of each part."""

    seconds: float
    used: dict[str, float]
    reused: int

    @property
    def beside(self) -> float:
        """Processor seconds of everything but the codec."""
        return sum(self.used.values()) - self.used[CODEC]


def unchanged_catalogue() -> list[Figure]:
    """A catalogue of photographs again: by validators, and by content hash alone."""
    return [*_again("validators", has_validators=True), *_again("hash only", has_validators=False)]


def _again(case: str, *, has_validators: bool) -> list[Figure]:
    total = PRODUCTS * IMAGES
    with (
        running_origin(photos(LARGE), has_validators=has_validators) as urls,
        running_service() as service,
    ):
        run_to_the_end(service, catalogue(urls, 50, IMAGES))  # warms up
        csv = catalogue(urls, PRODUCTS, IMAGES)
        first, again = _run(service, csv), _run(service, csv)
        change(csv.split('"')[1].split(",")[0])
        changed = _run(service, csv)
    share = at_most if has_validators else _without_goal
    return [
        Figure(f"{case}: first run", total / first.seconds, "images/s"),
        Figure(f"{case}: second run", total / again.seconds, "images/s"),
        share(f"{case}: its time", 100 * again.seconds / first.seconds, "% of the first", 25),
        at_most(f"{case}: its codec", 100 * again.used[CODEC] / first.used[CODEC], "%", 5),
        at_most(f"{case}: images not reused", total - again.reused, "", 0),
        at_most(f"{case}: one image changed: not reused", total - changed.reused, "", 1),
        Figure(f"{case}: beside the codec, first run", 1000 * first.beside / total, "ms/image"),
        Figure(f"{case}: beside the codec, second run", 1000 * again.beside / total, "ms/image"),
        *(
            Figure(f"{case}: second run: {part}", 1000 * again.used[part] / total, "ms/image")
            for part in SERVICE
        ),
    ]


def _without_goal(name: str, value: float, unit: str, _: float) -> Figure:
    return Figure(name, value, unit)


def _run(service: Service, csv: str) -> Run:
    before = used_so_far(service).seconds
    seconds, status = run_to_the_end(service, csv)
    after = used_so_far(service).seconds
    used = {part: after[part] - before[part] for part in SERVICE}
    return Run(seconds, used, status["reused_images"])
