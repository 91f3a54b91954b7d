"""Reads the requests that event streams watch: one statement for all streams of this process."""

import asyncio
from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from halftone_shared.db.requests import get_statuses
from halftone_shared.model.request_status import RequestStatus


class StatusWatch:
    """Looks at watched requests at most every `every_seconds`, and only while somebody waits. Use
    it on one event loop.
    """

    def __init__(self, engine: Engine, every_seconds: float) -> None:
        self._engine = engine
        self._every_seconds = every_seconds
        self._wanted: set[UUID] = set()
        self._next: asyncio.Task[Mapping[UUID, RequestStatus]] | None = None

    async def look(self, request_id: UUID) -> RequestStatus | None:
        """The request at the next look; None if it is gone. Raises SQLAlchemyError."""
        self._wanted.add(request_id)
        if self._next is None:
            self._next = asyncio.create_task(self._look())
        # Many streams wait for the same task: one that ends must not cancel it.
        found = await asyncio.shield(self._next)
        return found.get(request_id)

    async def _look(self) -> Mapping[UUID, RequestStatus]:
        await asyncio.sleep(self._every_seconds)
        wanted, self._wanted, self._next = self._wanted, set(), None
        return await run_in_threadpool(self._read, list(wanted))

    def _read(self, request_ids: list[UUID]) -> Mapping[UUID, RequestStatus]:
        with self._engine.connect() as connection:
            return get_statuses(connection, request_ids)
