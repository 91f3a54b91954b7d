"""What may grow and what must not: intake of a million rows, cost per product, memory, fairness,
idling.
"""

import itertools
import statistics
import threading
import time
from collections.abc import Iterator

import httpx
import psutil

from benchmarks.figures import Figure, at_least, at_most
from benchmarks.origin import running_origin
from benchmarks.parts import SERVICE, used_so_far
from benchmarks.photos import FOLDER, SMALL, photos
from benchmarks.service import (
    HEADER,
    catalogue,
    family,
    memory_bytes,
    processor_seconds,
    run_to_the_end,
    running_embedded,
    running_service,
)
from tests.support.halftone import Service, wait_for
from tests.support.images import encoded, picture

MIB = 1024**2
ROWS = 1_000_000


def million_rows() -> list[Figure]:
    """A CSV of a million rows: time to the 202, cost to the API, effect on other callers, and its
    download.
    """
    path = FOLDER / "million.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.write(HEADER)
        file.writelines(
            f"{row},SKU{row},http://127.0.0.1:9/{row}.jpg\n" for row in range(1, ROWS + 1)
        )
    with running_service(max_attempts="1") as service:
        api = psutil.Process(service.processes["api"].pid)
        other = service.accepted(HEADER + "1,SKU1,http://127.0.0.1:9/1.jpg\n")
        service.ended(other)
        before, most, answers, done = memory_bytes([api]), [0], [], threading.Event()

        def watch() -> None:
            with httpx.Client(base_url=service.url, trust_env=False) as http:
                while not done.wait(0.02):
                    most[0] = max(most[0], memory_bytes([api]))
                    started = time.perf_counter()
                    assert http.get(f"/api/status/{other}").status_code == 200
                    answers.append(time.perf_counter() - started)

        watcher = threading.Thread(target=watch)
        watcher.start()
        started = time.perf_counter()
        with path.open("rb") as csv:
            answer = service.http.post(
                "/api/upload", files={"file": ("million.csv", csv, "text/csv")}, timeout=600
            )
        accepted = time.perf_counter() - started
        done.set()
        watcher.join()
        assert answer.status_code == 202, answer.text
        request_id = answer.json()["request_id"]
        service.http.post(f"/api/cancel/{request_id}")
        service.ended(request_id, 900)
        grown = most[0] - before
        before_download, most_download = memory_bytes([api]), 0
        started = time.perf_counter()
        lines = 0
        with service.http.stream("GET", f"/api/download/{request_id}") as download:
            for number, chunk in enumerate(download.iter_bytes()):
                lines += chunk.count(b"\n")
                if number % 200 == 0:
                    most_download = max(most_download, memory_bytes([api]) - before_download)
        downloaded = time.perf_counter() - started
    assert lines == ROWS + 1
    return [
        at_most("1,000,000 rows answered 202 in", accepted, "s", 60),
        at_most("API memory grown meanwhile by", grown / MIB, "MiB", 150),
        at_most(
            "status answers meanwhile, p99",
            1000 * statistics.quantiles(answers, n=100)[98],
            "ms",
            50,
        ),
        Figure("output CSV downloaded in", downloaded, "s"),
        at_most("API memory grown meanwhile by (download)", most_download / MIB, "MiB", 50),
    ]


def flat_cost() -> list[Figure]:
    """100,000 products of one image of 1 KB: do the last ones take longer than the first?

    Wall-clock time includes the machine's other work in those five minutes, so processor time is
    measured as well.
    """
    products = 100_000
    path = FOLDER / "tiny.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(picture((40, 30)), quality=60))
    with running_origin([path]) as urls, running_service(products_at_once="32") as service:
        run_to_the_end(service, catalogue(urls, 2000, 1))
        request_id = service.accepted(catalogue(urls, products, 1))
        moments = list(_progress(service, request_id))
    by_clock = {ended: seconds for ended, seconds, _ in moments}
    by_processor = {ended: seconds for ended, _, seconds in moments}
    first, last = (_tenth(by_clock, products, *tenth) for tenth in (_FIRST, _LAST))
    first_used, last_used = (_tenth(by_processor, products, *tenth) for tenth in (_FIRST, _LAST))
    return [
        Figure("products", products / max(by_clock.values()), "/s"),
        Figure("the first tenth", first, "s"),
        Figure("the last tenth", last, "s"),
        Figure("the first tenth, processor time", 10_000 * first_used / products, "ms/product"),
        Figure("the last tenth, processor time", 10_000 * last_used / products, "ms/product"),
        at_most("last ÷ first", last / first, "", 1),
        Figure("last ÷ first, processor time", last_used / first_used, ""),
    ]


# Not from 0 to 1: at both ends the service is not fully busy.
_FIRST, _LAST = (0.02, 0.12), (0.89, 0.99)


def _progress(service: Service, request_id: str) -> Iterator[tuple[int, float, float]]:
    """Until the end of the request: products ended, seconds since the start, and the service's
    processor seconds.
    """
    started = time.perf_counter()
    while True:
        status = service.status(request_id)
        used = sum(
            seconds for part, seconds in used_so_far(service).seconds.items() if part in SERVICE
        )
        yield (
            status["processed_products"] + status["failed_products"],
            time.perf_counter() - started,
            used,
        )
        if status["completed_at"]:
            return
        time.sleep(0.5)


def _tenth(moments: dict[int, float], products: int, begin: float, end: float) -> float:
    """Seconds between two shares of the products, interpolated between the observed moments."""

    def when(share: float) -> float:
        for (low, early), (high, late) in itertools.pairwise(sorted(moments.items())):
            if low <= share * products <= high:
                return early + (late - early) * (share * products - low) / max(high - low, 1)
        raise AssertionError(share)

    return when(end) - when(begin)


def fairness() -> list[Figure]:
    """Five products uploaded behind 50,000 waiting ones, compared with the same five alone."""
    files = photos(SMALL)
    with running_origin(files) as urls, running_service() as service:
        small = catalogue(urls, 5, 2)
        run_to_the_end(service, small)
        alone = statistics.median(run_to_the_end(service, small)[0] for _ in range(25))
        big = service.accepted(catalogue(urls, 50_000, 2))
        time.sleep(3)
        behind = statistics.median(run_to_the_end(service, small)[0] for _ in range(25))
        assert service.status(big)["completed_at"] is None
        service.http.post(f"/api/cancel/{big}")
        service.ended(big, 300)
    return [
        Figure("five products alone", 1000 * alone, "ms"),
        Figure("the same behind 50,000", 1000 * behind, "ms"),
        at_most("times as long", behind / alone, "×", 3),
    ]


def status_answers() -> list[Figure]:
    """Status of a running request: each kept connection asks again as soon as it has an answer.

    The worker is suspended meanwhile: it takes no processor time, and the status stays the same
    until its leases end, after 20 s.
    """
    with (
        running_origin(photos(SMALL), latency_seconds=600) as urls,
        running_embedded(shutdown_grace_seconds="0", download_timeout_seconds="600") as service,
    ):
        request_id = service.accepted(catalogue(urls, 1000, 1))
        wait_for(lambda: service.status(request_id)["status"] == "PROCESSING")
        (api,) = _programs(service, "halftone_api")
        (worker,) = _programs(service, "halftone_workers")
        worker.suspend()
        try:
            return _status_answers(service, f"/api/status/{request_id}", api)
        finally:
            worker.resume()


def _status_answers(service: Service, path: str, api: psutil.Process) -> list[Figure]:
    etag = service.http.get(path).headers["etag"]
    figures = []
    for name, code, headers in (
        ("status", 200, {}),
        ("status unchanged (304)", 304, {"If-None-Match": etag}),
    ):
        before, started, count = processor_seconds([api]), time.perf_counter(), 1000
        for _ in range(count):
            answer = service.http.get(path, headers=headers)
            assert answer.status_code == code, answer
        took, used = time.perf_counter() - started, processor_seconds([api]) - before
        figures += [
            Figure(f"{name}, one client", count / took, "/s"),
            at_least(name, count / used, "/s a core", 1000),
        ]
    return figures


def _programs(service: Service, module: str) -> list[psutil.Process]:
    return [process for process in family(service) if module in process.cmdline()]


def idle() -> list[Figure]:
    """`halftone up` with nothing to do, PostgreSQL included."""
    with running_embedded() as service:
        time.sleep(15)
        processes = [*family(service), *_postgres(service)]
        before = processor_seconds(processes)
        time.sleep(30)
        used = (processor_seconds(processes) - before) / 30
        return [
            at_most("idle, of a core", 100 * used, "%", 1),
            at_most("idle, memory in all processes", memory_bytes(processes) / MIB, "MiB", 300),
        ]


def _postgres(service: Service) -> list[psutil.Process]:
    """The embedded server, which is not a child of the service, and its children."""
    pid_file = service.log.parent / "home" / "postgres" / "postmaster.pid"
    server = psutil.Process(int(pid_file.read_text().splitlines()[0]))
    return [server, *server.children(recursive=True)]


def worker_memory() -> list[Figure]:
    """Memory of a worker and its codec processes after 1,000 images, and after 10,000."""
    files = photos(SMALL)
    with running_origin(files) as urls, running_service() as service:
        worker = psutil.Process(service.processes["worker 1"].pid)

        def held() -> int:
            return memory_bytes([worker, *worker.children(recursive=True)])

        run_to_the_end(service, catalogue(urls, 250, 4))
        after_1000 = held()
        run_to_the_end(service, catalogue(urls, 2250, 4))
        after_10000 = held()
    return [
        Figure("after 1,000 images", after_1000 / MIB, "MiB"),
        Figure("after 10,000 images", after_10000 / MIB, "MiB"),
        at_most("grown", (after_10000 - after_1000) / after_1000 * 100, "%", 0),
    ]
