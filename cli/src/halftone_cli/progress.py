"""Watching a request: a live bar on a terminal, elsewhere a line per step."""

import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

import halftone
from halftone_cli.service import hint
from halftone_cli.terminal import EXIT_INTERRUPTED, console, fail, say

# Without a terminal, print a line each time progress passes another step of this many per cent.
STEP_PERCENT = 10


def watch(client: halftone.Client, request_id: str) -> halftone.RequestStatus:
    """Show a request's progress until it has ended; return its last status."""
    shown = _Bar() if console.is_terminal else _Lines()
    try:
        with shown:
            return client.wait(request_id, progress=shown.update)
    except KeyboardInterrupt:
        command = hint(client.url, "status", request_id, "--watch")
        fail(f"The request goes on. `{command}` waits for its end.", EXIT_INTERRUPTED)


def ended_products(status: halftone.RequestStatus) -> int:
    return status.processed_products + status.failed_products + status.cancelled_products


def plural(count: int, one: str) -> str:
    """1 image, 2 images."""
    return f"{count:,} {one}" if count == 1 else f"{count:,} {one}s"


def megabytes(size: int) -> str:
    """A size for people: kB below a megabyte, MB from there."""
    return f"{size / 1e3:,.0f} kB" if abs(size) < 1e6 else f"{size / 1e6:,.1f} MB"


def duration(seconds: float) -> str:
    """A duration for people: 12 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def gain_text(status: halftone.RequestStatus) -> str:
    """Images done and failed, and the bytes saved."""
    text = f"{plural(status.processed_images, 'image')}, {megabytes(status.bytes_saved)} saved"
    return f"{text}, {status.failed_images:,} failed" if status.failed_images else text


class _Speed:
    """A request's speed and the time left, from the progress seen so far."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def text(self, status: halftone.RequestStatus) -> str:
        done = status.processed_images + status.failed_images
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
        started, before = self._first
        seconds = now - started
        if seconds < 1 or done == before:
            return ""
        images_per_second = (done - before) / seconds
        text = f"{images_per_second:,.1f} images/s"
        left = status.raw.get("eta_seconds")
        if left is None:
            left = (status.total_images - done) / images_per_second
        return f"{text}, {duration(left)} left" if left > 0 else text


class _Bar:
    """A live bar: products ended, images, bytes saved, speed, time left."""

    def __init__(self) -> None:
        self._speed = _Speed()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            _Gain(table_column=Column(no_wrap=True)),
            console=console,
        )
        self._task = self._bar.add_task("PENDING", total=None, text="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def update(self, status: halftone.RequestStatus) -> None:
        speed = self._speed.text(status)
        ended = ended_products(status)
        text = f"{ended:,}/{plural(status.total_products, 'product')} {gain_text(status)}"
        self._bar.update(
            self._task,
            description=status.status,
            total=status.total_products,
            completed=ended,
            text=f"{text}, {speed}" if speed else text,
        )


class _Gain(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields["text"])


class _Lines:
    """A line for every tenth of the products."""

    def __init__(self) -> None:
        self._speed = _Speed()
        self._next_percent = float(STEP_PERCENT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Does nothing: printed lines stay."""

    def update(self, status: halftone.RequestStatus) -> None:
        speed = self._speed.text(status)
        if status.completed_at is not None or status.progress < self._next_percent:
            return
        self._next_percent = status.progress // STEP_PERCENT * STEP_PERCENT + STEP_PERCENT
        text = f"{status.progress:.0f} %: {gain_text(status)}"
        say(f"{text}, {speed}" if speed else text)
