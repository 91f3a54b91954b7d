"""Garbage is collected rarely, but it is collected."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from halftone_shared.runtime.gc_tuning import THRESHOLD, collect_rarely


class _Node:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_cycles_are_still_found() -> None:
    collect_rarely()
    first = weakref.ref(_Node())
    kept = [_Node() for _ in range(THRESHOLD + 1000)]
    assert first() is None
    assert len(kept) > THRESHOLD


def test_what_was_loaded_is_not_searched_again() -> None:
    before = _Node()
    collect_rarely()
    after = _Node()
    searched = {id(one) for one in gc.get_objects()}
    assert id(before) not in searched
    assert id(after) in searched
