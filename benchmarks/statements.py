"""What claiming and settling a product costs with shared statements, and with one for each product.

`python -m benchmarks.statements`: threads claim and settle the products of one request, as those of
a worker do. Processor time of this process and of PostgreSQL for each product, and products a
second. The rounds alternate; every commit is on the disk (fsync).
"""

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import psutil
from sqlalchemy import Connection, Engine, text

from halftone_shared.db.barrier import settle_products
from halftone_shared.db.engine import make_engine
from halftone_shared.db.products import claim_products
from halftone_shared.model.results import ProductKey, ProductResult
from halftone_workers.jobs.batching import Batched, Call
from tests.support.postgres import running_postgres
from tests.support.stored import good_image, store_request

PRODUCTS, THREADS, ROUNDS = 2000, 16, 5
Write = Callable[[Connection, Any], Sequence[Any]]


class _Statement(NamedTuple):
    write: Write
    what: Any


Do = Callable[[_Statement], Any]


def _shared(engine: Engine) -> Do:
    def do_all(calls: Sequence[Call[_Statement, Any]]) -> None:
        for write in {call.item.write for call in calls}:
            some = [call for call in calls if call.item.write is write]
            with engine.connect() as connection:
                results = write(connection, [call.item.what for call in some])
            for call, result in zip(some, results, strict=True):
                call.set_result(result)

    return Batched(do_all).do


def _alone(engine: Engine) -> Do:
    def do(statement: _Statement) -> Any:
        with engine.connect() as connection:
            return statement.write(connection, [statement.what])[0]

    return do


WAYS: dict[str, Callable[[Engine], Do]] = {"shared": _shared, "one for each": _alone}


def _run(do: Do, request_id: UUID) -> None:
    result, waiting = ProductResult([good_image()]), iter(range(1, PRODUCTS + 1))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                seq = next(waiting, None)
            if seq is None:
                return
            claim = do(_Statement(claim_products, ProductKey(request_id, seq)))
            assert do(_Statement(settle_products, (claim, result))).counted

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _used(postgres: psutil.Process) -> float:
    processes = [postgres, *postgres.children(), psutil.Process()]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def main() -> None:
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    with running_postgres(durable=True) as server:
        engine = make_engine(server.new_database(), pool_size=THREADS)
        postgres = psutil.Process(server.pid)
        for round_ in range(ROUNDS + 1):
            for name, way in WAYS.items():
                request_id = store_request(engine, PRODUCTS)
                with engine.connect() as connection:
                    connection.execute(text("VACUUM ANALYZE products"))
                used, started = _used(postgres), time.perf_counter()
                _run(way(engine), request_id)
                used, took = _used(postgres) - used, time.perf_counter() - started
                if round_:  # the first one warms up
                    measured[name].append((1000 * used / PRODUCTS, PRODUCTS / took))
        engine.dispose()
    print(f"{THREADS} threads, {PRODUCTS} products, claimed and settled")
    for name, rounds in measured.items():
        spent, rates = zip(*rounds, strict=True)
        print(
            f"  {name:13} {statistics.median(spent):.2f} ms a product"
            f" ({min(spent):.2f} to {max(spent):.2f}), {statistics.median(rates):,.0f} products/s"
        )


if __name__ == "__main__":
    main()
