"""The thread that runs the periodic tasks of dispatcher, sweeper, leases and heartbeat."""

import threading

import pytest

from halftone_shared.errors import DatabaseUnavailable
from halftone_shared.service.periodic import PeriodicThread


@pytest.mark.parametrize("error", [DatabaseUnavailable("It is away."), KeyError("a bug")])
def test_work_is_called_again_after_any_error(error: Exception) -> None:
    came_back = threading.Event()
    errors = [error]

    def work() -> None:
        if errors:
            raise errors.pop()
        came_back.set()

    thread = PeriodicThread("test", work, every_seconds=0.01)
    thread.start()
    assert came_back.wait(10)
    thread.stop()


def test_stop_does_not_wait_for_the_next_time() -> None:
    called = threading.Event()
    thread = PeriodicThread("test", called.set, every_seconds=3600)
    thread.start()
    assert called.wait(10)
    thread.stop()
    assert not thread.is_alive
