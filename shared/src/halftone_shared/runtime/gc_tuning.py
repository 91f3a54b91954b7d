"""Garbage collection settings for processes that create few reference cycles."""

import gc

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
