"""How many products a second the completion barrier takes, from the start of a large request to its end.

`python -m benchmarks.barrier`: one request, several processes with a connection each, a tenth of all settlements
sent twice. PostgreSQL runs beside them on the same cores, with fsync on; the settlements' commits are as durable as
production's.
"""

import argparse
import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from sqlalchemy import text

from halftone_shared.barrier import settle_product
from halftone_shared.database import make_engine
from halftone_shared.products import Claim
from halftone_shared.results import ProductKey, ProductResult
from tests.support.postgres import running_postgres
from tests.support.stored import execute, good_image, query, store_request

PARTS = 10
_CLAIM_ALL = """
    UPDATE products SET status = 'PROCESSING', claims = 1, attempts = 1, lease_until = now() + interval '1 hour'
    WHERE request_id = :request_id
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--products", type=int, default=120_000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--duplicates", type=float, default=0.1, help="share of settlements that are sent twice")
    arguments = parser.parse_args()
    with running_postgres(durable=True) as postgres:
        url = postgres.new_database()
        engine = make_engine(url, pool_size=1)
        request_id = store_request(engine, arguments.products)
        execute(engine, _CLAIM_ALL, request_id=request_id)
        with engine.connect() as connection:
            connection.execute(text("VACUUM ANALYZE products"))
        print(
            f"{arguments.products} products, {arguments.connections} connections,"
            f" {arguments.duplicates:.0%} sent twice, fsync on"
        )
        starts = multiprocessing.get_context("spawn").Barrier(arguments.connections)
        with multiprocessing.get_context("spawn").Pool(
            arguments.connections, initializer=_keep, initargs=(starts,)
        ) as pool:
            jobs = [
                (url, request_id, part, arguments.products, arguments.connections, arguments.duplicates)
                for part in range(arguments.connections)
            ]
            results = pool.map(_settle_part, jobs, chunksize=1)
        _report(results, arguments.products)
        (row,) = query(engine, "SELECT status, processed_products, open_shards FROM requests")
        print(f"request: {row.status}, {row.processed_products} products counted, {row.open_shards} shards open")
        engine.dispose()


_starts: Any = None


def _keep(starts: Any) -> None:
    global _starts  # noqa: PLW0603 - how a pool's processes are given what cannot be pickled
    _starts = starts


def _settle_part(job: tuple[str, UUID, int, int, int, float]) -> tuple[list[float], int, int]:
    """Settle this process's share; when each product was counted, how often one was, and how often the end was seen."""
    url, request_id, part, products, connections, duplicates = job
    engine = make_engine(url, pool_size=1, pre_ping=False)
    result = ProductResult([good_image("name")])
    counted = ended = 0
    moments: list[float] = []
    with engine.connect() as connection:
        _starts.wait()
        for seq in _sequence(part, products, connections, duplicates):
            claim = Claim(ProductKey(request_id, seq), 1, 1, ["u"], [None], {})
            settled = settle_product(connection, claim, result)
            counted += settled.counted
            ended += settled.ended
            if settled.counted:
                moments.append(time.time())
    engine.dispose()
    return moments, counted, ended


def _sequence(part: int, products: int, connections: int, duplicates: float) -> Iterator[int]:
    rng = random.Random(part)  # noqa: S311 - a benchmark's
    for seq in range(1 + part, products + 1, connections):
        yield seq
        if rng.random() < duplicates:
            yield seq


def _report(results: list[tuple[list[float], int, int]], products: int) -> None:
    moments = sorted(moment for part, _, _ in results for moment in part)
    first, last = moments[0], moments[-1]
    counts: Counter[int] = Counter()
    size = len(moments) // PARTS
    print(f"{products / (last - first):8.0f} finishes a second over all")
    for part in range(PARTS):
        begin, end = moments[part * size], moments[min((part + 1) * size, len(moments) - 1)]
        print(f"{size / (end - begin):8.0f} in the {part + 1}. tenth")
    counts[sum(counted for _, counted, _ in results)] += 1
    print(f"{sum(counted for _, counted, _ in results)} counted, {sum(ended for _, _, ended in results)} saw the end")


if __name__ == "__main__":
    main()
