"""The HTTP client for all outgoing requests, images and webhooks alike, behind one address guard.

The caller follows redirects, hop by hop, through the same guard. Proxies from the environment are
not used: a proxy would resolve and connect by itself, without the guard. httpx.Client is not used:
it would share cookies between unrelated owners, and prepare redirects by itself.
"""

import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import certifi

from halftone_shared.model.addresses import FetchRule
from halftone_workers.http.connection import Response, request_bytes
from halftone_workers.http.deadline import Deadline
from halftone_workers.http.hosts import PATIENCE_SECONDS, Host, Hosts
from halftone_workers.http.parsed_url import ParsedUrl, parsed_url
from halftone_workers.http.pool import ConnectionPool
from halftone_workers.sharing import NOBODY, NoPlace, Places, Who

# Connections of one worker process, in use or idle. At 300 ms an answer, they fetch 5,000 images a
# second: more than two cores can compress.
MAX_CONNECTIONS = 1500
# An address may have this many times the connections of a host: many shops share a server.
NAMES_PER_ADDRESS = 4


class OutgoingHttp:
    """The client. Open it on the event loop that uses it."""

    def __init__(
        self,
        rule: FetchRule,
        *,
        connections_per_host: int,
        user_agent: str = "halftone",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._user_agent = user_agent
        self.hosts = Hosts(connections_per_host)
        self._connections = Places(MAX_CONNECTIONS, leaves_room=True)
        self._pool = ConnectionPool(
            rule,
            tls or tls_context(),
            max_connections=MAX_CONNECTIONS,
            connections_per_address=NAMES_PER_ADDRESS * connections_per_host,
        )

    async def close(self) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def request(
        self,
        method: str,
        url: str,
        until: Deadline,
        *,
        headers: dict[str, str],
        content: bytes | None = None,
        who: Who = NOBODY,
    ) -> AsyncIterator[Response]:
        """Send one request. Does not follow redirects or read the body.

        Waiting for a free connection, of the host or in total, does not count against the deadline;
        after PATIENCE_SECONDS it raises HostBusy. Raises httpx.HTTPError, httpx.InvalidURL,
        BadHttp, BlockedAddress, HostNotFound, HostBusy, HostDown.
        """
        parsed = parsed_url(url)
        headers = _headers(parsed, self._user_agent) | headers
        request = request_bytes(method, parsed, headers, content)
        host = self.hosts.of(parsed)
        with self.hosts.watched(who, parsed, lambda: until.has_passed):
            await self._place(host, until, who)
            with host.kept(who):
                await self._take_connection(host, until, who)
                with self._connections.taken(who):
                    response = await self._pool.exchange(parsed, request, host, until, who)
                    try:
                        yield response
                    finally:
                        response.close()

    async def _place(self, host: Host, until: Deadline, who: Who) -> None:
        if host.places.take_free(who):
            return
        with until.paused():
            await host.place(who)

    async def _take_connection(self, host: Host, until: Deadline, who: Who) -> None:
        if self._connections.take_free(who):
            return
        try:
            with until.paused():
                await self._connections.acquire(who, PATIENCE_SECONDS)
        except NoPlace:
            raise host.busy() from None


def _headers(url: ParsedUrl, user_agent: str) -> dict[str, str]:
    common = {"Host": url.netloc, "User-Agent": user_agent, "Accept-Encoding": "identity"}
    if url.username or url.password:
        common["Authorization"] = (
            "Basic " + base64.b64encode(f"{url.username}:{url.password}".encode()).decode()
        )
    return common


def tls_context() -> ssl.SSLContext:
    """TLS settings with the machine's certificate authorities, and Mozilla's if it has none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
