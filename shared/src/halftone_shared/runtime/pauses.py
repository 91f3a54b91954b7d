"""Pauses in long loops, so that other threads of the process get the interpreter in time."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

# A loop over rows gives up the interpreter when another thread has waited for it for a while (see
# sys.setswitchinterval). But where it sends or reads something more often than that, it gives it up
# for so short a time that the others cannot take it, and their wait begins again: without pauses,
# answers of the API came up to 0.3 s late. A thousand rows take about a millisecond.
ROWS_BEFORE_PAUSE, PAUSE_SECONDS = 1000, 0.001

T = TypeVar("T")


def with_pauses(rows: Iterable[T]) -> Iterator[T]:
    """The rows; other threads run after each thousand."""
    for number, row in enumerate(rows, start=1):
        if number % ROWS_BEFORE_PAUSE == 0:
            time.sleep(PAUSE_SECONDS)
        yield row
