"""End to end through the real parts, compared with its limit in the same run: the codec alone on
all cores.
"""

import os
from collections.abc import Sequence

from benchmarks.codec_alone import images_a_second
from benchmarks.figures import Figure, at_least
from benchmarks.origin import running_origin
from benchmarks.parts import milliseconds_an_image, used_so_far
from benchmarks.peers import celery_design
from benchmarks.photos import LARGE, SMALL, photos
from benchmarks.service import (
    catalogue,
    codecs,
    new_file_microseconds,
    new_folder,
    processor_seconds,
    run_to_the_end,
    running_service,
    without_accelerator,
)

PRODUCTS, IMAGES = 1000, 2
LIMIT_SECONDS = 10


def end_to_end() -> list[Figure]:
    """1,000 products × 2 photographs of 1500 × 1500."""
    files = photos(LARGE)
    before = images_a_second(files, LIMIT_SECONDS)
    with running_origin(files) as urls, running_service() as service:
        run_to_the_end(service, catalogue(urls, 50, IMAGES))  # warms up
        used = used_so_far(service)
        took, status = run_to_the_end(service, catalogue(urls, PRODUCTS, IMAGES))
        parts = milliseconds_an_image(used, used_so_far(service), PRODUCTS * IMAGES)
    limit = (before + images_a_second(files, LIMIT_SECONDS)) / 2
    ours = PRODUCTS * IMAGES / took
    return [
        Figure("codec alone", limit, "images/s"),
        Figure("end to end", ours, "images/s"),
        at_least("share of the limit", ours / limit, "", 0.85),
        Figure("bytes saved", 100 * status["bytes_saved"] / status["bytes_in"], "%"),
        *parts,
        Figure("processor: a new file, by itself", new_file_microseconds(), "µs"),
    ]


def against_peer() -> list[Figure]:
    """The same job in the design of the documents: Celery, Redis, requests, Pillow, one task per
    request.
    """
    with running_origin(photos(LARGE)) as urls:
        csv = catalogue(urls, PRODUCTS // 2, IMAGES)
        took = _took(urls, csv)
        with without_accelerator():
            by_pillow = _took(urls, csv)
        peer = celery_design.run(csv, new_folder()).seconds
        in_shares = celery_design.run(csv, new_folder(), tasks=os.cpu_count() or 1)
    images = PRODUCTS // 2 * IMAGES
    return [
        Figure("halftone", images / took, "images/s"),
        Figure("halftone by Pillow alone", images / by_pillow, "images/s"),
        Figure("Celery design, one request", images / peer, "images/s"),
        Figure("Celery design, a request a core", images / in_shares.seconds, "images/s"),
        at_least("times as fast", peer / took, "×", 3),
        at_least("times as fast, by Pillow alone", peer / by_pillow, "×", 1),
        Figure("times as fast as a request a core", in_shares.seconds / took, "×"),
        at_least(
            "times as fast as a request a core, by Pillow alone",
            in_shares.seconds / by_pillow,
            "×",
            1,
        ),
    ]


def _took(urls: Sequence[str], csv: str) -> float:
    with running_service() as service:
        run_to_the_end(service, catalogue(urls, 50, IMAGES))  # warms up
        return run_to_the_end(service, csv)[0]


def slow_shop() -> list[Figure]:
    """60 small images per product from a shop that takes 300 ms for each: does the codec wait for
    the network?
    """
    slow, busy = _shop(latency_seconds=0.3)
    quick, _ = _shop(latency_seconds=0.0)
    return [
        Figure("images", slow, "images/s"),
        at_least("codec busy", 100 * busy, "%", 80),
        Figure("images, from a shop that answers at once", quick, "images/s"),
        Figure("share of that", slow / quick, ""),
    ]


def _shop(latency_seconds: float) -> tuple[float, float]:
    """Images a second, and the codec processes' share of all cores."""
    products, images = 400, 60
    with (
        running_origin(photos(SMALL), latency_seconds=latency_seconds) as urls,
        running_service(connections_per_host="1000") as service,
    ):
        run_to_the_end(service, catalogue(urls, products // 10, images))
        before = processor_seconds(codecs(service))
        took, _ = run_to_the_end(service, catalogue(urls, products, images))
        busy = (processor_seconds(codecs(service)) - before) / took / (os.cpu_count() or 1)
    return products * images / took, busy
