"""The guard against reaching inside: what a stranger's URL, redirect or name server says, nobody within is called.

No test connects to anything outside loopback or looks up a name: a stub resolver answers, and a network that plays the
internet stands where connections are opened. In it one public address is a server of ours, every address of this
machine is a victim that counts, and nobody is behind all others.
"""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, TypeVar
from uuid import uuid4

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from halftone_shared.addresses import FetchRule, parse_networks
from halftone_shared.signing import new_secret
from halftone_shared.states import ImageErrorCode
from halftone_shared.webhook_events import Delivery, DueEvent
from halftone_workers import outgoing_http, webhook_job
from halftone_workers.fetching import FetchFailed, ImageFetcher, MemoryBudget
from halftone_workers.outgoing_http import Deadline, GuardedNetwork, OutgoingHttp
from tests.support.fetched import fetched
from tests.support.hostile import (
    Authority,
    HostileServer,
    StubResolver,
    Visitor,
    answering,
    closing_after,
    hostile_server,
    new_authority,
    response,
)
from tests.support.origin import Origin

T = TypeVar("T")
_TLS = ssl.create_default_context()
PUBLIC = "93.184.215.14"
PUBLIC_IPV6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
BODY = b"\xff\xd8\xffpublic"
NO_EXCEPTIONS = FetchRule()
REFUSED = {ImageErrorCode.BLOCKED_ADDRESS, ImageErrorCode.INVALID_URL}


class Internet:
    """What opens connections in these tests, and notes to where: never outside loopback, whatever the guard lets by."""

    def __init__(self, shop: HostileServer, victim: HostileServer) -> None:
        self.shop, self.victim = shop, victim
        self.connects: list[tuple[str, int]] = []

    async def open(self, address: str, port: int) -> socket.socket:
        self.connects.append((address, port))
        if address in (PUBLIC, PUBLIC_IPV6):
            return await outgoing_http._open_socket("127.0.0.1", self.shop.port)
        if _is_this_machine(address):
            return await outgoing_http._open_socket("127.0.0.1", self.victim.port)
        raise ConnectionRefusedError("nobody is there")


def _is_this_machine(host: str) -> bool:
    address = ip_address(host)
    inner = IPv4Address(int(address) & 0xFFFFFFFF) if isinstance(address, IPv6Address) else address
    return address.is_loopback or address.is_unspecified or inner.is_loopback


@dataclass
class World:
    """The internet, the name server, and what strangers serve: `locations` are the shop's redirects, by path."""

    internet: Internet
    names: StubResolver
    locations: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def hits(self) -> int:
        """How often somebody inside was reached."""
        return self.internet.victim.accepts


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    locations: dict[bytes, bytes] = {}

    def shop(visitor: Visitor) -> None:
        path = visitor.read_request().split(b" ")[1]
        if path in locations:
            visitor.send(b"HTTP/1.1 302 Found\r\nLocation: " + locations[path] + b"\r\nContent-Length: 0\r\n\r\n")
        else:
            visitor.send(response(body=BODY, headers={"Connection": "close"}))

    names = StubResolver({"shop.test": [PUBLIC], "127.0.0.1.nip.test": ["127.0.0.1"]})
    monkeypatch.setattr(outgoing_http, "_look_up", names)
    with hostile_server(shop) as public, hostile_server(closing_after(response(body=b"secret"))) as victim:
        yield World(Internet(public, victim), names, locations)


@asynccontextmanager
async def _guarded(world: World, rule: FetchRule = NO_EXCEPTIONS, per_host: int = 4) -> Any:
    """An HTTP client as workers have it, on the network of the test."""
    http = OutgoingHttp(rule, connections_per_host=per_host, tls=_TLS)
    http._transport.network._open = world.internet.open
    try:
        yield http
    finally:
        await http.close()


def _fetcher(http: OutgoingHttp) -> ImageFetcher:
    return ImageFetcher(http, MemoryBudget(10_000_000), max_image_bytes=100_000, timeout_seconds=5)


def _run(work: Coroutine[Any, Any, T]) -> T:
    """On the event loop that workers run on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def _fetch(world: World, url: str, rule: FetchRule = NO_EXCEPTIONS) -> bytes:
    async def work() -> bytes:
        async with _guarded(world, rule) as http, fetched(_fetcher(http), url) as body:
            return bytes(body)

    return _run(work())


def _code(world: World, url: str, rule: FetchRule = NO_EXCEPTIONS) -> ImageErrorCode:
    with pytest.raises(FetchFailed) as failed:
        _fetch(world, url, rule)
    if failed.value.error.code in REFUSED:
        assert not failed.value.error.retryable
    return failed.value.error.code


# --- the guard is there, and the tests would see if it were not ---


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("authority"))


def test_every_connection_goes_through_the_guard(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, world: World
) -> None:
    asked: list[tuple[str, int]] = []
    connect = GuardedNetwork.connect

    async def counting(self: GuardedNetwork, host: str, port: int, until: Deadline) -> socket.socket:
        asked.append((host, port))
        return await connect(self, host, port, until)

    monkeypatch.setattr(GuardedNetwork, "connect", counting)
    world.names.names["secure.test"] = ["127.0.0.1"]
    close = response(body=BODY, headers={"Connection": "close"})
    with (
        hostile_server(closing_after(close)) as plain,
        hostile_server(closing_after(close), tls=authority.server_context("secure.test")) as secure,
    ):

        async def work() -> None:
            rule = FetchRule(parse_networks(["127.0.0.0/8"]))
            http = OutgoingHttp(rule, connections_per_host=4, tls=authority.client_context())
            try:
                for url in (plain.url, f"https://secure.test:{secure.port}/", plain.url):
                    async with fetched(_fetcher(http), url) as body:
                        assert body == BODY
            finally:
                await http.close()

        _run(work())
        assert asked == [("127.0.0.1", plain.port), ("secure.test", secure.port), ("127.0.0.1", plain.port)]
        assert plain.accepts + secure.accepts == len(asked)


def test_public_address_is_reached_and_this_machine_where_the_operator_allows_it(world: World) -> None:
    assert _fetch(world, "http://shop.test/image") == BODY
    assert _fetch(world, f"http://[{PUBLIC_IPV6}]/image") == BODY
    assert world.hits == 0
    # Without the guard's rule, the victim is reached: what the tests below count is real.
    assert _fetch(world, "http://127.0.0.1/", FetchRule(parse_networks(["127.0.0.0/8"]))) == b"secret"
    assert world.hits == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "127.1", "0.0.0.0"])
def test_rule_without_exceptions_refuses_this_machine_on_the_real_network(world: World, host: str) -> None:
    async def work() -> None:
        http = OutgoingHttp(NO_EXCEPTIONS, connections_per_host=4, tls=_TLS)
        try:
            for url in (f"http://{host}:{world.internet.victim.port}/", f"https://{host}/"):
                with pytest.raises(FetchFailed) as failed:
                    async with fetched(_fetcher(http), url):
                        pass
                assert failed.value.error.code is ImageErrorCode.BLOCKED_ADDRESS
        finally:
            await http.close()

    _run(work())
    assert world.hits == 0


# --- spellings ---

# Hosts that mean this machine, a metadata service or a private network to somebody.
_NUMBERS = [
    "127.0.0.1",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0x7F.0x0.0x0.0x1",
    "017700000001",
    "127.1",
    "127.0.1",
    "0x7f.1",
    "0",
    "0.0.0.0",
    "0x0",
    "10.0.0.1",
    "167772161",
    "172.16.0.1",
    "192.168.1.1",
    "192.168.257",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "169.254.43518",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::FFFF:169.254.169.254]",
    "[::ffff:93.184.215.14]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]",
    "[2001:0:7f00:1::]",
    "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
    "[2a00:1450:4001:81b:0:5efe:7f00:1]",
    "[2a00:1450:4001:81b:200:5efe:127.0.0.1]",
    "[fe80::1]",
    "[fec0::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fd20:ce::254]",
    "[ff02::1]",
    "[100::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[5f00::1]",
    "[4000::1]",
]
_NAMES = [
    "localhost",
    "LOCALHOST",
    "localhost.",
    "127.0.0.1.",
    "127.0.0.1.nip.test",
    "127.0.0.1.NIP.test.",
    "anna@127.0.0.1",
    "anna:secret@127.0.0.1",
    "shop.test@127.0.0.1",
    "shop.test:80@127.0.0.1:80",
    "http%3A%2F%2Fshop.test@127.0.0.1",
    "127.0.0.1:80",
    "127.0.0.1:443",
]
# Spellings that some client or library takes for this machine, and another for a name: any refusal will do.
_ODD = [
    "0177.0.0.1",
    "0177.0000.0000.01",
    "１２７．０．０．１",
    "１２７.０.０.１",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "127｡0｡0｡1",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "ʟocalhost",
    "loc\u00adalhost",
    "localhost\u200b",
    "%31%32%37.0.0.1",
    "127%2e0%2e0%2e1",
    "shop.test%00@127.0.0.1",
    "127.0.0.1%00.shop.test",
    "127.0.0.1\\@shop.test",
    "shop.test\\@127.0.0.1",
    "127.0.0.1\\.shop.test",
    "\\127.0.0.1",
    "/127.0.0.1",
    "shop.test@127.0.0.1@127.0.0.1",
    "shop.test:80:80@127.0.0.1",
    "[fe80::1%lo]",
    "[fe80::1%25lo]",
    "[::1%25lo]",
    "[::1%lo]",
    "[2606:2800:21f:cb07:6820:80da:af6b:8b2c%25lo]",
    "[127.0.0.1]",
    "[localhost]",
    "[::ffff:127.0.0.1",
    "::1",
    "127.0.0.1:080",
    "127.0.0.1:٨٠",
]


@pytest.mark.parametrize("host", [*_NUMBERS, *_NAMES])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_host_that_means_inside_is_blocked(world: World, scheme: str, host: str) -> None:
    assert _code(world, f"{scheme}://{host}/") is ImageErrorCode.BLOCKED_ADDRESS
    assert world.internet.connects == []
    assert world.hits == 0


@pytest.mark.parametrize("host", _ODD)
def test_odd_spelling_is_refused(world: World, host: str) -> None:
    assert _code(world, f"http://{host}/") in {*REFUSED, ImageErrorCode.DNS_FAILED}
    assert world.internet.connects == []
    assert world.hits == 0


@pytest.mark.parametrize("host", [*_NUMBERS, *_NAMES])
def test_redirect_to_inside_is_blocked(world: World, host: str) -> None:
    world.locations[b"/start"] = f"http://{host}/".encode()
    assert _code(world, "http://shop.test/start") is ImageErrorCode.BLOCKED_ADDRESS
    assert world.internet.connects == [(PUBLIC, 80)]
    assert world.hits == 0


@pytest.mark.parametrize(
    "location",
    [
        *(f"http://{host}/" for host in _ODD),
        "//127.0.0.1/",
        "///127.0.0.1/",
        "////127.0.0.1/",
        "\\\\127.0.0.1\\",
        "/\\127.0.0.1/",
        "http:\\\\127.0.0.1\\",
        "http:/\\127.0.0.1/",
        "http:/127.0.0.1/",
        "http:127.0.0.1/",
        "HTTP://127.0.0.1/",
        "http:// 127.0.0.1/",
        " http://127.0.0.1/ ",
        "http://127.0.0.1\t/",
        "ht\ttp://127.0.0.1/",
        "http://127.0.0.1?x",
        "http://127.0.0.1#@shop.test/",
        "http://127.0.0.1;shop.test/",
        "https://127.0.0.1/",
        "gopher://127.0.0.1:80/",
        "file:///etc/passwd",
        "unix:///var/run/docker.sock",
    ],
)
def test_odd_redirect_reaches_nobody_inside(world: World, location: str) -> None:
    world.locations[b"/start"] = location.encode()
    body, error = BODY, None
    try:
        # Some are a path on the shop itself, by the rules for relative references: then that is what is fetched.
        body = _fetch(world, "http://shop.test/start")
    except FetchFailed as failed:
        error = failed.error
    assert body == BODY
    assert error is None or not error.retryable
    assert {host for host, _ in world.internet.connects} == {PUBLIC}
    assert world.hits == 0


def test_chain_of_redirects_is_judged_at_every_hop(world: World) -> None:
    for number in range(4):
        world.locations[f"/{number}".encode()] = f"http://shop.test/{number + 1}".encode()
    world.locations[b"/4"] = b"http://127.0.0.1/"
    assert _code(world, "http://shop.test/0") is ImageErrorCode.BLOCKED_ADDRESS
    assert world.internet.connects == [(PUBLIC, 80)] * 5
    assert world.hits == 0


# --- what name servers answer ---


@pytest.mark.parametrize(
    "answers",
    [
        [PUBLIC, "127.0.0.1"],
        ["127.0.0.1", PUBLIC],
        [PUBLIC, PUBLIC_IPV6, "::1"],
        [PUBLIC_IPV6, "10.0.0.7"],
        [PUBLIC, "169.254.169.254"],
        [PUBLIC, "::ffff:127.0.0.1"],
        [PUBLIC, "fe80::1%lo"],
        [PUBLIC_IPV6, f"{PUBLIC_IPV6}%lo"],
        [PUBLIC, "2002:7f00:1::"],
        [PUBLIC, "not an address"],
        ["127.0.0.1"],
        ["::1"],
        ["0.0.0.0"],
        ["fd00:ec2::254"],
    ],
)
def test_name_with_any_bad_answer_is_blocked(world: World, answers: list[str]) -> None:
    world.names.names["mixed.test"] = answers
    assert _code(world, "http://mixed.test/") is ImageErrorCode.BLOCKED_ADDRESS
    assert _code(world, "https://mixed.test/") is ImageErrorCode.BLOCKED_ADDRESS
    assert world.internet.connects == []
    assert world.hits == 0


class FlippingResolver:
    """Answers each question differently from the one before: a public address, then this machine, and so on."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = answers
        self._lock = threading.Lock()
        self.asked = 0

    def __call__(self, host: str, port: int) -> list[str]:
        with self._lock:
            self.asked += 1
            return list(self._answers[self.asked % len(self._answers)])


@pytest.mark.parametrize(("requests", "at_once"), [(200, 1), (2000, 40)])
def test_name_that_answers_differently_each_time_reaches_nobody_inside(
    monkeypatch: pytest.MonkeyPatch, world: World, requests: int, at_once: int
) -> None:
    resolver = FlippingResolver([PUBLIC], ["127.0.0.1"], [PUBLIC, "127.0.0.1"], [PUBLIC])
    monkeypatch.setattr(outgoing_http, "_look_up", resolver)
    ended: list[bytes | bytearray | ImageErrorCode] = []

    async def one(fetcher: ImageFetcher, number: int) -> None:
        try:
            async with fetched(fetcher, f"http://rebinding.test/{number}") as body:
                ended.append(body)
        except FetchFailed as failed:
            ended.append(failed.error.code)

    async def work() -> None:
        async with _guarded(world, per_host=at_once) as http:
            fetcher = _fetcher(http)
            for start in range(0, requests, at_once):
                await asyncio.gather(*(one(fetcher, start + number) for number in range(at_once)))

    _run(work())
    assert world.hits == 0
    assert set(world.internet.connects) == {(PUBLIC, 80)}
    # One look-up a connection, and none that is not judged; both kinds of answer were there.
    assert resolver.asked == len(ended) == requests
    assert ended.count(BODY) == len(world.internet.connects) == requests // 2
    assert ended.count(ImageErrorCode.BLOCKED_ADDRESS) == requests // 2


def test_redirect_to_itself_with_another_answer_reaches_nobody_inside(
    monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    monkeypatch.setattr(outgoing_http, "_look_up", FlippingResolver(["127.0.0.1"], [PUBLIC]))
    world.locations[b"/start"] = b"http://rebinding.test/again"
    for _ in range(20):
        assert _code(world, "http://rebinding.test/start") is ImageErrorCode.BLOCKED_ADDRESS
    assert world.hits == 0


# --- ports and exceptions ---


@pytest.mark.parametrize("port", [1, 21, 22, 25, 53, 79, 81, 444, 3306, 5432, 5672, 6379, 8000, 8080, 8443, 65535])
@pytest.mark.parametrize("host", ["shop.test", PUBLIC, f"[{PUBLIC_IPV6}]"])
def test_public_address_has_no_port_but_80_and_443(world: World, host: str, port: int) -> None:
    assert _code(world, f"http://{host}:{port}/") is ImageErrorCode.BLOCKED_ADDRESS
    world.locations[b"/start"] = f"http://{host}:{port}/".encode()
    assert _code(world, "http://shop.test/start") is ImageErrorCode.BLOCKED_ADDRESS
    assert world.internet.connects == [(PUBLIC, 80)]


@pytest.mark.parametrize("url", ["http://shop.test:443/", "http://shop.test:80/", f"http://{PUBLIC}/"])
def test_public_address_has_both_its_ports(world: World, url: str) -> None:
    assert _fetch(world, url) == BODY


@pytest.mark.parametrize("port", [80, 443, 8080, 9000, 65535])
def test_allowed_network_has_every_port(world: World, port: int) -> None:
    rule = FetchRule(parse_networks(["10.1.0.0/16", "fd00:1::/32"]))
    for host in ("10.1.2.3", "[fd00:1::7]"):
        assert _code(world, f"http://{host}:{port}/", rule) is ImageErrorCode.CONNECT_FAILED
    assert world.internet.connects == [("10.1.2.3", port), ("fd00:1::7", port)]


@pytest.mark.parametrize("host", ["10.2.0.1", "127.0.0.1", "[::ffff:10.1.2.3]", "[fd00:2::7]", "[::ffff:a01:203]"])
def test_allowed_network_opens_nothing_beside_it(world: World, host: str) -> None:
    rule = FetchRule(parse_networks(["10.1.0.0/16", "fd00:1::/32"]))
    assert _code(world, f"http://{host}/", rule) is ImageErrorCode.BLOCKED_ADDRESS
    assert _code(world, "http://shop.test:8080/", rule) is ImageErrorCode.BLOCKED_ADDRESS
    assert world.internet.connects == []


def test_name_with_an_allowed_and_a_bad_answer_is_blocked(world: World) -> None:
    rule = FetchRule(parse_networks(["10.1.0.0/16"]))
    world.names.names["mixed.test"] = ["10.1.2.3", "10.2.2.3"]
    assert _code(world, "http://mixed.test/", rule) is ImageErrorCode.BLOCKED_ADDRESS
    assert world.internet.connects == []


# --- the rule itself ---

_CLOSED = [
    ("0.0.0.0", "0.255.255.255"),
    ("10.0.0.0", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("169.254.0.0", "169.254.255.255"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.0.2.0", "192.0.2.255"),
    ("192.31.196.0", "192.31.196.255"),
    ("192.52.193.0", "192.52.193.255"),
    ("192.88.99.0", "192.88.99.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("192.175.48.0", "192.175.48.255"),
    ("198.18.0.0", "198.19.255.255"),
    ("198.51.100.0", "198.51.100.255"),
    ("203.0.113.0", "203.0.113.255"),
    ("168.63.129.16", "168.63.129.16"),
    ("224.0.0.0", "255.255.255.255"),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
]


@pytest.mark.parametrize(("first", "last"), _CLOSED)
def test_rule_closes_each_network_from_its_first_address_to_its_last(first: str, last: str) -> None:
    for address in (first, last):
        assert not NO_EXCEPTIONS.permits(address, 80)
        assert not NO_EXCEPTIONS.permits(address, 443)


@pytest.mark.parametrize(
    "address",
    [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "168.63.129.17",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2000::",
        "2001:200::",
        "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:db9::",
        "2003::",
        "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff",
        "2620:4f:8001::",
        "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "3fff:1000::",
    ],
)
def test_rule_leaves_what_lies_beside_a_closed_network_open(address: str) -> None:
    assert NO_EXCEPTIONS.permits(address, 443)


@pytest.mark.parametrize("address", [PUBLIC, "1.1.1.1", "223.255.255.1", PUBLIC_IPV6, "2a00:1450:4001:81b::1"])
def test_rule_permits_public_addresses_on_their_two_ports(address: str) -> None:
    assert [port for port in (79, 80, 81, 443, 8080) if NO_EXCEPTIONS.permits(address, port)] == [80, 443]


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "0x7f.1", "2130706433", " 127.0.0.1", "1.1.1.1 ", "[::1]"])
def test_rule_permits_nothing_that_is_no_plain_address(text: str) -> None:
    everything = FetchRule(parse_networks(["0.0.0.0/0", "::/0"]))
    assert not everything.permits(text, 80)


@pytest.mark.parametrize("address", ["fe80::1%lo", "::1%1", f"{PUBLIC_IPV6}%eth0"])
def test_rule_permits_no_zone_not_even_in_an_allowed_network(address: str) -> None:
    assert not NO_EXCEPTIONS.permits(address, 80)
    assert not FetchRule(parse_networks(["::/0"])).permits(address, 80)


@given(inner=st.ip_addresses(v=4), port=st.sampled_from([80, 443]))
def test_rule_permits_no_ipv4_address_within_an_ipv6_address(inner: IPv4Address, port: int) -> None:
    number = int(inner)
    embedded = {
        "mapped": 0xFFFF << 32 | number,
        "compatible": number,
        "translated": 0xFFFF << 48 | number,
        "NAT64": 0x64FF9B << 96 | number,
        "local NAT64": 0x64FF9B0001 << 80 | number,
        "6to4": 0x2002 << 112 | number << 80,
        "Teredo server": 0x20010000 << 96 | number << 64,
        "Teredo client": 0x20010000 << 96 | number ^ 0xFFFFFFFF,
        "ISATAP": 0x2A001450 << 96 | 0x00005EFE << 32 | number,
        "ISATAP, unique": 0x2A001450 << 96 | 0x02005EFE << 32 | number,
    }
    for address in embedded.values():
        assert not NO_EXCEPTIONS.permits(str(IPv6Address(address)), port)


# --- webhooks go out through the same guard ---


def _deliver(world: World, url: str, rule: FetchRule = NO_EXCEPTIONS) -> tuple[Delivery, float | None]:
    event = DueEvent(uuid4(), uuid4(), attempt=1, step=0, url=url, sealed_secret=None, body="{}")

    async def work() -> tuple[Delivery, float | None]:
        async with _guarded(world, rule) as http:
            return await webhook_job.post_event(http, event, new_secret())

    return _run(work())


def test_webhook_reaches_a_public_receiver(world: World) -> None:
    delivery, _ = _deliver(world, "http://shop.test/hook")
    assert (delivery.status_code, delivery.error) == (200, None)
    assert world.internet.shop.requests[0].startswith(b"POST /hook HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "localhost", "169.254.169.254", "[::1]", "[::ffff:7f00:1]"]
)
def test_webhook_to_inside_is_blocked(world: World, host: str) -> None:
    delivery, _ = _deliver(world, f"http://{host}/hook")
    assert delivery.status_code is None
    assert delivery.error is not None
    assert world.internet.connects == []
    assert world.hits == 0


@pytest.mark.parametrize("answers", [[PUBLIC, "127.0.0.1"], ["10.0.0.1"]])
def test_webhook_to_a_name_with_a_bad_answer_is_blocked(world: World, answers: list[str]) -> None:
    world.names.names["hook.test"] = answers
    delivery, _ = _deliver(world, "http://hook.test/")
    assert delivery.error is not None
    assert world.internet.connects == []


@pytest.mark.parametrize("location", [b"http://127.0.0.1/", b"http://shop.test/elsewhere", b"http://[::1/"])
def test_webhook_that_is_redirected_has_failed_and_is_not_followed(world: World, location: bytes) -> None:
    world.locations[b"/hook"] = location
    delivery, _ = _deliver(world, "http://shop.test/hook")
    assert delivery.status_code == 302
    assert delivery.error is not None
    assert world.internet.connects == [(PUBLIC, 80)]
    assert world.hits == 0


_LOOPBACK = FetchRule(parse_networks(["127.0.0.0/8"]))


def _deliver_to(server: HostileServer) -> tuple[Delivery, float | None]:
    event = DueEvent(uuid4(), uuid4(), attempt=1, step=0, url=server.url, sealed_secret=None, body="{}")

    async def work() -> tuple[Delivery, float | None]:
        http = OutgoingHttp(_LOOPBACK, connections_per_host=4, tls=_TLS)
        try:
            return await webhook_job.post_event(http, event, new_secret())
        finally:
            await http.close()

    return _run(work())


@pytest.mark.parametrize(
    ("status", "error"),
    [("200 OK", None), ("500 Oops", "The receiver answered 500.")],
    ids=["of success", "of failure"],
)
def test_endless_answer_of_a_webhook_is_not_read_to_its_end(status: str, error: str | None) -> None:
    def endless(visitor: Visitor) -> None:
        visitor.read_request()
        visitor.send(f"HTTP/1.1 {status}\r\nConnection: close\r\n\r\n".encode())
        while True:
            visitor.send(bytes(65536))

    with hostile_server(endless) as server:
        started = time.monotonic()
        delivery, _ = _deliver_to(server)
        assert time.monotonic() - started < 2
        assert delivery.error == error
        assert server.bytes_sent < 20_000_000


def test_slow_answer_of_a_webhook_counts_when_its_status_came_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_job, "ATTEMPT_TIMEOUT_SECONDS", 0.4)

    def trickling(visitor: Visitor) -> None:
        visitor.read_request()
        visitor.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        while True:
            visitor.send(b"x")
            visitor.pause(0.05)

    with hostile_server(trickling) as server:
        started = time.monotonic()
        delivery, _ = _deliver_to(server)
        assert time.monotonic() - started < 0.9
        assert (delivery.status_code, delivery.error) == (200, None)


def test_silent_receiver_of_a_webhook_is_given_up_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_job, "ATTEMPT_TIMEOUT_SECONDS", 0.4)
    with hostile_server(Visitor.wait_until_gone) as server:
        started = time.monotonic()
        delivery, _ = _deliver_to(server)
        assert 0.4 <= time.monotonic() - started < 0.9
        assert delivery.status_code is None
        assert delivery.error is not None


def test_retry_after_of_a_webhook_is_handed_on(origin: Origin) -> None:
    with hostile_server(answering(response("429 Slow down", headers={"Retry-After": "77"}))) as server:
        delivery, asked = _deliver_to(server)
    assert (delivery.status_code, asked) == (429, 77)


def test_time_zone_that_cannot_be_does_not_lose_the_delivery() -> None:
    header = {"Retry-After": "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"}
    with hostile_server(answering(response("503 Busy", headers=header))) as server:
        delivery, asked = _deliver_to(server)
    assert (delivery.status_code, asked) == (503, None)
