"""Applies the owners' settings for the hosts of their images: credentials, rate and connections.

Credentials are sent only to their host, and only by https or if the operator has allowed the
network of all the host's addresses. They are not sent after a redirect to another host, which could
redirect back. PostgreSQL counts rate and connections, so that the limits hold across all workers.
"""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TypeVar
from uuid import UUID, uuid4

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from halftone_shared.db.origins import (
    OriginRow,
    leave_connection,
    list_origins,
    take_connection,
    take_turn,
)
from halftone_shared.errors import SecretUnreadable
from halftone_shared.model.addresses import FetchRule
from halftone_shared.model.origins import Credentials, OriginSettings
from halftone_shared.model.secret_box import SecretBox
from halftone_workers.errors import HostBusy
from halftone_workers.http.deadline import Deadline
from halftone_workers.http.hosts import PATIENCE_SECONDS
from halftone_workers.http.parsed_url import ParsedUrl, parsed_url
from halftone_workers.http.resolver import Resolver

log = structlog.get_logger(__name__)

# A product that got none of the host's connections is tried again after this time.
BUSY_PAUSE_SECONDS = 2.0
# Changed settings take effect within this time.
REFRESH_SECONDS = 5.0
REMEMBERED_OWNERS = 1000
# A dead worker's connections are freed this long after the maximum duration of a fetch.
MARGIN_SECONDS = 30.0
_LOOK_AGAIN_SECONDS = 0.1

T = TypeVar("T")
Read = Callable[[Callable[[Connection], list[OriginRow]]], list[OriginRow]]


@dataclass(frozen=True)
class OwnOrigins:
    """A snapshot of an owner's settings by host."""

    owner_id: UUID | None
    by_host: dict[str, OriginSettings]

    def at(self, url: ParsedUrl) -> tuple[str, OriginSettings] | None:
        """The settings for a URL's host and port, or else for its host."""
        if not self.by_host:
            return None
        host = f"[{url.host}]" if ":" in url.host else url.host
        for name in (f"{host}:{url.port}", host):
            if (settings := self.by_host.get(name)) is not None:
                return name, settings
        return None


NO_ORIGINS = OwnOrigins(None, {})


class NoOrigins:
    """For fetches without an owner: sends no credentials and has no limits."""

    async def headers(self, own: OwnOrigins, url: str) -> dict[str, str]:
        return {}

    def turn(self, own: OwnOrigins, url: str, until: Deadline) -> AbstractAsyncContextManager[None]:
        return nullcontext()


def is_same_host(one: ParsedUrl, other: ParsedUrl) -> bool:
    """Whether a redirect keeps host and port. A change from http to https is allowed."""
    default = (("http", 80), ("https", 443))
    is_upgrade = ((one.scheme, one.port), (other.scheme, other.port)) == default
    return one.host == other.host and (one.port == other.port or is_upgrade)


class Origins:
    """The settings of all owners, and the limits that they set. Call `of` in any thread, the other
    methods on the event loop.
    """

    def __init__(
        self,
        engine: Engine,
        read: Read,
        box: SecretBox,
        rule: FetchRule,
        *,
        timeout_seconds: float,
    ) -> None:
        """`read` retries a query until it succeeds: without credentials an image would fail."""
        self._engine = engine
        self._read = read
        self._box = box
        self._rule = rule
        self._keep_seconds = timeout_seconds + MARGIN_SECONDS
        self._known: dict[UUID | None, tuple[float, OwnOrigins]] = {}
        self._resolver: Resolver | None = None

    def of(self, owner_id: UUID | None) -> OwnOrigins:
        """The owner's settings, at most REFRESH_SECONDS old. Waits for the database."""
        known = self._known.get(owner_id)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        rows = self._read(lambda connection: list_origins(connection, owner_id))
        by_host = {}
        for row in rows:
            try:
                credentials = Credentials.from_json(self._box.open(row.sealed))
            except SecretUnreadable:
                log.error(
                    "origin's credentials unreadable",
                    host=row.host,
                    reason="they were sealed under another HALFTONE_WEBHOOK_SECRET",
                )
                credentials = Credentials()
            by_host[row.host] = OriginSettings(
                credentials, row.requests_per_second, row.connections
            )
        found = OwnOrigins(owner_id, by_host)
        if len(self._known) >= REMEMBERED_OWNERS:
            self._known.clear()
        self._known[owner_id] = (time.monotonic() + REFRESH_SECONDS, found)
        return found

    async def headers(self, own: OwnOrigins, url: str) -> dict[str, str]:
        """The owner's headers for a URL's host; empty if they may not be sent there."""
        parsed = parsed_url(url)
        found = own.at(parsed)
        if found is None:
            return {}
        credentials = found[1].credentials
        headers = dict(credentials.headers)
        if credentials.username is not None:
            pair = f"{credentials.username}:{credentials.password or ''}".encode()
            headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
        if headers and parsed.scheme != "https" and not await self._is_allowed(parsed):
            log.warning(
                "credentials not sent",
                host=found[0],
                reason="http, and not in HALFTONE_FETCH_ALLOW",
            )
            return {}
        return headers

    async def _is_allowed(self, url: ParsedUrl) -> bool:
        """Whether the operator has allowed every address of the host."""
        if not self._rule.allowed_networks:
            return False
        host = url.host
        try:
            addresses = [str(ip_address(host))]
        except ValueError:
            self._resolver = self._resolver or Resolver()
            addresses = await self._resolver.look_up(host, url.port)
        return bool(addresses) and all(self._rule.allows(address) for address in addresses)

    async def close(self) -> None:
        if self._resolver is not None:
            await self._resolver.close()

    def turn(self, own: OwnOrigins, url: str, until: Deadline) -> AbstractAsyncContextManager[None]:
        """Wait until the owner's limits allow a request to the URL's host, and count the connection
        until the block ends. Raises HostBusy.
        """
        found = own.at(parsed_url(url))
        if found is None or not (found[1].requests_per_second or found[1].connections):
            return nullcontext()
        return self._limited_turn(own, *found, until)

    @asynccontextmanager
    async def _limited_turn(
        self, own: OwnOrigins, host: str, settings: OriginSettings, until: Deadline
    ) -> AsyncIterator[None]:
        name = f"origin {own.owner_id} {host}"
        holder = uuid4()
        with until.paused():
            if settings.connections is not None:
                await self._connection(name, host, holder, settings.connections)
        try:
            with until.paused():
                if settings.requests_per_second is not None:
                    await self._pace(name, host, settings.requests_per_second)
            yield
        finally:
            if settings.connections is not None:
                await self._do(lambda connection: leave_connection(connection, name, holder), None)

    async def _connection(self, name: str, host: str, holder: UUID, connections: int) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not await self._do(
            lambda connection: take_connection(
                connection, name, holder, connections, seconds=self._keep_seconds
            ),
            False,
        ):
            if time.monotonic() >= end:
                raise HostBusy(host, lambda _: BUSY_PAUSE_SECONDS)
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def _pace(self, name: str, host: str, rate: float) -> None:
        wait: float | None = await self._do(
            lambda connection: take_turn(connection, name, rate, patience_seconds=PATIENCE_SECONDS),
            None,
        )
        if wait is None:
            raise HostBusy(host, lambda images: max(images / rate, 1.0))
        await asyncio.sleep(wait)

    async def _do(self, query: Callable[[Connection], T], otherwise: T) -> T:
        """Run a query in a thread. If the database is unavailable, no request is sent."""

        def run() -> T:
            with self._engine.connect() as connection:
                return query(connection)

        try:
            return await asyncio.to_thread(run)
        except SQLAlchemyError as error:
            log.warning("origin's limits unknown", error=str(error).splitlines()[0])
            return otherwise
