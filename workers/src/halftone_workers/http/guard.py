"""Opens connections to checked addresses only.

A host is resolved once, and every address is checked (halftone_shared.model.addresses). A single
forbidden address blocks the host. The connection goes to a checked address, so DNS rebinding, a
name that resolves differently the next time, has no effect.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

import httpx

from halftone_shared.model.addresses import FetchRule
from halftone_workers.errors import BlockedAddress, HostNotFound
from halftone_workers.http.deadline import Deadline
from halftone_workers.http.hosts import PATIENCE_SECONDS, Host
from halftone_workers.http.resolver import Resolver
from halftone_workers.sharing import NoPlace, Places, Who

# If an address has not answered after this time, the next one is tried instead. TCP retransmits a
# lost packet after 1 s.
NEXT_ADDRESS_SECONDS = 2.0


@dataclass(frozen=True)
class Connected:
    """A connected socket. Call `on_close` once, when it is closed, to free its place at the
    address.
    """

    socket: socket.socket
    address: str
    on_close: Callable[[], None]


class GuardedNetwork:
    """Opens connections to checked addresses only. Host, SNI and the certificate check still use
    the host's name.

    One server may serve any number of names, so connections are also limited per address.
    `make_room` closes an idle connection to an address, so that another can be opened.
    """

    def __init__(
        self, rule: FetchRule, connections_per_address: int, make_room: Callable[[str], None]
    ) -> None:
        self._rule = rule
        self._connections_per_address = connections_per_address
        self._make_room = make_room
        self._addresses: dict[str, Places] = {}
        self._resolver = Resolver()
        self._open = _open_socket

    async def close(self) -> None:
        await self._resolver.close()

    async def connect(
        self, name: str, port: int, host: Host, until: Deadline, who: Who
    ) -> Connected:
        """A connection to one of the host's addresses. Raises BlockedAddress, HostNotFound,
        HostBusy, httpx.ConnectError.
        """
        addresses = await self._resolver.look_up(name, port)
        for address in addresses:
            if not self._rule.permits(address, port):
                raise BlockedAddress(
                    f"{name} port {port} is not on the public internet, or not on port 80 or 443."
                    " The operator can allow its network with HALFTONE_FETCH_ALLOW."
                )
        for last, address in enumerate(_by_turns(addresses), start=1 - len(addresses)):
            await self._take_place(host, address, until, who)
            try:
                async with asyncio.timeout(NEXT_ADDRESS_SECONDS if last else None):
                    opened = await self._open(address, port)
                return Connected(opened, address, partial(self._release, address, who))
            except BaseException as error:
                self._release(address, who)
                if not isinstance(error, OSError):
                    raise
                if last == 0:
                    raise httpx.ConnectError(str(error)) from error
        raise HostNotFound(f"{name} has no address.", temporary=False)

    def is_wanted(self, address: str) -> bool:
        """Whether somebody waits for a connection to this address."""
        return address in self._addresses and self._addresses[address].is_waited_for

    async def _take_place(self, host: Host, address: str, until: Deadline, who: Who) -> None:
        places = self._addresses.setdefault(address, Places(self._connections_per_address))
        if not places.has_place(who):
            self._make_room(address)
        try:
            with until.paused():
                await places.acquire(who, PATIENCE_SECONDS)
        except NoPlace:
            raise host.busy() from None

    def _release(self, address: str, who: Who) -> None:
        places = self._addresses[address]
        places.release(who)
        if not places.in_use:
            del self._addresses[address]


def _by_turns(addresses: list[str]) -> list[str]:
    """Alternate IPv4 and IPv6, the preferred family first (RFC 8305, 4): one of them may not work
    at all.
    """
    by_family: dict[bool, list[str]] = {}
    for address in addresses:
        by_family.setdefault(":" in address, []).append(address)
    return [address for turn in zip_longest(*by_family.values()) for address in turn if address]


async def _open_socket(address: str, port: int) -> socket.socket:
    opened = socket.socket(
        socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM
    )
    opened.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(opened, (address, port))
    except BaseException:
        opened.close()
        raise
    return opened
