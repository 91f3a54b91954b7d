"""`halftone queues`: a live view of what waits, the workers, the throughput and the failures."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from halftone_cli.home import DEFAULT_HOME
from halftone_cli.terminal import HomeOption, console, mode, print_json

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from halftone_shared.db.backlog import Backlog, FailureCount, RunningRequest, Totals
    from halftone_shared.db.workers import LiveWorker

MAX_REQUESTS = 10
MIN_REFRESH_SECONDS = 0.5


def queues(
    once: Annotated[
        bool,
        typer.Option(
            "--once",
            help="Print once and exit, as always if the output is not a terminal.",
        ),
    ] = False,
    every: Annotated[
        float, typer.Option("--every", help="Seconds between two updates.", min=MIN_REFRESH_SECONDS)
    ] = 2.0,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Show queues, workers, throughput and failures from PostgreSQL, live until Ctrl-C."""
    from halftone_cli.local_database import local_engine
    from halftone_cli.places import announce

    announce(home)
    with local_engine(home) as engine:
        if mode.json:
            print_json(asdict(_look(engine)))
            return
        if once or not console.is_terminal:
            before = _look(engine)
            time.sleep(1)  # throughput is the difference of two readings
            console.print(_page(_look(engine), before))
            return
        _watch(engine, every)


@dataclass(frozen=True)
class Look:
    """Everything on the page, read from PostgreSQL at one moment."""

    backlog: "Backlog"
    totals: "Totals"
    workers: "Sequence[LiveWorker]"
    running: "Sequence[RunningRequest]"
    failures: "Sequence[FailureCount]"


def _look(engine: "Engine") -> Look:
    from halftone_shared.db.backlog import (
        read_backlog,
        read_totals,
        recent_failures,
        running_requests,
    )
    from halftone_shared.db.workers import live_workers

    with engine.connect() as connection:
        return Look(
            read_backlog(connection),
            read_totals(connection),
            live_workers(connection),
            running_requests(connection, MAX_REQUESTS),
            recent_failures(connection),
        )


def _watch(engine: "Engine", every: float) -> None:
    """Refresh until Ctrl-C. If the database is away, the page keeps its last figures and says
    so.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from halftone_shared.db.engine import is_unavailable, unreachable

    before = _look(engine)
    shown = _page(before, before)
    try:
        with Live(shown, console=console, screen=console.is_terminal, auto_refresh=False) as live:
            while True:
                time.sleep(every)
                try:
                    now = _look(engine)
                except SQLAlchemyError as error:
                    if not is_unavailable(error):
                        raise
                    live.update(
                        Group(Text(str(unreachable(error)), style="red"), shown), refresh=True
                    )
                    continue
                shown = _page(now, before)
                live.update(shown, refresh=True)
                before = now
    except KeyboardInterrupt:
        return


def _page(now: Look, before: Look) -> RenderableType:
    parts = [
        _queues(now.backlog),
        _throughput(now.totals, before.totals),
        _workers(now.workers, now.totals),
    ]
    if now.running:
        parts.append(_running(now.running, now.totals))
    if now.failures:
        parts.append(_failures(now.failures))
    return Group(*(line for part in parts for line in (part, "")))


def _table(title: str, *columns: str) -> Table:
    """A table without lines, whose title is the header of the first column: the page must fit on a
    terminal of 80 × 24.
    """
    numbers = (Column(column, justify="right", no_wrap=True) for column in columns)
    return Table(
        Column(title, no_wrap=True), *numbers, box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )


def _queues(backlog: "Backlog") -> Table:
    table = _table("Queues", "Waiting", "Later", "In work", "Oldest waits")
    table.add_row(
        "products",
        str(backlog.waiting_products),
        str(backlog.postponed_products),
        str(backlog.processing_products),
        _age(backlog.oldest_waiting_seconds),
    )
    table.add_row(
        "webhooks", str(backlog.pending_events), "", "", _age(backlog.oldest_due_event_seconds)
    )
    return table


def _throughput(now: "Totals", before: "Totals") -> Table:
    seconds = now.seconds - before.seconds

    def rate(name: str) -> float:
        # Totals can fall, because requests older than 24 hours drop out.
        return max(getattr(now, name) - getattr(before, name), 0) / seconds if seconds > 0 else 0.0

    table = _table("Throughput", "Products", "Images", "Failed images", "Saved")
    table.add_row(
        "a second",
        f"{rate('products'):.1f}",
        f"{rate('processed_images'):.1f}",
        f"{rate('failed_images'):.1f}",
        decimal(int(rate("bytes_saved"))),
    )
    table.add_row(
        "24 hours",
        str(now.products),
        str(now.processed_images),
        str(now.failed_images),
        decimal(now.bytes_saved),
    )
    return table


def _workers(workers: "Sequence[LiveWorker]", now: "Totals") -> Table:
    table = _table("Workers", "PID", "Products", "Codec busy", "Since")
    for worker in workers:
        busy = f"{worker.codec_processes_busy} of {worker.codec_processes}"
        table.add_row(
            escape(worker.host),
            str(worker.pid),
            str(worker.products_active),
            busy,
            _ago(worker.started_at, now),
        )
    if not workers:
        table.add_row("[red]no worker lives[/red]")
    return table


def _running(running: "Sequence[RunningRequest]", now: "Totals") -> Table:
    table = _table("Running", "Products", "Failed", "Age")
    table.add_column("File")
    for request in running:
        table.add_row(
            str(request.id),
            f"{request.ended_products} of {request.total_products}",
            str(request.failed_images),
            _ago(request.created_at, now),
            Text(request.csv_filename, no_wrap=True, overflow="ellipsis"),
        )
    return table


def _failures(failures: "Sequence[FailureCount]") -> Table:
    table = _table("Failures of the newest requests", "Images", "Requests")
    for failure in failures:
        table.add_row(failure.code, str(failure.images), str(failure.requests))
    return table


def _ago(moment: datetime, now: "Totals") -> str:
    """Measured by the database's clock, which also wrote `moment`."""
    return _age(now.seconds - moment.timestamp())


def _age(seconds: float) -> str:
    """A duration for people: 45 s, 12 min, 3 h, 2 d."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds else ""
