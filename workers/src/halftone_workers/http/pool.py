"""A pool of idle connections for the next request to the same origin."""

import asyncio
import ssl
import time
from collections import defaultdict
from functools import partial

import httpx

from halftone_shared.model.addresses import FetchRule
from halftone_workers.http.connection import SCRATCH_BYTES, HttpConnection, Response
from halftone_workers.http.deadline import Deadline
from halftone_workers.http.guard import GuardedNetwork
from halftone_workers.http.hosts import Host
from halftone_workers.http.parsed_url import ParsedUrl
from halftone_workers.sharing import Who

KEEPALIVE_SECONDS = 15.0
Origin = tuple[str, str, int]


class ConnectionPool:
    """Keeps idle connections for the next request to the same origin.

    The caller limits how many are in use at once, because waiting there does not count against a
    deadline. Idle connections are closed to make room for new ones.
    """

    def __init__(
        self,
        rule: FetchRule,
        tls: ssl.SSLContext,
        *,
        max_connections: int,
        connections_per_address: int,
    ) -> None:
        self.network = GuardedNetwork(rule, connections_per_address, self._make_room)
        self._tls = tls
        self._max_connections = max_connections
        self._scratch = memoryview(bytearray(SCRATCH_BYTES))
        # Each with its origin and the time of its return, oldest first: that one is closed first.
        self._idle: dict[HttpConnection, tuple[Origin, float]] = {}
        # Ordered by return time, too. A dict, because an origin may have 1,000 connections and one
        # may be removed from any position.
        self._by_origin: defaultdict[Origin, dict[HttpConnection, None]] = defaultdict(dict)
        self._in_use = 0
        self._expiry: asyncio.TimerHandle | None = None

    async def exchange(
        self, url: ParsedUrl, request: bytes, host: Host, until: Deadline, who: Who
    ) -> Response:
        """Send a request over an idle or a new connection, and read the answer's head.

        Closing the response returns the connection to the pool. Raises httpx.HTTPError, BadHttp,
        BlockedAddress, HostNotFound, HostBusy.
        """
        origin = (url.scheme, url.host, url.port)
        self._in_use += 1
        try:
            while kept := self._take(origin):
                try:
                    return await self._exchange(kept, origin, request)
                except (httpx.NetworkError, httpx.RemoteProtocolError):
                    # A server may close an idle connection at any time, even while this request is
                    # on its way (RFC 9112, 9.5).
                    if kept.has_answered:
                        raise
            opened = await self._open(origin, host, until, who)
            return await self._exchange(opened, origin, request)
        except BaseException:
            self._in_use -= 1
            raise

    async def _exchange(
        self, connection: HttpConnection, origin: Origin, request: bytes
    ) -> Response:
        try:
            response = await connection.exchange(request)
        except BaseException:
            connection.close()
            raise
        response.body.on_close = partial(self._give_back, connection, origin)
        return response

    async def close(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        while self._idle:
            self._drop(next(iter(self._idle)))
        await self.network.close()

    async def _open(self, origin: Origin, host: Host, until: Deadline, who: Who) -> HttpConnection:
        if self._idle and len(self._idle) + self._in_use > self._max_connections:
            self._drop(next(iter(self._idle)))
        scheme, name, port = origin
        connected = await self.network.connect(name, port, host, until, who)
        connection = HttpConnection(self._scratch, connected.address, connected.on_close)
        tls = self._tls if scheme == "https" else None
        await connection.open(connected.socket, tls, name)
        return connection

    def _make_room(self, address: str) -> None:
        """Close the oldest idle connection to an address, if there is one."""
        for connection in self._idle:
            if connection.address == address:
                self._drop(connection)
                return

    def _take(self, origin: Origin) -> HttpConnection | None:
        """The connection that was returned last."""
        if not (idle := self._by_origin.get(origin)):
            return None
        connection = next(reversed(idle))
        self._forget(connection)
        return connection

    def _give_back(self, connection: HttpConnection, origin: Origin, reusable: bool) -> None:
        self._in_use -= 1
        if not reusable or self.network.is_wanted(connection.address):
            connection.close()
            return
        self._idle[connection] = origin, time.monotonic()
        self._by_origin[origin][connection] = None
        connection.wait_for_end(partial(self._drop, connection))
        if self._expiry is None:
            self._drop_expired()

    def _drop_expired(self) -> None:
        """Close what has been idle for too long, now and whenever the next one has."""
        self._expiry = None
        while self._idle:
            connection, (_, returned_at) = next(iter(self._idle.items()))
            seconds_left = returned_at + KEEPALIVE_SECONDS - time.monotonic()
            if seconds_left > 0:
                loop = asyncio.get_running_loop()
                self._expiry = loop.call_later(seconds_left, self._drop_expired)
                return
            self._drop(connection)

    def _forget(self, connection: HttpConnection) -> None:
        connection.on_end = None
        origin, _ = self._idle.pop(connection)
        del self._by_origin[origin][connection]
        if not self._by_origin[origin]:
            del self._by_origin[origin]

    def _drop(self, connection: HttpConnection) -> None:
        self._forget(connection)
        connection.close()
