"""Refuses fetches from hosts that an operator has paused."""

import asyncio
import time

import httpx
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from halftone_shared.db.paused_hosts import PAUSED_SECONDS, list_paused_hosts, paused_name
from halftone_workers.errors import HostPaused
from halftone_workers.http.hosts import host_name

log = structlog.get_logger(__name__)

# A pause takes effect in every worker within this time.
REFRESH_SECONDS = 1.0


class PausedHosts:
    """The paused hosts, read from the database at most once every REFRESH_SECONDS. Use it on the
    event loop.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._paused: frozenset[str] = frozenset()
        self._fresh_until = 0.0
        self._reading = asyncio.Lock()

    async def refuse(self, url: httpx.URL) -> None:
        """Raises HostPaused if the URL's host is paused."""
        await self._refresh()
        if self._paused and (name := paused_name(self._paused, host_name(url))) is not None:
            raise HostPaused(name, PAUSED_SECONDS)

    async def _refresh(self) -> None:
        if time.monotonic() < self._fresh_until:
            return
        async with self._reading:
            if time.monotonic() < self._fresh_until:
                return  # another fetch has read them meanwhile
            try:
                self._paused = await asyncio.to_thread(self._read)
            except SQLAlchemyError as error:
                # Workers go on with what they know, as far as they can without the database.
                log.warning("paused hosts unknown", error=str(error).splitlines()[0])
            self._fresh_until = time.monotonic() + REFRESH_SECONDS

    def _read(self) -> frozenset[str]:
        with self._engine.connect() as connection:
            return frozenset(one.host for one in list_paused_hosts(connection))
