"""Files that are large in other ways than the native CSV: an export, a workbook, long rows, blank
lines. Each is uploaded to a service that is otherwise idle.
"""

import statistics
import subprocess
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import xlsxwriter

from benchmarks.figures import Figure, at_most
from benchmarks.photos import FOLDER
from benchmarks.service import HEADER, memory_bytes, processor_seconds, running_service
from tests.support.halftone import Service

MIB = 1024**2
_SHOPIFY = "Handle,Title,Vendor,Variant SKU,Image Src,Image Position,Variant Image\n"


@dataclass
class Taken:
    """The result of an upload: its answer, and the resources that the API and its children used.

    `processor_seconds` includes PostgreSQL.
    """

    answer: httpx.Response
    seconds: float
    processor_seconds: float
    grown: int
    child: int
    status_p99: float


def million_rows_of_an_export() -> list[Figure]:
    """A Shopify export of a million rows, a third of them without an image."""
    path = FOLDER / "million-shopify.csv"
    _write(
        path,
        _SHOPIFY,
        (
            f"p{row // 3},{'Name' if row % 3 == 0 else ''},Acme,S{row},"
            f"{'' if row % 3 == 2 else f'http://127.0.0.1:9/{row}.jpg'},{row % 3},\n"
            for row in range(1_000_000)
        ),
    )
    with running_service(max_attempts="1") as service:
        taken = _upload(service, path)
        body = taken.answer.json()
        assert (body["profile"], body["skipped_rows"]) == ("shopify", 333_333), body
        _cancel(service, body["request_id"])
        downloaded, grown = _download(service, f"/api/download/{body['request_id']}")
    return [
        at_most("1,000,000 rows of an export answered 202 in", taken.seconds, "s", 60),
        Figure("processor time, PostgreSQL included", taken.processor_seconds, "s"),
        at_most("API memory grown meanwhile by", taken.grown / MIB, "MiB", 150),
        at_most("status answers meanwhile, p99", 1000 * taken.status_p99, "ms", 50),
        Figure("output file downloaded in", downloaded, "s"),
        at_most("API memory grown meanwhile by (download)", grown / MIB, "MiB", 50),
    ]


def workbook_of_100_000_rows() -> list[Figure]:
    """A workbook of 100,000 rows and 10 columns."""
    path = FOLDER / "workbook.xlsx"
    path.parent.mkdir(parents=True, exist_ok=True)
    with xlsxwriter.Workbook(
        str(path), {"constant_memory": True, "strings_to_urls": False}
    ) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, [*HEADER.strip().split(","), *(f"Column {n}" for n in range(7))])
        for row in range(1, 100_001):
            cells = [row, f"SKU{row}", f"http://127.0.0.1:9/{row}.jpg", *range(row, row + 7)]
            sheet.write_row(row, 0, cells)
    with running_service(max_attempts="1") as service:
        taken = _upload(service, path)
        request_id = taken.answer.json()["request_id"]
        _cancel(service, request_id)
        downloaded, _ = _download(service, f"/api/download/{request_id}")
    return [
        at_most("workbook of 100,000 rows answered 202 in", taken.seconds, "s", 20),
        Figure("processor time, PostgreSQL included", taken.processor_seconds, "s"),
        at_most("its reader's memory", taken.child / MIB, "MiB", 512),
        Figure("API memory grown meanwhile by", taken.grown / MIB, "MiB"),
        Figure("output workbook downloaded in", downloaded, "s"),
    ]


def long_rows() -> list[Figure]:
    """95 MB in 238 rows of 100 URLs of 3,970 characters: no answer may take much memory."""
    path = FOLDER / "long-rows.csv"
    tail = "x" * 3940
    rows = (
        f'{row},P{row},"'
        + ",".join(f"http://127.0.0.1:9/{row:03}-{n:03}/{tail}" for n in range(100))
        + '"\n'
        for row in range(1, 239)
    )
    _write(path, HEADER, rows)
    with running_service(max_attempts="1") as service:
        taken = _upload(service, path)
        request_id = taken.answer.json()["request_id"]
        _cancel(service, request_id)
        _, details = _download(service, f"/api/details/{request_id}?limit=1000")
        _, download = _download(service, f"/api/download/{request_id}")
        _, report = _download(service, f"/api/download/{request_id}?report=images")
        _, at_once = _download(service, f"/api/details/{request_id}?limit=1000", at_once=6)
    return [
        Figure("95 MB in 238 rows answered 202 in", taken.seconds, "s"),
        at_most("API memory grown by details?limit=1000", details / MIB, "MiB", 150),
        at_most("by the output file", download / MIB, "MiB", 150),
        at_most("by the report", report / MIB, "MiB", 150),
        at_most("by six details at once", at_once / MIB, "MiB", 300),
    ]


def blank_lines() -> list[Figure]:
    """95 MB of line breaks, at the end of a file and within it."""
    row = "1,SKU1,http://127.0.0.1:9/1.jpg\n"
    figures = []
    with running_service(max_attempts="1") as service:
        for name, end in (("at the end", ""), ("within it", row.replace("1,SKU1", "2,SKU2"))):
            path = FOLDER / "blank-lines.csv"
            _write(path, HEADER, (row, "\n" * 95_000_000, end))
            taken = _upload(service, path)
            code = taken.answer.status_code
            assert code in (202, 413), taken.answer.text
            figures.append(
                at_most(f"95 MB of line breaks {name}, answered {code} in", taken.seconds, "s", 10)
            )
    return figures


def _write(path: Path, header: str, rows: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.write(header)
        file.writelines(rows)


def _upload(service: Service, path: Path) -> Taken:
    """Upload the file, and meanwhile poll the status of another request."""
    api = psutil.Process(service.processes["api"].pid)
    other = service.accepted(HEADER + "1,SKU1,http://127.0.0.1:9/1.jpg\n")
    service.ended(other)
    before, most, child = memory_bytes([api]), [0], [0]
    answers: list[float] = []
    done = threading.Event()

    def watch() -> None:
        with httpx.Client(base_url=service.url, trust_env=False) as http:
            while not done.wait(0.02):
                most[0] = max(most[0], memory_bytes([api]))
                child[0] = max(child[0], memory_bytes(api.children()))
                started = time.perf_counter()
                assert http.get(f"/api/status/{other}").status_code == 200
                answers.append(time.perf_counter() - started)

    watcher = threading.Thread(target=watch)
    watcher.start()
    used_before, started = _processor_seconds(service), time.perf_counter()
    with path.open("rb") as file:
        answer = service.http.post("/api/upload", files={"file": (path.name, file)}, timeout=600)
    seconds = time.perf_counter() - started
    used = _processor_seconds(service) - used_before
    done.set()
    watcher.join()
    p99 = statistics.quantiles(answers, n=100)[98] if len(answers) > 1 else 0.0
    return Taken(answer, seconds, used, max(0, most[0] - before), child[0], p99)


def _processor_seconds(service: Service) -> float:
    """Of the API, its children that have ended, and PostgreSQL."""
    assert service.postgres_pid is not None
    api = psutil.Process(service.processes["api"].pid).cpu_times()
    postgres = psutil.Process(service.postgres_pid)
    return sum((api.user, api.system, api.children_user, api.children_system)) + processor_seconds(
        [postgres, *postgres.children()]
    )


def _cancel(service: Service, request_id: str) -> None:
    service.http.post(f"/api/cancel/{request_id}")
    service.ended(request_id, 900)


def _download(service: Service, path: str, *, at_once: int = 1) -> tuple[float, int]:
    """The upload's seconds, and the growth of the API's memory."""
    api = psutil.Process(service.processes["api"].pid)
    before, most = memory_bytes([api]), 0
    started = time.perf_counter()
    command = ["curl", "-sf", "-o", "/dev/null", service.url + path]
    running = [subprocess.Popen(command) for _ in range(at_once)]
    while any(process.poll() is None for process in running):
        most = max(most, memory_bytes([api]) - before)
        time.sleep(0.01)
    assert all(process.returncode == 0 for process in running)
    return time.perf_counter() - started, max(0, most)
