"""Children of `halftone up` end with it, however it ends: the child's side of a pipe that only the parent holds
open.
"""

import os
import signal
import threading

PARENT_PIPE = "HALFTONE_PARENT_PIPE"


def end_with_parent() -> None:
    """Where a parent said so by its pipe, stop as by SIGTERM when the pipe closes. The kernel closes it for the
    dead.
    """
    descriptor = os.environ.pop(PARENT_PIPE, "")
    if descriptor.isdecimal():
        threading.Thread(target=_wait_for_end, args=(int(descriptor),), name="parent", daemon=True).start()


def _wait_for_end(descriptor: int) -> None:
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)
