"""A value that the worker's fetches read from the database at most once a second."""

import asyncio
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from halftone_workers.http.deadline import Deadline

log = structlog.get_logger(__name__)

# A change takes effect in every worker within this time.
REFRESH_SECONDS = 1.0

T = TypeVar("T")


class Refreshed(Generic[T]):
    """The value of a query. Use it on the event loop."""

    def __init__(self, engine: Engine, read: Callable[[Connection], T], first: T) -> None:
        self._engine = engine
        self._read = read
        self._value = first
        self._fresh_until = 0.0
        self._reading = asyncio.Lock()

    async def value(self, until: Deadline) -> T:
        """The value, at most REFRESH_SECONDS old. The last one while the database is away. Reading
        it does not count against the deadline.
        """
        if time.monotonic() >= self._fresh_until:
            with until.paused():
                await self._read_once()
        return self._value

    async def _read_once(self) -> None:
        async with self._reading:
            # Another fetch may have read it meanwhile.
            if time.monotonic() >= self._fresh_until:
                await self._refresh()

    async def _refresh(self) -> None:
        try:
            self._value = await asyncio.to_thread(self._read_now)
        except SQLAlchemyError as error:
            # Workers go on with what they know, as far as they can without the database.
            log.warning(
                "hosts' pauses unknown",
                query=self._read.__name__,
                error=str(error).splitlines()[0],
            )
        self._fresh_until = time.monotonic() + REFRESH_SECONDS

    def _read_now(self) -> T:
        with self._engine.connect() as connection:
            return self._read(connection)
