"""How many products a worker has in hand, and whose turn it is."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from uuid import UUID, uuid4

import pytest

from halftone_workers.jobs.admission import Admission

LARGE, SMALL = uuid4(), uuid4()


class Products:
    """Products that are in hand until they are told to end, each in a thread of its own."""

    def __init__(self, admission: Admission, pool: ThreadPoolExecutor) -> None:
        self._admission, self._pool = admission, pool
        self._changed = threading.Condition()
        self.in_hand: list[UUID] = []
        self._ending: list[UUID] = []

    def bring(self, request_id: UUID, products: int = 1) -> None:
        for _ in range(products):
            self._pool.submit(self._process, request_id)

    def _process(self, request_id: UUID) -> None:
        with self._admission.admitted(request_id), self._changed:
            self.in_hand.append(request_id)
            self._changed.notify_all()
            self._changed.wait_for(lambda: request_id in self._ending)
            self._ending.remove(request_id)
            self.in_hand.remove(request_id)
            self._changed.notify_all()

    def end(self, request_id: UUID) -> None:
        with self._changed:
            self._ending.append(request_id)
            self._changed.notify_all()

    def has(self, large: int, small: int = 0) -> bool:
        """Whether it comes to this and stays so for a moment."""

        def is_so() -> bool:
            return (self.in_hand.count(LARGE), self.in_hand.count(SMALL)) == (large, small)

        until = time.monotonic() + 5
        with self._changed:
            while self._changed.wait_for(is_so, timeout=until - time.monotonic()):
                if not self._changed.wait_for(lambda: not is_so(), timeout=0.1):
                    return True
        return False


class Case:
    """An Admission of 2 to 4 products with its products; `more` is whether it wants more at the
    next end.
    """

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.more = False
        self.products = Products(Admission(2, 4, lambda: self.more, adapt_every_seconds=0), pool)


@pytest.fixture
def case() -> Iterator[Case]:
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(32))
        case = Case(pool)
        yield case
        for _ in range(32):
            case.products.end(LARGE)
            case.products.end(SMALL)


def test_no_more_are_in_hand_than_the_codec_wants(case: Case) -> None:
    products = case.products
    products.bring(LARGE, 12)
    assert products.has(2)
    for case.more, in_hand in (
        (False, 2),
        (True, 3),
        (True, 4),
        (True, 4),
        (False, 3),
        (False, 2),
        (False, 2),
    ):
        products.end(LARGE)
        assert products.has(in_hand)


def test_request_with_fewest_in_hand_goes_first(case: Case) -> None:
    products = case.products
    products.bring(LARGE, 6)
    assert products.has(2)
    products.bring(SMALL, 2)
    products.end(LARGE)
    assert products.has(1, 1)  # before four of the large one that came earlier
    products.end(LARGE)
    assert products.has(1, 1)
    products.end(SMALL)
    assert products.has(1, 1)
    products.end(SMALL)
    assert products.has(2)


def test_product_that_fails_gives_its_place_back() -> None:
    admission = Admission(1, 1, lambda: False)
    for _ in range(3):
        with pytest.raises(RuntimeError), admission.admitted(LARGE):
            raise RuntimeError
    with admission.admitted(SMALL):
        pass
