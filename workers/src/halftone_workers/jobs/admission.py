"""How many products a worker accepts, how many of them are active, and which one is next.

An active product holds a place. Few places keep latency low for a small upload that arrives later.
A product that only waits for the network needs no CPU: it gives up its place and stays accepted.
"""

import threading
import time
from collections import defaultdict, deque
from uuid import UUID

from halftone_workers.sharing import Held, Share, Turns, Who

# Accepted products, with or without a place: each has a thread and a lease.
MAX_ACTIVE = 240
# An owner with fewer than NEWCOMER_PLACES places does not wait for others to leave theirs: it may
# use one of EXTRA_PLACES further places.
NEWCOMER_PLACES, EXTRA_PLACES = 2, 8
# A message waits this long for a place. If it gets none, it is returned, so that it does not hold
# up the messages behind it: if its owner has more than MAX_WAITING messages waiting, and the worker
# can take fewer than FREE_FOR_OTHERS further messages. While FREE_FOR_OTHERS of its messages get
# places in that time, none is returned: the messages behind them move on anyway, and a return costs
# two statements and another delivery.
PATIENCE_SECONDS = 0.25
MAX_WAITING = 4
FREE_FOR_OTHERS = 4


class Admission:
    """Limits how many products are active at once to `places`. A free place goes to the owner with
    the fewest places, and to that owner's request with the fewest.

    `messages`: how many messages the worker holds, each of which may wait for a place.
    """

    def __init__(self, places: int, messages: int, *, max_active: int = MAX_ACTIVE) -> None:
        self._places, self._messages = places, messages
        self._held, self._waiting = Held(), Held()
        self._turns: Turns[threading.Lock] = Turns(self._held)
        self._active = Share(max_active)
        self._slow_until: dict[UUID | None, float] = {}
        # When the latest messages that had waited got their places, by payer.
        self._served: defaultdict[UUID | None, deque[float]] = defaultdict(
            lambda: deque(maxlen=FREE_FOR_OTHERS)
        )
        self._lock = threading.Lock()

    def enter(self, who: Who) -> "Place | None":
        """Wait for a place. Returns None if the product must be delivered again later: its owner or
        request has used its share, or too many of the owner's products wait already.
        """
        with self._lock:
            if not self._active.allows(who) or self._waits_long(who):
                return None
            self._active.take(who)
            if self._has_place(who):
                self._held.add(who)
                return Place(self, who)
            turn = threading.Lock()
            turn.acquire()
            self._turns.push(who, turn)
            self._waiting.add(who)
        while not turn.acquire(timeout=PATIENCE_SECONDS):
            if self._gives_up(who, turn):
                return None
        return Place(self, who)

    def _waits_long(self, who: Who) -> bool:
        is_slow = self._slow_until.get(who.payer, 0.0) > time.monotonic()
        return is_slow and self._takes_room_of_others(who, 1)

    def _takes_room_of_others(self, who: Who, more: int) -> bool:
        """Whether the payer has more than its share of the waiting messages, with `more` of its
        own.
        """
        has_many = self._waiting.by_payer(who) + more > MAX_WAITING
        return has_many and self._waiting.total() + more > self._messages - FREE_FOR_OTHERS

    def _gives_up(self, who: Who, turn: threading.Lock) -> bool:
        with self._lock:
            if not turn.locked():
                return False  # it got a place in this moment
            if self._is_flowing(who):
                return False
            self._slow_until[who.payer] = time.monotonic() + 2 * PATIENCE_SECONDS
            if not self._takes_room_of_others(who, 0):
                return False
            self._turns.remove(who, turn)
            self._waiting.add(who, -1)
            self._active.give_back(who)
            return True

    def _is_flowing(self, who: Who) -> bool:
        """Whether FREE_FOR_OTHERS messages of the payer got places within PATIENCE_SECONDS."""
        served = self._served[who.payer]
        is_full = len(served) == FREE_FOR_OTHERS
        return is_full and served[0] > time.monotonic() - PATIENCE_SECONDS

    def leave_place(self, who: Who) -> None:
        with self._lock:
            self._held.add(who, -1)
            while (waiting := self._turns.next()) and self._has_place(waiting[0]):
                next_one, turn = self._turns.pop()
                self._waiting.add(next_one, -1)
                self._held.add(next_one)
                self._served[next_one.payer].append(time.monotonic())
                turn.release()
            if not self._turns:
                self._slow_until.clear()
                self._served.clear()

    def leave(self, who: Who) -> None:
        with self._lock:
            self._active.give_back(who)

    @property
    def waiting_for_network(self) -> int:
        """Accepted products without a place, including those that wait for their first one."""
        return self._active.total - self._active.free - self._held.total()

    def _has_place(self, who: Who) -> bool:
        in_use = self._held.total()
        if in_use < self._places:
            return True
        is_newcomer = self._held.by_payer(who) < NEWCOMER_PLACES
        return is_newcomer and in_use < self._places + EXTRA_PLACES


class Place:
    """One product's place, and its part of the accepted products."""

    def __init__(self, admission: Admission, who: Who) -> None:
        self.who = who
        self._admission = admission
        self._is_held = True
        self._lock = threading.Lock()

    def leave(self) -> None:
        """Give the place to another product; this one stays accepted. Thread-safe, idempotent."""
        with self._lock:
            was_held, self._is_held = self._is_held, False
        if was_held:
            self._admission.leave_place(self.who)

    def end(self) -> None:
        """Leave the place and the accepted products. Call it once."""
        self.leave()
        self._admission.leave(self.who)
