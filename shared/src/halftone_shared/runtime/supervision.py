"""How a program ends: with its parent, and in time.

Children of `halftone up` end with it, however it ends: the child's side of a pipe that only the
parent holds open.
"""

import os
import signal
import threading

import structlog

log = structlog.get_logger(__name__)

PARENT_PIPE = "HALFTONE_PARENT_PIPE"


def end_with_parent() -> None:
    """Where a parent said so by its pipe, stop as by SIGTERM when the pipe closes. The kernel
    closes it for the dead.
    """
    descriptor = os.environ.pop(PARENT_PIPE, "")
    if descriptor.isdecimal():
        threading.Thread(
            target=_wait_for_end, args=(int(descriptor),), name="parent", daemon=True
        ).start()


def _wait_for_end(descriptor: int) -> None:
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def end_within(seconds: float) -> None:
    """Exit with 1 in so many seconds, if the process is there by then: something that it waits for
    hangs. As after a crash, nothing is lost.
    """
    timer = threading.Timer(seconds, _end, (seconds,))
    timer.daemon = True
    timer.start()


def _end(seconds: float) -> None:
    log.error(
        "ended with work in hand",
        reason=f"something that it needs hangs, {seconds:g} s after it was to stop",
    )
    os._exit(1)
