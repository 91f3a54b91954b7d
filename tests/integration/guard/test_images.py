"""The guard against SSRF: no URL, redirect or name server of a stranger makes a worker connect to
an internal address.
"""

import asyncio
import threading

import pytest

from halftone_shared.model.addresses import FetchRule, parse_networks
from halftone_shared.model.error_codes import ImageErrorCode
from halftone_workers.errors import FetchFailed
from halftone_workers.http.client import OutgoingHttp
from halftone_workers.http.deadline import Deadline
from halftone_workers.http.fetching import ImageFetcher
from halftone_workers.http.guard import Connected, GuardedNetwork
from halftone_workers.http.hosts import Host
from halftone_workers.http.memory import MemoryBudget
from halftone_workers.sharing import Who
from tests.support.fetching import fetched, run
from tests.support.guarded import BODY, NO_EXCEPTIONS, PUBLIC, PUBLIC_IPV6, TLS, World, guarded
from tests.support.hostile import (
    Authority,
    closing_after,
    hostile_server,
    new_authority,
    replace_look_ups,
    response,
)

REFUSED = {ImageErrorCode.BLOCKED_ADDRESS, ImageErrorCode.INVALID_URL}


def _fetcher(http: OutgoingHttp) -> ImageFetcher:
    return ImageFetcher(http, MemoryBudget(10_000_000), max_image_bytes=100_000, timeout_seconds=5)


def _fetch(world: World, url: str, rule: FetchRule = NO_EXCEPTIONS) -> bytes:
    async def work() -> bytes:
        async with guarded(world, rule) as http, fetched(_fetcher(http), url) as body:
            return bytes(body)

    return run(work())


def _code(world: World, url: str, rule: FetchRule = NO_EXCEPTIONS) -> ImageErrorCode:
    with pytest.raises(FetchFailed) as failed:
        _fetch(world, url, rule)
    if failed.value.error.code in REFUSED:
        assert not failed.value.error.retryable
    return failed.value.error.code


# --- controls: these tests can fail ---


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("authority"))


def test_every_connection_goes_through_the_guard(
    monkeypatch: pytest.MonkeyPatch, authority: Authority, world: World
) -> None:
    asked: list[tuple[str, int]] = []
    connect = GuardedNetwork.connect

    async def counting(
        self: GuardedNetwork, name: str, port: int, host: Host, until: Deadline, who: Who
    ) -> Connected:
        asked.append((name, port))
        return await connect(self, name, port, host, until, who)

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

        run(work())
        assert asked == [
            ("127.0.0.1", plain.port),
            ("secure.test", secure.port),
            ("127.0.0.1", plain.port),
        ]
        assert plain.accepts + secure.accepts == len(asked)


def test_public_address_is_reached_and_this_machine_where_the_operator_allows_it(
    world: World,
) -> None:
    assert _fetch(world, "http://shop.test/image") == BODY
    assert _fetch(world, f"http://[{PUBLIC_IPV6}]/image") == BODY
    assert world.hits == 0
    # Without the guard's rule, the victim is reached: the hits that the tests below count are real.
    assert (
        _fetch(world, "http://127.0.0.1/", FetchRule(parse_networks(["127.0.0.0/8"]))) == b"secret"
    )
    assert world.hits == 1


def test_refused_address_names_the_setting_that_allows_it(world: World) -> None:
    """The first try of most users is a server on their own machine."""
    with pytest.raises(FetchFailed) as failed:
        _fetch(world, "http://127.0.0.1:8080/a.jpg")
    assert "127.0.0.1 port 8080" in failed.value.error.message
    assert "HALFTONE_FETCH_ALLOW" in failed.value.error.message


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "127.1", "0.0.0.0"])
def test_rule_without_exceptions_refuses_this_machine_on_the_real_network(
    world: World, host: str
) -> None:
    async def work() -> None:
        http = OutgoingHttp(NO_EXCEPTIONS, connections_per_host=4, tls=TLS)
        try:
            for url in (f"http://{host}:{world.internet.victim.port}/", f"https://{host}/"):
                with pytest.raises(FetchFailed) as failed:
                    async with fetched(_fetcher(http), url):
                        pass
                assert failed.value.error.code is ImageErrorCode.BLOCKED_ADDRESS
        finally:
            await http.close()

    run(work())
    assert world.hits == 0


# --- spellings ---

# Spellings that some software reads as this machine, a metadata service or a private network.
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
# Spellings that some clients read as this machine and others as a name. Any refusal is accepted.
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
        # By the rules for relative references, some of these are a path on the shop itself, which
        # is then fetched.
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
    """Alternates its answers: a public address, then this machine, and so on."""

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
    replace_look_ups(monkeypatch, resolver)
    ended: list[bytes | bytearray | ImageErrorCode] = []

    async def one(fetcher: ImageFetcher, number: int) -> None:
        try:
            async with fetched(fetcher, f"http://rebinding.test/{number}") as body:
                ended.append(body)
        except FetchFailed as failed:
            ended.append(failed.error.code)

    async def work() -> None:
        async with guarded(world, per_host=at_once) as http:
            fetcher = _fetcher(http)
            for start in range(0, requests, at_once):
                await asyncio.gather(*(one(fetcher, start + number) for number in range(at_once)))

    run(work())
    assert world.hits == 0
    assert set(world.internet.connects) == {(PUBLIC, 80)}
    # Each connection has one look-up, each result is checked, and both kinds of answer occurred.
    assert resolver.asked == len(ended) == requests
    assert ended.count(BODY) == len(world.internet.connects) == requests // 2
    assert ended.count(ImageErrorCode.BLOCKED_ADDRESS) == requests // 2


def test_redirect_to_itself_with_another_answer_reaches_nobody_inside(
    monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    replace_look_ups(monkeypatch, FlippingResolver(["127.0.0.1"], [PUBLIC]))
    world.locations[b"/start"] = b"http://rebinding.test/again"
    for _ in range(20):
        assert _code(world, "http://rebinding.test/start") is ImageErrorCode.BLOCKED_ADDRESS
    assert world.hits == 0


def test_address_of_the_other_family_is_tried_second(world: World) -> None:
    world.names.names["dual.test"] = ["93.184.216.1", "93.184.216.2", PUBLIC_IPV6]
    assert _fetch(world, "http://dual.test/") == BODY
    assert world.internet.connects == [("93.184.216.1", 80), (PUBLIC_IPV6, 80)]


# --- ports and exceptions ---


@pytest.mark.parametrize(
    "port", [1, 21, 22, 25, 53, 79, 81, 444, 3306, 5432, 5672, 6379, 8000, 8080, 8443, 65535]
)
@pytest.mark.parametrize("host", ["shop.test", PUBLIC, f"[{PUBLIC_IPV6}]"])
def test_public_address_has_no_port_but_80_and_443(world: World, host: str, port: int) -> None:
    assert _code(world, f"http://{host}:{port}/") is ImageErrorCode.BLOCKED_ADDRESS
    world.locations[b"/start"] = f"http://{host}:{port}/".encode()
    assert _code(world, "http://shop.test/start") is ImageErrorCode.BLOCKED_ADDRESS
    assert world.internet.connects == [(PUBLIC, 80)]


@pytest.mark.parametrize(
    "url", ["http://shop.test:443/", "http://shop.test:80/", f"http://{PUBLIC}/"]
)
def test_public_address_has_both_its_ports(world: World, url: str) -> None:
    assert _fetch(world, url) == BODY


@pytest.mark.parametrize("port", [80, 443, 8080, 9000, 65535])
def test_allowed_network_has_every_port(world: World, port: int) -> None:
    rule = FetchRule(parse_networks(["10.1.0.0/16", "fd00:1::/32"]))
    for host in ("10.1.2.3", "[fd00:1::7]"):
        assert _code(world, f"http://{host}:{port}/", rule) is ImageErrorCode.CONNECT_FAILED
    assert world.internet.connects == [("10.1.2.3", port), ("fd00:1::7", port)]


@pytest.mark.parametrize(
    "host", ["10.2.0.1", "127.0.0.1", "[::ffff:10.1.2.3]", "[fd00:2::7]", "[::ffff:a01:203]"]
)
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
