"""Reports every 10 s that this worker is alive, and how busy it is."""

import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from uuid import uuid4

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from halftone_shared.db.host_figures import add_host_figures
from halftone_shared.db.workers import HEARTBEAT_SECONDS, WorkerReport, forget_worker, report_worker
from halftone_shared.service.periodic import PeriodicThread
from halftone_workers.engines import engine_versions
from halftone_workers.host_counts import HostCounts

log = structlog.get_logger(__name__)


class Heartbeat:
    """`load` returns the number of products in progress, of codec processes, and of busy codec
    processes. A single failed report does no harm.
    """

    def __init__(
        self, engine: Engine, load: Callable[[], tuple[int, int, int]], hosts: HostCounts
    ) -> None:
        self._hosts = hosts
        self._engine = engine
        self._load = load
        self._id = uuid4()
        self._thread = PeriodicThread("heartbeat", self._report, every_seconds=HEARTBEAT_SECONDS)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Delete this worker's row, so that others see at once that it is gone."""
        self._thread.stop(timeout_seconds=None)
        try:
            with self._engine.connect() as connection:
                forget_worker(connection, self._id)
        except SQLAlchemyError:
            log.info("worker not signed off", reason="the database is away; its row expires")

    def _report(self) -> None:
        in_progress, processes, busy = self._load()
        report = WorkerReport(
            self._id,
            socket.gethostname(),
            os.getpid(),
            in_progress,
            processes,
            busy,
            version=version("halftone-workers"),
            engines=engine_versions(),
            clock=datetime.now(UTC),
            images=self._hosts.images,
            failed_images=self._hosts.failed_images,
            image_seconds=self._hosts.seconds,
        )
        with self._engine.connect() as connection:
            report_worker(connection, report)
            self._report_hosts(connection)

    def _report_hosts(self, connection: Connection) -> None:
        figures = self._hosts.take()
        try:
            add_host_figures(connection, figures)
        except SQLAlchemyError:
            self._hosts.put_back(figures)
            raise
