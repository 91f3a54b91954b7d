"""Python's search for garbage, for processes that make next to none."""

import gc

# Of new objects until the next search; Python's own is 700.
THRESHOLD = 10_000


def collect_rarely() -> None:
    """Search seldom from now on, and never again in what is there already. Call it once all is
    loaded.

    What we do is freed by counting references: of 18,000 images 600 objects were left to the
    search. But a thousand images under way are new objects by the ten thousand, and a full search
    then looks through all modules too, for 60 ms in which nothing else goes on.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(THRESHOLD)
