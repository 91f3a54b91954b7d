"""Ends a program together with its parent, and within a time limit.

Children of `halftone up` end when it ends, even after a crash. Each child reads a pipe that only
the parent holds open.
"""

import os
import signal
import threading

import structlog

from halftone_shared.runtime.variables import PARENT_PIPE

log = structlog.get_logger(__name__)


def end_with_parent() -> None:
    """If the parent passed a pipe, send this process SIGTERM when the pipe closes. The kernel
    closes it when the parent dies.
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
    """Exit with 1 if the process still runs after this time, because something it waits for hangs.
    Nothing is lost, as after a crash.
    """
    timer = threading.Timer(seconds, _end, (seconds,))
    timer.daemon = True
    timer.start()


def _end(seconds: float) -> None:
    log.error(
        "ended before its work was done",
        reason=f"something that it needs hangs, {seconds:g} s after it was to stop",
    )
    os._exit(1)
