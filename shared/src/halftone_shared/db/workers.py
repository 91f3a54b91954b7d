"""Queries on workers: a row a worker process, renewed while it lives, so that others see how many
there are.
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
    """What a worker process says of itself at every heartbeat.

    `engines`: the versions of its image libraries. `clock`: the time by its own clock, which
    `last_seen_at` tells by the database's. All three are None from a worker older than schema 0006.
    """

    id: UUID
    host: str
    pid: int
    products_in_hand: int
    codec_processes: int
    codec_processes_busy: int
    version: str | None = None
    engines: Mapping[str, str] | None = None
    clock: datetime | None = None


def report_worker(connection: Connection, report: WorkerReport) -> None:
    """Say that this worker lives; and forget those that have said nothing for an hour."""
    row = vars(report) | {"last_seen_at": func.now()}
    connection.execute(
        insert(workers).values(row).on_conflict_do_update(index_elements=["id"], set_=row)
    )
    connection.execute(
        delete(workers).where(workers.c.last_seen_at < func.now() - _FORGOTTEN_AFTER)
    )


def forget_worker(connection: Connection, worker_id: UUID) -> None:
    """This worker has stopped."""
    connection.execute(delete(workers).where(workers.c.id == worker_id))


@dataclass(frozen=True, kw_only=True)
class LiveWorker(WorkerReport):
    """A worker's newest report, and since when it runs."""

    started_at: datetime
    last_seen_at: datetime


def live_workers(connection: Connection) -> list[LiveWorker]:
    """The workers that have reported within ALIVE_SECONDS, the oldest first."""
    alive = workers.c.last_seen_at > func.now() - text(f"interval '{ALIVE_SECONDS} seconds'")
    rows = connection.execute(
        select(workers).where(alive).order_by(workers.c.started_at, workers.c.id)
    )
    return [LiveWorker(**row) for row in rows.mappings()]
