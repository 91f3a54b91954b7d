"""Fair sharing of a limited resource: in turns by owner, then by request.

docs/explanation/sharing.md lists the resources and the class that shares each. The classes do not
depend on the resource.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from uuid import UUID

T = TypeVar("T")
# An owner may hold 3 times what is free, a request 2 times. So a single owner gets at most 3/4 of
# the total, and the next one finds 1/4 free.
OWNER_SHARE, REQUEST_SHARE = 3, 2


@dataclass(frozen=True)
class Who:
    """The owner and the request that work is done for. `owner` is None if the service has none."""

    owner: UUID | None
    request_id: UUID | None
    # Computed once: an image looks up what its owner and request hold about 40 times, and the
    # hash of a UUID is a Python function.
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.owner, self.request_id)))

    def __hash__(self) -> int:
        return self._hash

    @property
    def payer(self) -> UUID | None:
        """The owner, or the request without one: slow or failing servers count against it."""
        return self.owner or self.request_id


NOBODY = Who(None, None)


class Held:
    """How much each owner and each request holds of something."""

    def __init__(self) -> None:
        self._by_owner: dict[UUID | None, int] = {}
        self._by_request: dict[Who, int] = {}
        self._total = 0

    def add(self, who: Who, amount: int = 1) -> None:
        """A negative amount takes away."""
        self._total += amount
        _add(self._by_owner, who.owner, amount)
        _add(self._by_request, who, amount)

    def by_owner(self, owner: UUID | None) -> int:
        return self._by_owner.get(owner, 0)

    def by_request(self, who: Who) -> int:
        return self._by_request.get(who, 0)

    def by_payer(self, who: Who) -> int:
        """By owner, and by request where the service knows no owners."""
        return self.by_request(who) if who.owner is None else self.by_owner(who.owner)

    def total(self) -> int:
        return self._total


def _add(held: dict[T, int], holder: T, amount: int) -> None:
    """Change what a holder holds. Holders of nothing are not kept."""
    if now := held.get(holder, 0) + amount:
        held[holder] = now
    else:
        held.pop(holder, None)


class Share:
    """Limits how much of a total one owner or request may hold, so that later ones find some free.

    It reserves nothing and does not block: call allows(), then take().
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self._held = Held()

    @property
    def free(self) -> int:
        return self.total - self._held.total()

    def allows(self, who: Who) -> bool:
        """Whether this request may take more. One that holds nothing may, if anything is free."""
        free = self.free
        return (
            free > 0
            and self._held.by_owner(who.owner) < OWNER_SHARE * free
            and self._held.by_request(who) < REQUEST_SHARE * free
        )

    def take(self, who: Who, amount: int = 1) -> None:
        self._held.add(who, amount)

    def give_back(self, who: Who, amount: int = 1) -> None:
        self._held.add(who, -amount)


class Turns(Generic[T]):
    """A queue ordered by fairness: first the owner that holds the least, then that owner's request
    that holds the least, then first in, first out. Equals take turns.
    """

    def __init__(self, held: Held) -> None:
        self._held = held
        self._waiting: dict[UUID | None, dict[Who, deque[T]]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __iter__(self) -> Iterator[T]:
        return (
            one
            for requests in self._waiting.values()
            for queue in requests.values()
            for one in queue
        )

    def push(self, who: Who, one: T, *, first: bool = False) -> None:
        """Add an item. `first`: ahead of all others of the same request."""
        queue = self._waiting.setdefault(who.owner, {}).setdefault(who, deque())
        (queue.appendleft if first else queue.append)(one)

    def next(self) -> tuple[Who, T] | None:
        """The next item and whose it is, without removing it."""
        if not self._waiting:
            return None
        requests = self._waiting[min(self._waiting, key=self._held.by_owner)]
        who = min(requests, key=self._held.by_request)
        return who, requests[who][0]

    def pop(self) -> tuple[Who, T]:
        """Remove the next item. Its owner and its request then rank after their equals."""
        taken = self.next()
        assert taken is not None  # noqa: S101 - the caller has looked
        who, one = taken
        self.remove(who, one)
        if who.owner in self._waiting:
            requests = self._waiting.pop(who.owner)
            self._waiting[who.owner] = requests
            if who in requests:
                requests[who] = requests.pop(who)
        return taken

    def remove(self, who: Who, one: T) -> None:
        """Remove an item. Raises KeyError or ValueError if it is not in the queue."""
        requests = self._waiting[who.owner]
        requests[who].remove(one)
        if not requests[who]:
            del requests[who]
        if not requests:
            del self._waiting[who.owner]


class NoPlace(Exception):
    """No place came free within the time that the caller was willing to wait."""


class Places:
    """A fair semaphore on an event loop.

    `leaves_room`: no owner may take all places; see Share.
    """

    def __init__(self, total: int, *, leaves_room: bool = False) -> None:
        self._total = total
        self._share = Share(total) if leaves_room else None
        self._held = Held()
        self._turns: Turns[asyncio.Future[None]] = Turns(self._held)

    @property
    def in_use(self) -> int:
        return self._held.total()

    @property
    def is_waited_for(self) -> bool:
        return bool(self._turns)

    def has_place(self, who: Who) -> bool:
        """Whether acquire() would not wait."""
        return not self._turns and self._may_take(who)

    def take_free(self, who: Who) -> bool:
        """Take a place if that needs no wait. Returns whether it was taken."""
        if not self.has_place(who):
            return False
        self._take(who)
        return True

    async def acquire(self, who: Who, patience_seconds: float) -> None:
        """Take a place, waiting at most this long. Raises NoPlace."""
        if self.take_free(who):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.push(who, turn)
        self._hand_out()  # a turn before ours may wait for its share, not for a place
        try:
            async with asyncio.timeout(patience_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.release(who)  # the place was granted in the same moment
            else:
                with suppress(KeyError, ValueError):  # _hand_out() may have removed it
                    self._turns.remove(who, turn)
            if isinstance(error, TimeoutError):
                raise NoPlace from None
            raise

    def release(self, who: Who) -> None:
        self._held.add(who, -1)
        if self._share:
            self._share.give_back(who)
        self._hand_out()

    def _hand_out(self) -> None:
        while (waiting := self._turns.next()) and self._may_take(waiting[0]):
            who, turn = self._turns.pop()
            if not turn.done():  # its task was cancelled, and has not run since
                self._take(who)
                turn.set_result(None)

    def _may_take(self, who: Who) -> bool:
        return self.in_use < self._total and (self._share is None or self._share.allows(who))

    def _take(self, who: Who) -> None:
        self._held.add(who)
        if self._share:
            self._share.take(who)

    @contextmanager
    def taken(self, who: Who) -> Iterator[None]:
        """Hold the place from acquire() until the block ends."""
        try:
            yield
        finally:
            self.release(who)
