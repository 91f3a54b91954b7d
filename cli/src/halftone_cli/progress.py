"""Watching a request from a terminal: a live bar until it has ended."""

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from halftone_cli.client import ApiClient, Refused, Unreachable

POLL_SECONDS = 0.25
# An API or a database that is started anew is back by then, or gone for longer than somebody waits
# at a terminal.
PATIENCE_SECONDS = 60


def watch(client: ApiClient, request_id: str, console: Console) -> dict[str, Any]:
    """Show how a request goes until it has ended; its last status object."""
    status = client.status(request_id)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
        _SavedColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(),
        console=console,
    ) as bar:
        task = bar.add_task(status["status"], total=status["total_products"], status=status)
        while True:
            status = _status_when_back(client, request_id)
            bar.update(
                task,
                description=status["status"],
                completed=ended_products(status),
                status=status,
            )
            if status["completed_at"] is not None:
                return status
            time.sleep(POLL_SECONDS)


def _status_when_back(client: ApiClient, request_id: str) -> dict[str, Any]:
    """The request goes on while the API or its database are started anew, and so does who waits for
    it.
    """
    last_chance = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return client.status(request_id)
        except (Unreachable, Refused) as error:
            final = isinstance(error, Refused) and not error.may_pass
            if final or time.monotonic() > last_chance:
                raise
        time.sleep(POLL_SECONDS)


def ended_products(status: dict[str, Any]) -> int:
    return int(
        status["processed_products"] + status["failed_products"] + status["cancelled_products"]
    )


class _SavedColumn(ProgressColumn):
    """Images done and failed, and how many bytes went."""

    def render(self, task: Task) -> Text:
        status = task.fields["status"]
        text = f"{status['processed_images']:,} images, {megabytes(status['bytes_saved'])} saved"
        if status["failed_images"]:
            text += f", {status['failed_images']:,} failed"
        return Text(text)


def megabytes(size: int) -> str:
    """A size for people: kB below a megabyte, MB from there."""
    return f"{size / 1e3:,.0f} kB" if abs(size) < 1e6 else f"{size / 1e6:,.1f} MB"
