"""Calls of many threads are batched: each runs once, in one of the calling threads, and none is
forgotten.
"""

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from halftone_workers.jobs.batching import Batched, Call
from tests.support.halftone import wait_for

Calls = Sequence[Call[int, int]]


def test_what_comes_while_a_batch_is_under_way_is_the_next_batch() -> None:
    batches: list[list[int]] = []
    begun, go_on = threading.Event(), threading.Event()

    def do_all(calls: Calls) -> None:
        batches.append(sorted(call.item for call in calls))
        begun.set()
        assert go_on.wait(5)
        for call in calls:
            call.set_result(-call.item)

    batched: Batched[int, int] = Batched(do_all)
    with ThreadPoolExecutor(10) as pool:
        first = pool.submit(batched.do, 1)
        assert begun.wait(5)
        others = [pool.submit(batched.do, item) for item in range(2, 11)]
        wait_for(lambda: len(batched._brought) == 9, what="the others")
        go_on.set()
        assert [future.result(5) for future in (first, *others)] == [-item for item in range(1, 11)]
    assert batches == [[1], list(range(2, 11))]


def test_calls_of_many_threads_are_each_done_once() -> None:
    done: list[int] = []
    under_way = threading.Lock()

    def do_all(calls: Calls) -> None:
        assert under_way.acquire(blocking=False)
        for call in calls:
            done.append(call.item)
            if call.item % 7 == 0:
                call.set_exception(ValueError(call.item))
            else:
                call.set_result(2 * call.item)
        # Other calls arrive meanwhile, in varying numbers.
        time.sleep(random.uniform(0, 0.001))
        under_way.release()

    batched: Batched[int, int] = Batched(do_all)

    def call(item: int) -> int | str:
        try:
            return batched.do(item)
        except ValueError as error:
            return f"failed {error}"

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(call, range(2000), timeout=60))
    assert results == [f"failed {item}" if item % 7 == 0 else 2 * item for item in range(2000)]
    assert sorted(done) == list(range(2000))


def test_batch_that_breaks_off_fails_those_it_left_and_no_later_one() -> None:
    def do_all(calls: Calls) -> None:
        for call in calls:
            if call.item == 0:
                raise RuntimeError("broken")
            call.set_result(call.item)

    batched: Batched[int, int] = Batched(do_all)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken"):
            batched.do(0)
        assert batched.do(5) == 5
