"""Whether a worker gains by adapting how many of its products are active, against fixed numbers.

`python -m benchmarks.admission [CASE …] [--rounds N]`: the runtime, the broker and the dispatcher
of a worker run in this process. They process the same products with each kind of admission in
turn. Measured are images a second, the processor time of this process, its codec processes and
PostgreSQL for each image, and, where the shop is fast, the seconds that a small upload of the same
owner takes while the large one runs.
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

import psutil
from dramatiq import Worker

from benchmarks.origin import running_origin
from benchmarks.photos import LARGE, SMALL, photos
from halftone_shared.db.engine import make_engine
from halftone_shared.runtime.gc_tuning import collect_rarely
from halftone_shared.runtime.logs import configure_logs
from halftone_shared.service.dispatcher import make_dispatcher
from halftone_workers.brokers import InProcessBroker, InProcessQueue
from halftone_workers.jobs.actors import declare_actors
from halftone_workers.jobs.admission import Admission
from halftone_workers.jobs.product import ProductJobs
from halftone_workers.jobs.webhook import WebhookJobs
from halftone_workers.runtime import Runtime
from halftone_workers.settings import WEBHOOKS_AT_ONCE
from tests.support.postgres import running_postgres
from tests.support.runtime import running_runtime
from tests.support.stored import execute, query, store_request

# The products with a place, and whether up to twice as many get one while shops are slow.
ADMISSIONS = {
    "8 to 16, adapted": (8, True),
    "4": (4, False),
    "8": (8, False),
    "16": (16, False),
    "64": (64, False),
}
SMALL_UPLOAD = 5
_runs = count(1)


@dataclass(frozen=True)
class Case:
    """Products of that many images each, from a shop that answers after this latency."""

    size: tuple[int, int]
    products: int
    images: int
    latency_seconds: float = 0.0


CASES = {
    "photographs": Case(LARGE, 150, 2),
    "small images": Case(SMALL, 400, 2),
    "0.3 s an image": Case(SMALL, 40, 60, 0.3),
    "10 s an image": Case(SMALL, 160, 4, 10.0),
}


@dataclass(frozen=True)
class Measured:
    images_a_second: float
    milliseconds_an_image: float
    small_upload_seconds: float | None


class Bench:
    """A runtime and its database, which all measurements share."""

    def __init__(self, runtime: Runtime, postgres_pid: int) -> None:
        self._runtime = runtime
        self._postgres = psutil.Process(postgres_pid)
        self._engine = make_engine(runtime.settings.database_url, pool_size=2)
        self._owner = uuid4()
        execute(self._engine, "INSERT INTO owners (id, name) VALUES (:id, 'shop')", id=self._owner)

    def close(self) -> None:
        self._engine.dispose()

    def measure(self, case: Case, urls: Sequence[str], places: int, adapts: bool) -> Measured:
        with self._working(places, adapts):
            used, started = self._processor_seconds(), time.perf_counter()
            request_id = self._store(case.products, case.images, urls)
            small_upload_seconds = None
            if not case.latency_seconds:
                self._wait_for(request_id, case.products // 3)
                small_upload_seconds = self._seconds_of_a_small_upload(urls)
            self._wait_for(request_id, case.products)
            took, used = time.perf_counter() - started, self._processor_seconds() - used
        images = case.products * case.images
        return Measured(images / took, 1000 * used / images, small_upload_seconds)

    @contextmanager
    def _working(self, places: int, adapts: bool) -> Iterator[None]:
        """Start the threads that `halftone_workers.main` starts, with this admission."""
        products, webhooks = ProductJobs(self._runtime), WebhookJobs(self._runtime)
        products._admission = Admission(  # noqa: SLF001 - the worker has no setting for this
            places, 2 * places, self._runtime.wants_more_images if adapts else lambda: False
        )
        broker = InProcessBroker(middleware=[])
        declare_actors(broker, products, webhooks)
        worker = Worker(broker, worker_threads=2 * places + WEBHOOKS_AT_ONCE)
        worker.queue_prefetch = 2 * places
        dispatcher = make_dispatcher(self._runtime.settings, InProcessQueue(broker))
        worker.start()
        dispatcher.start()
        try:
            yield
        finally:
            products.stop()
            dispatcher.stop()
            worker.stop()
            products.close()
            webhooks.close()
            broker.close()

    def _store(self, products: int, images: int, urls: Sequence[str]) -> UUID:
        run = next(_runs)

        def url_of(seq: int, at: int) -> str:  # unique: known images are not compressed again
            return f"{urls[(seq * images + at) % len(urls)]}?{run}-{seq}-{at}"

        return store_request(
            self._engine, products, images=images, owner_id=self._owner, url_of=url_of
        )

    def _seconds_of_a_small_upload(self, urls: Sequence[str]) -> float:
        started = time.perf_counter()
        self._wait_for(self._store(SMALL_UPLOAD, 2, urls), SMALL_UPLOAD)
        return time.perf_counter() - started

    def _wait_for(self, request_id: UUID, products: int) -> None:
        statement = "SELECT count(*) FROM products WHERE request_id = :id AND status = 'COMPLETED'"
        while query(self._engine, statement, id=request_id)[0][0] < products:
            time.sleep(0.02)  # the database is polled as a client polls the status

    def _processor_seconds(self) -> float:
        this = psutil.Process()
        codec = [
            child
            for child in this.children(recursive=True)
            if "halftone_workers.codec_processes.child" in child.cmdline()
        ]
        processes = [this, *codec, self._postgres, *self._postgres.children()]
        return sum(sum(process.cpu_times()[:2]) for process in processes)


def _measure(name: str, rounds: int) -> None:
    """Measure a case, and print the medians of all rounds so far after each one."""
    case = CASES[name]
    measured: dict[str, list[Measured]] = {admission: [] for admission in ADMISSIONS}
    with (
        running_postgres(durable=True) as postgres,
        TemporaryDirectory() as folder,
        running_origin(photos(case.size), latency_seconds=case.latency_seconds) as urls,
        running_runtime(
            postgres.new_database(),
            Path(folder),
            codec_processes=os.cpu_count(),
            connections_per_host=1000,
            fetch_allow="127.0.0.0/8",
        ) as runtime,
    ):
        bench = Bench(runtime, postgres.pid)
        bench.measure(Case(case.size, 50, 2), urls, 8, adapts=True)  # warms up
        for number in range(1, rounds + 1):
            for admission, (places, adapts) in ADMISSIONS.items():
                measured[admission].append(bench.measure(case, urls, places, adapts))
            print(f"{name}: round {number} of {rounds}; load {os.getloadavg()[0]:.0f}")
            _show(measured)
        bench.close()


def _show(measured: dict[str, list[Measured]]) -> None:
    for admission, rounds in measured.items():
        rates = [one.images_a_second for one in rounds]
        spent = [one.milliseconds_an_image for one in rounds]
        small = [one.small_upload_seconds for one in rounds if one.small_upload_seconds]
        print(
            f"  {admission:17} {statistics.median(rates):6.0f} images/s"
            f" ({min(rates):.0f} to {max(rates):.0f}),"
            f" {statistics.median(spent):.2f} ms/image ({min(spent):.2f} to {max(spent):.2f})"
            + (f", small upload {statistics.median(small):.2f} s" if small else "")
        )


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.admission", description=__doc__)
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], metavar="CASE", help=str(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    configure_logs("warning", "console", service="benchmark")
    if hasattr(os, "SCHED_BATCH"):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # the worker's policy
    collect_rarely()
    for name in given.cases or CASES:
        _measure(name, given.rounds)


if __name__ == "__main__":
    main()
