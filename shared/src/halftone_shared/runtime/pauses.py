"""Pauses in long loops, so that other threads of the process get the interpreter in time."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

# A thread that waits for the interpreter gets it after sys.getswitchinterval(), unless the thread
# that has it reads or sends something in that time: then the wait starts again. Loops over rows do
# so all the time. Without pauses, answers of the API came up to 0.3 s late.
ROWS_BEFORE_PAUSE, PAUSE_SECONDS = 1000, 0.001

T = TypeVar("T")


def with_pauses(rows: Iterable[T]) -> Iterator[T]:
    """The rows, with a pause of PAUSE_SECONDS after each ROWS_BEFORE_PAUSE of them."""
    for number, row in enumerate(rows, start=1):
        if number % ROWS_BEFORE_PAUSE == 0:
            time.sleep(PAUSE_SECONDS)
        yield row
