"""How many products of a worker are active, how many it has accepted, and which is next."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from uuid import uuid4

import pytest

from halftone_workers.jobs import admission
from halftone_workers.jobs.admission import Admission, Place
from halftone_workers.sharing import Who

OWNER = uuid4()
LARGE, SMALL = Who(OWNER, uuid4()), Who(OWNER, uuid4())
ANOTHER, LAST = Who(uuid4(), uuid4()), Who(uuid4(), uuid4())


class Case:
    """An Admission with 2 places."""

    def __init__(self, pool: ThreadPoolExecutor, messages: int = 4, **how: int) -> None:
        self.admission = Admission(2, messages, **how)
        self._pool = pool
        self._entered: list[Future[Place | None]] = []
        self._places: list[Place] = []
        self._lock = threading.Lock()

    def bring(self, who: Who, products: int = 1) -> None:
        """Have products wait for a place in this order, each in its own thread."""
        for _ in range(products):
            before = self.known
            self._entered.append(self._pool.submit(self._enter, who))
            until = time.monotonic() + 30
            while self.known == before and not self._entered[-1].done():
                assert time.monotonic() < until
                time.sleep(0.001)

    @property
    def known(self) -> int:
        return self.admission._active.total - self.admission._active.free

    def _enter(self, who: Who) -> Place | None:
        place = self.admission.enter(who)
        if place is not None:
            with self._lock:
                self._places.append(place)
        return place

    def held(self, who: Who) -> int:
        with self._lock:
            return sum(place.who == who for place in self._places)

    def end(self, who: Who) -> None:
        with self._lock:
            place = next(place for place in self._places if place.who == who)
            self._places.remove(place)
        place.end()

    def has(self, large: int, small: int = 0, another: int = 0) -> bool:
        """Whether the places get to this state and keep it for a moment."""

        def is_so() -> bool:
            return (self.held(LARGE), self.held(SMALL), self.held(ANOTHER)) == (
                large, small, another,
            )  # fmt: skip

        until = time.monotonic() + 20
        while time.monotonic() < until:
            if is_so():
                time.sleep(0.03)
                if is_so():
                    return True
            time.sleep(0.002)
        return False

    def wait_until_sent_back(self, products: int) -> None:
        until = time.monotonic() + 30
        while self.sent_back() < products:
            assert time.monotonic() < until
            time.sleep(0.01)

    def sent_back(self) -> int:
        return sum(one.done() and one.result() is None for one in self._entered)

    def drain(self) -> None:
        until = time.monotonic() + 30
        while not all(one.done() for one in self._entered) or self._places:
            assert time.monotonic() < until
            for place in list(self._places):
                self.end(place.who)
            time.sleep(0.002)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


@pytest.fixture
def case(pool: ThreadPoolExecutor) -> Iterator[Case]:
    with ExitStack() as stack:
        case = Case(pool)
        stack.callback(case.drain)
        yield case


def test_no_more_are_active_than_there_are_places(case: Case) -> None:
    case.bring(LARGE, 6)
    assert case.has(2)
    for active in (2, 2, 2, 2, 1):
        case.end(LARGE)
        assert case.has(active)


def test_request_that_holds_fewest_goes_first(case: Case) -> None:
    case.bring(LARGE, 5)
    assert case.has(2)
    case.bring(SMALL, 2)
    case.end(LARGE)
    assert case.has(1, 1)  # before three earlier products of the large request
    case.end(LARGE)
    assert case.has(1, 1)
    case.end(SMALL)
    assert case.has(1, 1)


def test_another_owner_waits_for_nobody(case: Case) -> None:
    case.bring(LARGE, 4)
    case.bring(ANOTHER, 4)
    assert case.has(2, 0, 2)
    case.end(LARGE)
    assert case.has(2, 0, 2)  # the number that every owner has in any case
    case.end(ANOTHER)
    assert case.has(2, 0, 2)


def test_place_is_left_by_who_waits_for_the_network_and_the_product_stays(case: Case) -> None:
    case.bring(LARGE, 4)
    assert case.has(2)
    case._places[0].leave()
    case._places[0].leave()
    assert case.has(3)
    assert case.admission.waiting_for_network == 2
    case.end(LARGE)
    assert case.has(2)


def test_owner_with_its_full_share_is_sent_back(pool: ThreadPoolExecutor) -> None:
    case = Case(pool, max_active=12)
    for _ in range(20):
        if (place := case.admission.enter(ANOTHER)) is not None:
            case._places.append(place)
            place.leave()
    assert case.held(ANOTHER) == 8
    assert case.admission.enter(ANOTHER) is None
    assert case.admission.enter(LAST) is not None
    case.drain()


@pytest.mark.parametrize(
    ("messages", "may_wait"),
    [(4, admission.MAX_WAITING), (12, 12 - admission.FREE_FOR_OTHERS)],
    ids=["all that an owner may", "all that leave room for others"],
)
def test_those_that_wait_long_are_sent_back_and_hold_up_no_message(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, messages: int, may_wait: int
) -> None:
    monkeypatch.setattr(admission, "PATIENCE_SECONDS", 0.5)
    case = Case(pool, messages)
    case.bring(LARGE, 14)
    case.wait_until_sent_back(14 - 2 - may_wait)
    monkeypatch.setattr(admission, "PATIENCE_SECONDS", patience := 20)
    started = time.monotonic()
    assert case.admission.enter(LARGE) is None
    assert time.monotonic() - started < patience  # it did not wait for a place
    assert case.sent_back() == 14 - 2 - may_wait
    case.drain()


def test_none_is_sent_back_while_places_become_free(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "PATIENCE_SECONDS", 0.05)
    case = Case(pool)
    served = case.admission._served[LARGE.payer]
    served.extend([time.monotonic() + 60] * admission.FREE_FOR_OTHERS)
    case.bring(LARGE, 8)
    time.sleep(0.5)  # ten times the patience: time enough to be sent back
    assert case.sent_back() == 0
    served.clear()
    case.wait_until_sent_back(8 - 2 - admission.MAX_WAITING)
    case.drain()
