"""What a product of two small images costs each part with 1, 2 and 4 worker processes: the figures
of docs/explanation/scaling.md.

Processor time depends on what else the machine does. So each part's is also given as a multiple of
the codec's, whose work is the same in every run.
"""

from collections.abc import Iterator

from benchmarks.figures import Figure
from benchmarks.origin import running_origin
from benchmarks.parts import SERVICE, used_so_far
from benchmarks.photos import SMALL, photos
from benchmarks.service import catalogue, new_folder, run_to_the_end
from tests.support.halftone import running_separately
from tests.support.postgres import TestPostgres, running_postgres
from tests.support.rabbitmq import running_rabbitmq

CODEC = "codec"
WORKERS, PRODUCTS, IMAGES = (1, 2, 4), 1000, 2


def scaling() -> list[Figure]:
    """Processor time by part for a product of two small images, with 1, 2 and 4 worker processes
    of one codec process each.
    """
    figures: list[Figure] = []
    with (
        running_origin(photos(SMALL)) as urls,
        running_postgres(durable=True) as postgres,
        running_rabbitmq() as rabbitmq,
    ):
        for workers in WORKERS:
            queue = rabbitmq.new_vhost()
            figures += _with_workers(workers, urls, postgres, queue)
    return figures


def _with_workers(
    workers: int, urls: list[str], postgres: TestPostgres, queue: str
) -> Iterator[Figure]:
    settings = {"connections_per_host": "32", "codec_processes": "1"}
    with running_separately(
        new_folder(), postgres.new_database(), queue, workers=workers, **settings
    ) as service:
        service.postgres_pid = postgres.pid
        run_to_the_end(service, catalogue(urls, PRODUCTS // 10, IMAGES))  # warms up
        before = used_so_far(service)
        took, _ = run_to_the_end(service, catalogue(urls, PRODUCTS, IMAGES))
        after = used_so_far(service)
    spent = {part: after.seconds[part] - before.seconds[part] for part in SERVICE}
    yield Figure(f"{workers} workers", PRODUCTS / took, "products/s")
    for part, seconds in spent.items():
        yield Figure(f"{workers} workers: {part}", 1000 * seconds / PRODUCTS, "ms/product")
        if part != CODEC:
            yield Figure(f"{workers} workers: {part} ÷ codec", seconds / spent[CODEC], "")
