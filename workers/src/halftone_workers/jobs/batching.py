"""Calls of many threads, done together: what comes while one is under way is done by the next, as
one.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Call(Future[Result], Generic[Item, Result]):
    """What a thread has brought; its result or exception is to be set, once."""

    def __init__(self, item: Item) -> None:
        super().__init__()
        self.item = item
        self._woken = threading.Lock()
        self._woken.acquire()

    def wait(self) -> None:
        """Until wake(): it is done, or its thread is to do the next batch."""
        self._woken.acquire()

    def wake(self) -> None:
        self._woken.release()


class Batched(Generic[Item, Result]):
    """Does what threads bring, in their own time: there is no other thread to hand it to and to be
    woken by.

    `do_all` is given calls, of which it completes each. One batch is under way at a time; what
    comes meanwhile is the next one, which the first who came does for all of them. Nobody waits for
    a batch to fill.
    """

    def __init__(self, do_all: Callable[[Sequence[Call[Item, Result]]], None]) -> None:
        self._do_all = do_all
        self._brought: list[Call[Item, Result]] = []
        self._is_led = False
        self._lock = threading.Lock()

    def do(self, item: Item) -> Result:
        """What `item` came to. Raises what its call failed with."""
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
        """Do all that has been brought, our own among it, and hand over to who has come since."""
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
