"""How many products a worker has in hand, and whose turn it is.

What is in hand takes turns with a small upload that comes in, so there should be little of it; but
where images come from a slow server, a few products leave the codec idle.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

ADAPT_EVERY_SECONDS = 0.05


class Admission:
    """Between `least` and `most` products at once: `wants_more` is asked when one has ended, at
    most every `adapt_every_seconds`, and makes it one more from then on, or one less.

    Of the products that wait, one of the request with the fewest in hand goes first.
    """

    def __init__(
        self,
        least: int,
        most: int,
        wants_more: Callable[[], bool],
        *,
        adapt_every_seconds: float = ADAPT_EVERY_SECONDS,
    ) -> None:
        self._least, self._most = least, most
        self._wants_more = wants_more
        self._adapt_every_seconds = adapt_every_seconds
        self._adapted = time.monotonic()
        self._allowed = least
        self._in_hand: Counter[UUID] = Counter()
        self._waiting: dict[UUID, deque[threading.Lock]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def admitted(self, request_id: UUID) -> Iterator[None]:
        """Wait for a place, and have it until the block ends."""
        self._enter(request_id)
        try:
            yield
        finally:
            self._leave(request_id)

    def _enter(self, request_id: UUID) -> None:
        with self._lock:
            if self._has_place():
                self._in_hand[request_id] += 1
                return
            turn = threading.Lock()
            turn.acquire()
            self._waiting.setdefault(request_id, deque()).append(turn)
        turn.acquire()

    def _leave(self, request_id: UUID) -> None:
        with self._lock:
            self._in_hand[request_id] -= 1
            if not self._in_hand[request_id]:
                del self._in_hand[request_id]
            self._adapt()
            while self._waiting and self._has_place():
                self._let_in(min(self._waiting, key=self._in_hand.__getitem__))

    def _has_place(self) -> bool:
        return self._in_hand.total() < self._allowed

    def _adapt(self) -> None:
        if (now := time.monotonic()) < self._adapted + self._adapt_every_seconds:
            return
        self._adapted = now
        allowed = self._allowed + (1 if self._wants_more() else -1)
        self._allowed = min(max(allowed, self._least), self._most)

    def _let_in(self, request_id: UUID) -> None:
        turns = self._waiting[request_id]
        self._in_hand[request_id] += 1
        turns.popleft().release()
        if not turns:
            del self._waiting[request_id]
