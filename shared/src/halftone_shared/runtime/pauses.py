"""Pauses in long loops, so that other threads of the process get the interpreter in time."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

# A thousand rows take about a millisecond. Without the pauses, three threads that read rows, and
# those that send them to PostgreSQL in between, made the API's other answers up to 0.8 s late:
# a thread that waits for the interpreter competes with all of them, each time that it needs it.
ROWS_BEFORE_PAUSE, PAUSE_SECONDS = 1000, 0.001

T = TypeVar("T")


def with_pauses(rows: Iterable[T]) -> Iterator[T]:
    """The rows; other threads run after each thousand."""
    for number, row in enumerate(rows, start=1):
        if number % ROWS_BEFORE_PAUSE == 0:
            time.sleep(PAUSE_SECONDS)
        yield row
