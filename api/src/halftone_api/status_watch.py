"""Reads what event streams watch, for all streams of this process together: their requests in one
statement, and the keys that opened them in another.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from halftone_shared.db.api_keys import valid_keys
from halftone_shared.db.requests import get_statuses
from halftone_shared.model.request_status import RequestStatus

# Streams that go on at once. Others' calls come between these groups: each stream may render and
# send an event, half a millisecond of the event loop.
STREAMS_PER_TURN = 10


@dataclass(frozen=True)
class _Stream:
    """Waits for the next look at its request. `key_id`: the key that opened it."""

    request_id: UUID
    key_id: UUID | None
    found: asyncio.Future[RequestStatus | None]


@dataclass(frozen=True)
class _Look:
    """What one look at the database found. `keys`: the valid ones among those asked for."""

    requests: Mapping[UUID, RequestStatus]
    keys: frozenset[UUID]

    def of(self, stream: _Stream) -> RequestStatus | None:
        if stream.key_id is not None and stream.key_id not in self.keys:
            return None
        return self.requests.get(stream.request_id)


class StatusWatch:
    """Looks at watched requests at most every `every_seconds`, and only while somebody waits. Use
    it on one event loop.
    """

    def __init__(self, engine: Engine, every_seconds: float) -> None:
        self._engine = engine
        self._every_seconds = every_seconds
        self._waiting: list[_Stream] = []
        self._next: asyncio.Task[None] | None = None

    async def look(self, request_id: UUID, key_id: UUID | None) -> RequestStatus | None:
        """The request at the next look; None if it is gone, or if the key was revoked. `key_id` is
        None for a caller without a key. Raises SQLAlchemyError.
        """
        stream = _Stream(request_id, key_id, asyncio.get_running_loop().create_future())
        self._waiting.append(stream)
        if self._next is None:
            self._next = asyncio.create_task(self._look())
        return await stream.found

    async def _look(self) -> None:
        await asyncio.sleep(self._every_seconds)
        waiting, self._waiting, self._next = self._waiting, [], None
        try:
            found = await run_in_threadpool(self._read, waiting)
        except SQLAlchemyError as error:
            async for stream in _in_turns(waiting):
                stream.found.set_exception(error)
        else:
            async for stream in _in_turns(waiting):
                stream.found.set_result(found.of(stream))

    def _read(self, waiting: Sequence[_Stream]) -> _Look:
        key_ids = {stream.key_id for stream in waiting if stream.key_id is not None}
        with self._engine.connect() as connection:
            keys = valid_keys(connection, list(key_ids)) if key_ids else frozenset()
            request_ids = {stream.request_id for stream in waiting}
            return _Look(get_statuses(connection, list(request_ids)), keys)


async def _in_turns(waiting: Sequence[_Stream]) -> AsyncIterator[_Stream]:
    for number, stream in enumerate(waiting, 1):
        if not stream.found.done():  # its client has not gone
            yield stream
        if number % STREAMS_PER_TURN == 0:
            await asyncio.sleep(0)
