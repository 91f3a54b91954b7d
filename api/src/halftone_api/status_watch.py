"""Reads what event streams watch, for all streams of this process together: their requests in one
statement, and the keys that opened them in another.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from halftone_shared.db.api_keys import valid_keys
from halftone_shared.db.requests import get_statuses
from halftone_shared.model.request_status import RequestStatus


@dataclass(frozen=True)
class _Look:
    """What one look at the database found. `keys`: the valid ones among those asked for."""

    requests: Mapping[UUID, RequestStatus]
    keys: frozenset[UUID]


@dataclass
class _Wanted:
    request_ids: set[UUID] = field(default_factory=set)
    key_ids: set[UUID] = field(default_factory=set)


class StatusWatch:
    """Looks at watched requests at most every `every_seconds`, and only while somebody waits. Use
    it on one event loop.
    """

    def __init__(self, engine: Engine, every_seconds: float) -> None:
        self._engine = engine
        self._every_seconds = every_seconds
        self._wanted = _Wanted()
        self._next: asyncio.Task[_Look] | None = None

    async def look(self, request_id: UUID, key_id: UUID | None) -> RequestStatus | None:
        """The request at the next look; None if it is gone, or if the key was revoked. `key_id` is
        None for a caller without a key. Raises SQLAlchemyError.
        """
        self._wanted.request_ids.add(request_id)
        if key_id is not None:
            self._wanted.key_ids.add(key_id)
        if self._next is None:
            self._next = asyncio.create_task(self._look())
        # Many streams wait for the same task: one that ends must not cancel it.
        found = await asyncio.shield(self._next)
        if key_id is not None and key_id not in found.keys:
            return None
        return found.requests.get(request_id)

    async def _look(self) -> _Look:
        await asyncio.sleep(self._every_seconds)
        wanted, self._wanted, self._next = self._wanted, _Wanted(), None
        return await run_in_threadpool(self._read, wanted)

    def _read(self, wanted: _Wanted) -> _Look:
        with self._engine.connect() as connection:
            keys = valid_keys(connection, list(wanted.key_ids)) if wanted.key_ids else frozenset()
            return _Look(get_statuses(connection, list(wanted.request_ids)), keys)
