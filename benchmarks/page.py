"""The web page in Chromium: first paint, bytes, large requests, many open pages."""

import asyncio
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx
import psutil
from playwright.sync_api import Browser, sync_playwright

from benchmarks.figures import Figure, at_most
from benchmarks.service import HEADER, new_folder, processor_seconds
from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.support.halftone import Service, running_separately
from tests.support.postgres import running_postgres

VISITS = 15
SERVER_CALLS = 30
LARGE_REQUEST_PRODUCTS = 100_000
REQUESTS_IN_LIST = 500
OPEN_PAGES, OPEN_SECONDS = 200, 20
_TIMES = """async () => {
    while (!performance.getEntriesByName('first-contentful-paint').length)
        await new Promise(requestAnimationFrame);
    const entries = [...performance.getEntriesByType('navigation'),
                     ...performance.getEntriesByType('resource')];
    const paint = performance.getEntriesByName('first-contentful-paint')[0];
    return {paint: paint?.startTime ?? null, files: entries.length,
            bytes: entries.reduce((sum, entry) => sum + entry.transferSize, 0)};
}"""


@dataclass(frozen=True)
class Visit:
    """One opening of a page with an empty cache. `bytes` includes headers."""

    paint_milliseconds: float
    files: int
    bytes: int


def page() -> list[Figure]:
    """The web page in Chromium, and what open pages cost the API."""
    with _running() as service:
        small = service.accepted(_catalogue(10))
        large = service.accepted(_catalogue(LARGE_REQUEST_PRODUCTS))
        for number in range(REQUESTS_IN_LIST):
            service.accepted(_catalogue(1), filename=f"list {number}.csv")
        with _chromium() as browser:
            painted = _painted(browser, service, small, large)
        return [*painted, *_served(service, small, large)]


def _painted(browser: Browser, service: Service, small: str, large: str) -> list[Figure]:
    start = _visits(browser, service, "/")
    again = _visits(browser, service, "/", keeps_cache=True)
    paths = {
        f"/requests, {REQUESTS_IN_LIST} to list": "/requests",
        f"/operations, {REQUESTS_IN_LIST} run": "/operations",
        "a request of 10 products": f"/r/{small}",
        "a request of 100,000 products": f"/r/{large}",
    }
    return [
        at_most("first paint of /", _paint(start), "ms", 200),
        Figure("first paint of /, files cached", _paint(again), "ms"),
        at_most("bytes of /", start[0].bytes / 1000, "kB", 150),
        Figure("files of /", start[0].files, "files"),
        Figure("bytes of /, files cached", again[-1].bytes / 1000, "kB"),
        *(
            Figure(f"first paint of {name}", _paint(_visits(browser, service, path)), "ms")
            for name, path in paths.items()
        ),
    ]


def _served(service: Service, small: str, large: str) -> list[Figure]:
    of_small, of_large = (_server_milliseconds(service, f"/r/{one}") for one in (small, large))
    return [
        Figure("server's time for /", _server_milliseconds(service, "/"), "ms"),
        Figure("server's time for /operations", _server_milliseconds(service, "/operations"), "ms"),
        Figure("server's time for a request of 10 products", of_small, "ms"),
        at_most("of 100,000 products ÷ of 10 products", of_large / of_small, "×", 1.5),
        at_most(
            f"API with {OPEN_PAGES} open pages of a request",
            100 * _open_pages_share(service, large),
            "% of a core",
            10,
        ),
    ]


@contextmanager
def _running() -> Iterator[Service]:
    """The API without a worker, so that requests stay as they are."""
    with ExitStack() as stack:
        postgres = stack.enter_context(running_postgres(durable=True))
        yield stack.enter_context(
            running_separately(new_folder(), postgres.new_database(), "in-process", workers=0)
        )


@contextmanager
def _chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


def _catalogue(products: int) -> str:
    rows = (f"{row},SKU{row},http://127.0.0.1:9/{row}.jpg\n" for row in range(1, products + 1))
    return HEADER + "".join(rows)


def _visits(
    browser: Browser, service: Service, path: str, *, keeps_cache: bool = False
) -> list[Visit]:
    """VISITS openings after one that is not counted. Each has an empty cache, or the cache of the
    ones before it.
    """
    kept = browser.new_context(base_url=service.url) if keeps_cache else None
    found = []
    for _ in range(VISITS + 1):
        context = kept or browser.new_context(base_url=service.url)
        tab = context.new_page()
        tab.goto(path, wait_until="load")
        times = tab.evaluate(_TIMES)
        found.append(Visit(times["paint"], times["files"], times["bytes"]))
        tab.close()
        if kept is None:
            context.close()
    return found[1:]


def _paint(visits: list[Visit]) -> float:
    return statistics.median(visit.paint_milliseconds for visit in visits)


def _server_milliseconds(service: Service, path: str) -> float:
    """The median time until the API has answered with the page."""
    times = []
    with httpx.Client(base_url=service.url, headers={"Accept": "text/html"}) as http:
        for _ in range(SERVER_CALLS):
            started = time.perf_counter()
            assert http.get(path).status_code == 200
            times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times[1:])


def _open_pages_share(service: Service, request_id: str) -> float:
    """The API's processor time while pages are open on running requests, as a share of a core.

    A page holds one event stream; it asks for its products again only after a change.
    """
    api = psutil.Process(service.processes["api"].pid)
    shares: list[float] = []

    async def hold(http: httpx.AsyncClient, path: str, opened: asyncio.Semaphore) -> None:
        async with http.stream("GET", f"{path}/live") as stream:
            opened.release()
            async for _ in stream.aiter_bytes():
                pass

    async def run() -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=service.url, limits=limits, timeout=None) as http:  # noqa: S113
            opened = asyncio.Semaphore(0)
            path = f"/r/{request_id}"
            holders = [asyncio.create_task(hold(http, path, opened)) for _ in range(OPEN_PAGES)]
            for _ in range(OPEN_PAGES):
                await opened.acquire()
            before, started = processor_seconds([api]), time.monotonic()
            await asyncio.sleep(OPEN_SECONDS)
            used = processor_seconds([api]) - before
            shares.append(used / (time.monotonic() - started))
            for task in holders:
                task.cancel()

    asyncio.run(run())
    return shares[0]
