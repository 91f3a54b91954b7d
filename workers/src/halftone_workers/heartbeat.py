"""Says every ten seconds that this worker lives, and what it has in hand (worker_registry.py)."""

import os
import socket
import threading
from collections.abc import Callable
from uuid import uuid4

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from halftone_shared.db.workers import HEARTBEAT_SECONDS, WorkerReport, forget_worker, report_worker

log = structlog.get_logger(__name__)


class Heartbeat:
    """`load` tells products in hand, codec processes and how many of these are busy. Nothing hangs
    on a beat that fails.
    """

    def __init__(self, engine: Engine, load: Callable[[], tuple[int, int, int]]) -> None:
        self._engine = engine
        self._load = load
        self._id = uuid4()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """The worker is gone for others at once."""
        self._stopping.set()
        self._thread.join()
        try:
            with self._engine.connect() as connection:
                forget_worker(connection, self._id)
        except SQLAlchemyError:
            log.info("worker not signed off", reason="the database is away; its row ends by itself")

    def _run(self) -> None:
        while True:
            try:
                with self._engine.connect() as connection:
                    report_worker(connection, self._report())
            except SQLAlchemyError as error:
                log.warning("heartbeat failed", error=str(error).splitlines()[0])
            if self._stopping.wait(HEARTBEAT_SECONDS):
                return

    def _report(self) -> WorkerReport:
        in_hand, processes, busy = self._load()
        return WorkerReport(self._id, socket.gethostname(), os.getpid(), in_hand, processes, busy)
