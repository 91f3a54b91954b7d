"""A network for tests of the SSRF guard: no test connects to anything outside loopback or looks up
a name.

A stub resolver answers, and a simulated internet replaces the opening of connections. In it, one
public address is a server of ours, every address of this machine is a victim that counts calls, and
all other addresses are unreachable.
"""

import socket
import ssl
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest

from halftone_shared.model.addresses import FetchRule
from halftone_workers.http import guard
from halftone_workers.http.client import OutgoingHttp
from tests.support.hostile import (
    HostileServer,
    StubResolver,
    Visitor,
    closing_after,
    hostile_server,
    response,
)

TLS = ssl.create_default_context()
PUBLIC = "93.184.215.14"
PUBLIC_IPV6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
BODY = b"\xff\xd8\xffpublic"
NO_EXCEPTIONS = FetchRule()


class Internet:
    """Opens connections in these tests and records their targets. Never connects outside loopback,
    even if the guard fails.
    """

    def __init__(self, shop: HostileServer, victim: HostileServer) -> None:
        self.shop, self.victim = shop, victim
        self.connects: list[tuple[str, int]] = []

    async def open(self, address: str, port: int) -> socket.socket:
        self.connects.append((address, port))
        if address in (PUBLIC, PUBLIC_IPV6):
            return await guard._open_socket("127.0.0.1", self.shop.port)
        if _is_this_machine(address):
            return await guard._open_socket("127.0.0.1", self.victim.port)
        raise ConnectionRefusedError("nobody is there")


def _is_this_machine(host: str) -> bool:
    address = ip_address(host)
    inner = IPv4Address(int(address) & 0xFFFFFFFF) if isinstance(address, IPv6Address) else address
    return address.is_loopback or address.is_unspecified or inner.is_loopback


@dataclass
class World:
    """The internet, the name server, and the servers of strangers. `locations` are the shop's
    redirects, by path.
    """

    internet: Internet
    names: StubResolver
    locations: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def hits(self) -> int:
        """How often an internal address was reached."""
        return self.internet.victim.accepts


@contextmanager
def new_world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    locations: dict[bytes, bytes] = {}

    def shop(visitor: Visitor) -> None:
        path = visitor.read_request().split(b" ")[1]
        if path in locations:
            visitor.send(
                b"HTTP/1.1 302 Found\r\nLocation: "
                + locations[path]
                + b"\r\nContent-Length: 0\r\n\r\n"
            )
        else:
            visitor.send(response(body=BODY, headers={"Connection": "close"}))

    names = StubResolver({"shop.test": [PUBLIC], "127.0.0.1.nip.test": ["127.0.0.1"]})
    names.replace_look_ups(monkeypatch)
    with (
        hostile_server(shop) as public,
        hostile_server(closing_after(response(body=b"secret"))) as victim,
    ):
        yield World(Internet(public, victim), names, locations)


@asynccontextmanager
async def guarded(world: World, rule: FetchRule = NO_EXCEPTIONS, per_host: int = 4) -> Any:
    """A worker's HTTP client on the network of the test."""
    http = OutgoingHttp(rule, connections_per_host=per_host, tls=TLS)
    http._pool.network._open = world.internet.open
    try:
        yield http
    finally:
        await http.close()
