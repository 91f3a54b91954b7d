"""Queries on workers: one row per worker process, updated at every heartbeat, so that others see
which workers are alive.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from halftone_shared.db.tables import workers

HEARTBEAT_SECONDS = 10
# A worker that has missed two heartbeats counts as gone.
ALIVE_SECONDS = 30
_FORGOTTEN_AFTER = text("interval '1 hour'")


@dataclass(frozen=True)
class WorkerReport:
    """What a worker process reports at every heartbeat.

    `images`, `failed_images`, `image_seconds`: attempts at images since its start, those that
    failed, and the seconds of all of them, with waiting. `engines`: the versions of its image
    libraries. `clock`: the time by the worker's clock
    (`last_seen_at` is by the database's). `version`, `engines` and `clock` are None from workers
    older than schema 0006.
    """

    id: UUID
    host: str
    pid: int
    products_active: int
    codec_processes: int
    codec_processes_busy: int
    version: str | None = None
    engines: Mapping[str, str] | None = None
    clock: datetime | None = None
    images: int = 0
    failed_images: int = 0
    image_seconds: float = 0.0


def report_worker(connection: Connection, report: WorkerReport) -> None:
    """Record a heartbeat, and delete workers without one for an hour."""
    row = vars(report) | {"last_seen_at": func.now()}
    connection.execute(
        insert(workers).values(row).on_conflict_do_update(index_elements=["id"], set_=row)
    )
    connection.execute(
        delete(workers).where(workers.c.last_seen_at < func.now() - _FORGOTTEN_AFTER)
    )


def forget_worker(connection: Connection, worker_id: UUID) -> None:
    """Delete the row of a worker that has stopped."""
    connection.execute(delete(workers).where(workers.c.id == worker_id))


@dataclass(frozen=True, kw_only=True)
class LiveWorker(WorkerReport):
    """A worker's newest report, and when it started."""

    started_at: datetime
    last_seen_at: datetime


def live_workers(connection: Connection) -> list[LiveWorker]:
    """Workers that reported within ALIVE_SECONDS, the oldest first."""
    alive = workers.c.last_seen_at > func.now() - text(f"interval '{ALIVE_SECONDS} seconds'")
    columns = (column.label(column.key) for column in workers.c)
    rows = connection.execute(
        select(*columns).where(alive).order_by(workers.c.started_at, workers.c.id)
    )
    return [LiveWorker(**row) for row in rows.mappings()]
