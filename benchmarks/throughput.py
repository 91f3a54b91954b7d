"""End to end through the real parts, beside its limit in the same run: the codec alone on all cores."""

import os

from benchmarks.codec_alone import images_a_second
from benchmarks.figures import Figure, at_least
from benchmarks.origin import running_origin
from benchmarks.peers import celery_design
from benchmarks.photos import LARGE, SMALL, photos
from benchmarks.service import catalogue, codecs, processor_seconds, run_to_the_end, running_service

PRODUCTS, IMAGES = 1000, 2
LIMIT_SECONDS = 10


def end_to_end() -> list[Figure]:
    """1,000 products × 2 photographs of 1500 × 1500."""
    files = photos(LARGE)
    before = images_a_second(files, LIMIT_SECONDS)
    with running_origin(files) as urls, running_service() as service:
        run_to_the_end(service, catalogue(urls, 50, IMAGES))  # warms up
        took, status = run_to_the_end(service, catalogue(urls, PRODUCTS, IMAGES))
    limit = (before + images_a_second(files, LIMIT_SECONDS)) / 2
    ours = PRODUCTS * IMAGES / took
    return [
        Figure("codec alone", limit, "images/s"),
        Figure("end to end", ours, "images/s"),
        at_least("share of the limit", ours / limit, "", 0.85),
        Figure("bytes saved", 100 * status["bytes_saved"] / status["bytes_in"], "%"),
    ]


def against_peer() -> list[Figure]:
    """The same job by the design of the documents: Celery, Redis, requests, Pillow, one task a request."""
    files = photos(LARGE)
    with running_origin(files) as urls, running_service() as service:
        run_to_the_end(service, catalogue(urls, 50, IMAGES))
        took, _ = run_to_the_end(service, catalogue(urls, PRODUCTS // 2, IMAGES))
        peer = celery_design.run(catalogue(urls, PRODUCTS // 2, IMAGES))
    return [
        Figure("halftone", PRODUCTS * IMAGES / 2 / took, "images/s"),
        Figure("Celery design, one request", PRODUCTS * IMAGES / 2 / peer, "images/s"),
        at_least("times as fast", peer / took, "×", 3),
    ]


def slow_shop() -> list[Figure]:
    """60 small images a product from a shop that takes 300 ms for each: does the codec wait for the network?"""
    files = photos(SMALL)
    with running_origin(files, latency_seconds=0.3) as urls, running_service(connections_per_host="400") as service:
        run_to_the_end(service, catalogue(urls, 40, 60))
        before = processor_seconds(codecs(service))
        took, _ = run_to_the_end(service, catalogue(urls, 400, 60))
        busy = (processor_seconds(codecs(service)) - before) / took / (os.cpu_count() or 1)
    return [Figure("images", 400 * 60 / took, "images/s"), at_least("codec busy", 100 * busy, "%", 80)]
