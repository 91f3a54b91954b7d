"""Batches calls from many threads: calls that arrive while a batch runs form the next batch."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Call(Future[Result], Generic[Item, Result]):
    """One thread's call. Its result or exception must be set exactly once."""

    def __init__(self, item: Item) -> None:
        super().__init__()
        self.item = item
        self._woken = threading.Lock()
        self._woken.acquire()

    def wait(self) -> None:
        """Block until wake(): the call is done, or this thread must run the next batch."""
        self._woken.acquire()

    def wake(self) -> None:
        self._woken.release()


class Batched(Generic[Item, Result]):
    """Runs batches in the callers' own threads, which saves the hand-over to a separate thread.

    `do_all` gets the calls of a batch and must complete each. One batch runs at a time. Calls that
    arrive meanwhile form the next one, which the thread of the first call runs for all of them.
    A batch never waits to fill.
    """

    def __init__(self, do_all: Callable[[Sequence[Call[Item, Result]]], None]) -> None:
        self._do_all = do_all
        self._brought: list[Call[Item, Result]] = []
        self._is_led = False
        self._lock = threading.Lock()

    def do(self, item: Item) -> Result:
        """Return the result for `item`, or raise the exception that its call failed with."""
        call: Call[Item, Result] = Call(item)
        with self._lock:
            self._brought.append(call)
            waits, self._is_led = self._is_led, True
        if waits:
            call.wait()
        if not call.done():
            self._lead()
        return call.result()

    def _lead(self) -> None:
        """Run all pending calls, including our own, then wake a thread for the next batch."""
        with self._lock:
            calls, self._brought = self._brought, []
        try:
            self._do_all(calls)
        except BaseException as error:  # noqa: BLE001 - it is raised where each call was made
            for call in calls:
                if not call.done():
                    call.set_exception(error)
        with self._lock:
            self._is_led = bool(self._brought)
            following = self._brought[:1]
        for call in (*following, *calls):
            call.wake()
