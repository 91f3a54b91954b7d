"""Refuses fetches from hosts that an operator has paused."""

from sqlalchemy import Connection, Engine

from halftone_shared.db.paused_hosts import PAUSED_SECONDS, list_paused_hosts, paused_name
from halftone_workers.errors import HostPaused
from halftone_workers.http.deadline import Deadline
from halftone_workers.http.hosts import host_name
from halftone_workers.http.parsed_url import ParsedUrl
from halftone_workers.http.refreshed import Refreshed


class PausedHosts:
    """The paused hosts. Use it on the event loop."""

    def __init__(self, engine: Engine) -> None:
        self._paused = Refreshed(engine, _paused, frozenset[str]())

    async def refuse(self, url: ParsedUrl, until: Deadline) -> None:
        """Raises HostPaused if the URL's host is paused."""
        paused = await self._paused.value(until)
        if paused and (name := paused_name(paused, host_name(url))) is not None:
            raise HostPaused(name, PAUSED_SECONDS)


def _paused(connection: Connection) -> frozenset[str]:
    return frozenset(one.host for one in list_paused_hosts(connection))
