"""Limits the space that uploads take in temporary files, in all and by owner."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from halftone_api.errors import Problem, ProblemCode

# An owner may hold 3 times what is free, so at most 3/4 in all: the next owner finds 1/4 free.
OWNER_SHARE = 3
_RETRY = {"Retry-After": "5"}


class UploadSpace:
    """Counts the bytes of the uploads of one API process, on its event loop."""

    def __init__(self, total_bytes: int) -> None:
        self._total = total_bytes
        self._held: Counter[UUID | None] = Counter()

    @contextmanager
    def room(self, owner_id: UUID | None) -> Iterator["UploadRoom"]:
        """The space of one upload, given back at the end of the block."""
        room = UploadRoom(self, owner_id)
        try:
            yield room
        finally:
            self._held[owner_id] -= room.held
            if not self._held[owner_id]:
                del self._held[owner_id]

    def take(self, owner_id: UUID | None, number: int) -> None:
        """Count bytes before they are written. Raises Problem if there is no room for them."""
        free = self._total - self._held.total() - number
        if free < 0:
            raise Problem(
                ProblemCode.STORAGE_UNAVAILABLE,
                "There is no room for the upload now, because many others arrive. Try again.",
                headers=_RETRY,
            )
        if self._held[owner_id] + number > OWNER_SHARE * free:
            raise Problem(
                ProblemCode.RATE_LIMITED,
                "There is no room for the upload beside the others that you are sending now. Wait"
                " until they have been answered.",
                headers=_RETRY,
            )
        self._held[owner_id] += number


class UploadRoom:
    """What one upload holds of the space, in bytes."""

    def __init__(self, space: UploadSpace, owner_id: UUID | None) -> None:
        self._space = space
        self._owner_id = owner_id
        self.held = 0

    def take(self, number: int) -> None:
        """Raises Problem."""
        self._space.take(self._owner_id, number)
        self.held += number
