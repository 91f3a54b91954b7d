"""The API's own metrics, and `/metrics`, which adds the state of the whole service from PostgreSQL.

An API is one process, so prometheus_client's plain registry holds all of it; processes share no
folder. Figures from PostgreSQL are the same in every API: take their max(), never their sum().
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import REGISTRY, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from halftone_shared.db.backlog import Backlog, Totals, read_backlog, read_totals
from halftone_shared.db.engine import transaction
from halftone_shared.db.processor_jobs import OpenJobs, read_open_jobs

log = structlog.get_logger(__name__)

# The database is read at most once in this time, however often scrapers ask.
KEPT_SECONDS = 5.0
STATEMENT_TIMEOUT_MS = 2000
# Scrapers wait 10 s, or 5 s if they scrape that often. An answer within 4 s also tells them that
# PostgreSQL has stalled.
ANSWER_SECONDS = 4.0

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUESTS = Counter(
    "halftone_http_requests_total",
    "Calls answered, by route template, method and class of the status.",
    ["route", "method", "status"],
)
_DURATION = Histogram(
    "halftone_http_request_duration_seconds",
    "Seconds from a call's headers to those of its answer, with the time to receive an upload.",
    ["route", "method"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
UPLOADED_REQUESTS = Counter("halftone_uploaded_requests_total", "Uploads that were accepted.")
UPLOADED_PRODUCTS = Counter(
    "halftone_uploaded_products_total", "Rows of the uploads that were accepted."
)
UPLOADED_IMAGES = Counter(
    "halftone_uploaded_images_total", "Image URLs of the uploads that were accepted."
)


class Measured:
    """Counts and times every call under its route's template; the path itself would make a time
    series for every ID.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def send_measured(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _DURATION.labels(_route(scope), _method(scope)).observe(
                    time.perf_counter() - started
                )
            await send(message)

        try:
            await self._app(scope, receive, send_measured)
        finally:
            _REQUESTS.labels(_route(scope), _method(scope), f"{status // 100}xx").inc()


def _route(scope: Scope) -> str:
    """The template of the route that took the call, which the router leaves in the scope."""
    return getattr(scope.get("route"), "path", "none")


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in _METHODS else "other"


@dataclass(frozen=True)
class Figures:
    """The result of one read of PostgreSQL."""

    backlog: Backlog
    open_jobs: OpenJobs
    last_hour: Totals


class ServiceGauges(Collector):
    """The state of the service as refresh() last read it from PostgreSQL. Each app has its own
    instance, so the gauges have their own registry.
    """

    def __init__(self, engine: Engine, pool_of_calls: Engine) -> None:
        self._engine = engine
        self._pool_of_calls = pool_of_calls
        self._read_at = float("-inf")
        self._figures: Figures | None = None
        self._look: asyncio.Future[Figures | None] | None = None
        self.registry = CollectorRegistry()
        self.registry.register(self)

    async def refresh(self) -> None:
        """Read PostgreSQL again if the last read is older than KEPT_SECONDS. A read that takes
        longer than ANSWER_SECONDS counts as PostgreSQL being away; the next call waits for the same
        read.
        """
        if self._look is None:
            if time.monotonic() - self._read_at <= KEPT_SECONDS:
                return
            self._look = asyncio.ensure_future(run_in_threadpool(self._read))
        look = self._look
        await asyncio.wait((look,), timeout=ANSWER_SECONDS)
        if not look.done():
            log.warning(
                "backlog not read", error=f"PostgreSQL did not answer within {ANSWER_SECONDS:g} s."
            )
            self._figures = None
        elif look is self._look:
            self._look, self._figures, self._read_at = None, look.result(), time.monotonic()

    def exposition(self) -> bytes:
        """All metrics of this API and of the service, in Prometheus' text format."""
        return generate_latest(REGISTRY) + generate_latest(self.registry)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        figures = self._figures
        yield _gauge(
            "halftone_database_up",
            "1 if PostgreSQL answered the last time it was read, else 0.",
            float(figures is not None),
        )
        pool = cast("QueuePool", self._pool_of_calls.pool)
        yield _gauge(
            "halftone_database_pool_connections", "Connections this API may hold.", pool.size()
        )
        yield _gauge(
            "halftone_database_pool_in_use_connections",
            "Connections in use by calls now.",
            pool.checkedout(),
        )
        if figures is not None:
            yield from _families(figures.backlog)
            yield _job_family(figures.open_jobs)
            yield from _image_families(figures.last_hour)

    def _read(self) -> Figures | None:
        try:
            with transaction(self._engine) as connection:
                connection.execute(text(f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}"))
                return Figures(
                    read_backlog(connection),
                    read_open_jobs(connection),
                    read_totals(connection, hours=1),
                )
        except SQLAlchemyError as error:
            log.warning("backlog not read", error=str(error).splitlines()[0])
            return None


def _families(backlog: Backlog) -> Iterable[GaugeMetricFamily]:
    requests = GaugeMetricFamily(
        "halftone_requests",
        "Requests by status. An ended request counts for 24 hours.",
        labels=["status"],
    )
    for status, count in backlog.requests.items():
        requests.add_metric([status], count)
    yield requests
    products = GaugeMetricFamily(
        "halftone_products",
        "Products that have not ended: waiting for a worker, postponed until a set time, or"
        " processing.",
        labels=["state"],
    )
    products.add_metric(["waiting"], backlog.waiting_products)
    products.add_metric(["postponed"], backlog.postponed_products)
    products.add_metric(["processing"], backlog.processing_products)
    yield products
    yield _gauge(
        "halftone_oldest_waiting_product_age_seconds",
        "How long the oldest waiting product has waited for a worker; 0 if none waits.",
        backlog.oldest_waiting_seconds,
    )
    yield _gauge(
        "halftone_requests_without_progress",
        "Running requests in which no product has ended for 10 minutes and none is postponed.",
        backlog.requests_without_progress,
    )
    yield _gauge(
        "halftone_webhook_events_pending",
        "Webhook events not delivered yet.",
        backlog.pending_events,
    )
    yield _gauge(
        "halftone_oldest_due_webhook_event_age_seconds",
        "How long the oldest webhook event has been due; 0 if none is due.",
        backlog.oldest_due_event_seconds,
    )
    yield _gauge(
        "halftone_workers",
        "Worker processes that have reported within 30 seconds.",
        backlog.live_workers,
    )


def _job_family(jobs: OpenJobs) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "halftone_processor_jobs",
        "Jobs at the external image processing service: open, or past the time of their expiry.",
        labels=["state"],
    )
    family.add_metric(["open"], jobs.open)
    family.add_metric(["overdue"], jobs.overdue)
    return family


def _image_families(last_hour: Totals) -> Iterable[GaugeMetricFamily]:
    """The workers' own counters say more; these serve installations that do not scrape workers."""
    images = GaugeMetricFamily(
        "halftone_images_last_hour",
        "Images of ended products, in requests that run or ended within the last hour.",
        labels=["outcome"],
    )
    images.add_metric(["succeeded"], last_hour.processed_images)
    images.add_metric(["failed"], last_hour.failed_images)
    yield images
    yield _gauge(
        "halftone_bytes_saved_last_hour",
        "Bytes by which those images are smaller than what was downloaded.",
        last_hour.bytes_saved,
    )


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value=value)
