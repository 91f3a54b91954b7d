"""Keeps the pauses that hosts ask for: after a 429 or 503 with Retry-After, no worker sends the
host another request for the same owner until the pause ends.
"""

import asyncio
import random
import time
from collections import OrderedDict
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from halftone_shared.db.asked_pauses import list_asked_pauses, record_pause
from halftone_workers.errors import HostAsked
from halftone_workers.http.deadline import Deadline
from halftone_workers.http.hosts import REMEMBERED, host_name
from halftone_workers.http.parsed_url import ParsedUrl
from halftone_workers.http.refreshed import Refreshed
from halftone_workers.http.response_head import Headers
from halftone_workers.http.retry_after import retry_after_seconds
from halftone_workers.sharing import Who

log = structlog.get_logger(__name__)

_STATUSES = frozenset({429, 503})
# A host that asks for longer is tried again after this time. The image that it answered waits for
# as long as the host said.
MAX_PAUSE_SECONDS = 300.0
# After this many pauses in a row without another answer, a host's images are tried regardless, so
# that they use their attempts up: the pauses of a host that never recovers must not be endless.
MAX_IN_A_ROW = 5
# Images that wait for the same pause return within this time after it.
_SPREAD_SECONDS = 0.5

_Key = tuple[UUID, str]


@dataclass
class _Asked:
    """What a host asked of this worker: when its pause ends, and how many pauses in a row."""

    until: float = 0.0
    in_a_row: int = 0


class AskedPauses:
    """The pauses of all hosts, by payer. Use it on the event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._of_all = Refreshed(engine, _ends, dict[_Key, float]())
        self._of_this: OrderedDict[_Key, _Asked] = OrderedDict()

    async def refuse(self, who: Who, url: ParsedUrl, until: Deadline) -> None:
        """Raises HostAsked if the URL's host is in a pause that it asked for."""
        of_all = await self._of_all.value(until)
        if who.payer is None or not (of_all or self._of_this):
            return
        key = (who.payer, host_name(url))
        asked = self._of_this.get(key)
        end = max(of_all.get(key, 0.0), asked.until if asked else 0.0)
        if (left := end - time.monotonic()) > 0:
            raise HostAsked(key[1], left + random.uniform(0.0, _SPREAD_SECONDS))  # noqa: S311

    async def heard(self, who: Who, url: ParsedUrl, status_code: int, headers: Headers) -> None:
        """Take note of an answer. Begins a pause in all workers if the answer asks for one."""
        if who.payer is None:
            return
        seconds = retry_after_seconds(headers) if status_code in _STATUSES else None
        if seconds:
            await self._begin((who.payer, host_name(url)), min(seconds, MAX_PAUSE_SECONDS))
        elif self._of_this:
            self._of_this.pop((who.payer, host_name(url)), None)

    async def _begin(self, key: _Key, seconds: float) -> None:
        asked = self._of_this.setdefault(key, _Asked())
        self._of_this.move_to_end(key)
        if len(self._of_this) > REMEMBERED:
            self._of_this.popitem(last=False)
        now = time.monotonic()
        if now >= asked.until:
            asked.in_a_row += 1
        if asked.in_a_row > MAX_IN_A_ROW:
            return
        asked.until = max(asked.until, now + seconds)
        log.info("host asked for a pause", host=key[1], seconds=seconds)
        await asyncio.to_thread(self._record, key, seconds)

    def _record(self, key: _Key, seconds: float) -> None:
        try:
            with self._engine.connect() as connection:
                record_pause(connection, *key, seconds)
        except SQLAlchemyError as error:
            log.warning("pause not recorded", host=key[1], error=str(error).splitlines()[0])


def _ends(connection: Connection) -> dict[_Key, float]:
    """When each pause ends, by this machine's monotonic clock."""
    now = time.monotonic()
    return {key: now + seconds for key, seconds in list_asked_pauses(connection).items()}
