"""How many products keep a worker busy, how many it has in hand, and whose turn it is.

Products that keep it busy take turns with a small upload that comes in, so there should be few of
them; but where images come from a slow server, a few products leave the codec idle. A product that
only waits for the network keeps nobody busy: it stays in hand without a place.
"""

import threading
import time
from collections.abc import Callable
from uuid import UUID

from halftone_workers.sharing import Held, Share, Turns, Who

ADAPT_EVERY_SECONDS = 0.05
# Products in hand, those without a place included: each has a thread and a lease.
MAX_IN_HAND = 240
# Whoever has fewer places than NEWCOMER_PLACES need not wait for others to leave theirs: that many
# places there are beyond what keeps the worker busy.
NEWCOMER_PLACES, EXTRA_PLACES = 2, 8
# A message waits here for a place, where others of its owner may pass it, and those of other owners
# have come this far too. When that takes long, more than MAX_WAITING of an owner are sent back, so
# that they do not hold up the messages behind them.
PATIENCE_SECONDS = 0.25
MAX_WAITING = 4


class Admission:
    """Between `least` and `most` products at once have a place: `wants_more` is asked when one has
    left, at most every `adapt_every_seconds`, and makes it one more from then on, or one less.

    Places are given by owner, then by request, to those that hold the fewest.
    """

    def __init__(
        self,
        least: int,
        most: int,
        wants_more: Callable[[], bool],
        *,
        adapt_every_seconds: float = ADAPT_EVERY_SECONDS,
        max_in_hand: int = MAX_IN_HAND,
    ) -> None:
        self._least, self._most = least, most
        self._wants_more = wants_more
        self._adapt_every_seconds = adapt_every_seconds
        self._adapted = time.monotonic()
        self._allowed = least
        self._held, self._waiting = Held(), Held()
        self._turns: Turns[threading.Lock] = Turns(self._held)
        self._in_hand = Share(max_in_hand)
        self._slow_until: dict[UUID | None, float] = {}
        self._lock = threading.Lock()

    def enter(self, who: Who) -> "Place | None":
        """Wait for a place. None where the product is to come again later: its owner or request has
        its share in hand, or more of them wait here than get a place soon.
        """
        with self._lock:
            if not self._in_hand.allows(who) or self._waits_long(who):
                return None
            self._in_hand.take(who)
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
        return is_slow and self._waiting.by_payer(who) >= MAX_WAITING

    def _gives_up(self, who: Who, turn: threading.Lock) -> bool:
        with self._lock:
            if not turn.locked():
                return False  # it has just been given a place
            self._slow_until[who.payer] = time.monotonic() + 2 * PATIENCE_SECONDS
            if self._waiting.by_payer(who) <= MAX_WAITING:
                return False
            self._turns.remove(who, turn)
            self._waiting.add(who, -1)
            self._in_hand.give_back(who)
            return True

    def leave_place(self, who: Who) -> None:
        with self._lock:
            self._held.add(who, -1)
            self._adapt()
            while (waiting := self._turns.next()) and self._has_place(waiting[0]):
                next_one, turn = self._turns.pop()
                self._waiting.add(next_one, -1)
                self._held.add(next_one)
                turn.release()
            if not self._turns:
                self._slow_until.clear()

    def leave(self, who: Who) -> None:
        with self._lock:
            self._in_hand.give_back(who)

    @property
    def waiting_for_network(self) -> int:
        """Products in hand without a place, those that wait for one included."""
        return self._in_hand.total - self._in_hand.free - self._held.total()

    def _has_place(self, who: Who) -> bool:
        in_use = self._held.total()
        if in_use < self._allowed:
            return True
        is_newcomer = self._held.by_payer(who) < NEWCOMER_PLACES
        return is_newcomer and in_use < self._allowed + EXTRA_PLACES

    def _adapt(self) -> None:
        if (now := time.monotonic()) < self._adapted + self._adapt_every_seconds:
            return
        self._adapted = now
        allowed = self._allowed + (1 if self._wants_more() else -1)
        self._allowed = min(max(allowed, self._least), self._most)


class Place:
    """One product's place, and its part of what is in hand."""

    def __init__(self, admission: Admission, who: Who) -> None:
        self.who = who
        self._admission = admission
        self._is_held = True
        self._lock = threading.Lock()

    def leave(self) -> None:
        """Let another product have the place, and stay in hand. From any thread, more than once."""
        with self._lock:
            was_held, self._is_held = self._is_held, False
        if was_held:
            self._admission.leave_place(self.who)

    def end(self) -> None:
        """The product is no longer in hand. Once."""
        self.leave()
        self._admission.leave(self.who)
