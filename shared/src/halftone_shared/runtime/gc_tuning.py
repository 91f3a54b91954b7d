"""Garbage collection settings for processes that create few reference cycles."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# New objects before the next collection; Python's default is 700.
THRESHOLD = 10_000


def collect_rarely(threshold: int = THRESHOLD) -> None:
    """Collect rarely from now on, and never examine existing objects again. Call it after all
    imports. `threshold`: how many new objects cause a collection.

    Reference counting frees nearly everything: 18,000 images left 600 objects to the collector. But
    a thousand images in progress are tens of thousands of new objects and cause full collections,
    which also examine all modules and stop the process for 60 ms.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(threshold)


@contextmanager
def no_collection() -> Iterator[None]:
    """Do not collect in the block. For the imports of a program: they create no garbage, and
    collecting takes a sixth of the start's processor time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
