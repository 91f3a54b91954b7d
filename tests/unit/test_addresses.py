"""Which addresses and ports may be fetched from: the rule of addresses.py as tables. No test
connects to them.
"""

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halftone_shared.model.addresses import FetchRule, parse_networks

PUBLIC = FetchRule()


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "93.184.216.34",
        "223.255.255.1",
        "2a00:1450:4001:81b::1",
        # just outside the denied ranges
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
        "191.255.255.255",
        "192.0.1.0",
        "192.0.3.0",
        "192.31.195.255",
        "192.31.197.0",
        "192.52.192.255",
        "192.52.194.0",
        "192.88.98.255",
        "192.88.100.0",
        "192.167.255.255",
        "192.169.0.0",
        "192.175.47.255",
        "192.175.49.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "198.51.101.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "2000::",
        "2000::1",
        "2001:200::",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2001:db7:ffff::1",
        "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:db9::",
        "2001:db9::1",
        "2001:ffff::1",
        "2003::",
        "2003::1",
        "2606:4700:4700::1111",
        "2620:4f:7fff::1",
        "2620:4f:7fff:ffff:ffff:ffff:ffff:ffff",
        "2620:4f:8001::",
        "2620:4f:8001::1",
        "2a00:1450:4001::1",
        "3ffe:ffff::1",
        "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "3fff:1000::",
        "3fff:1000::1",
        "3fff:ffff:ffff::1",
        "2a00::1:5efe:a00:1",
    ],
)
def test_public_address_is_permitted_on_web_ports_alone(address: str) -> None:
    assert PUBLIC.permits(address, 80)
    assert PUBLIC.permits(address, 443)
    for port in (0, 1, 21, 22, 25, 79, 81, 442, 444, 5432, 8000, 8080, 8443, 65535):
        assert not PUBLIC.permits(address, port)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.100.100.200",  # Alibaba Cloud's metadata
        "100.127.255.255",
        "127.0.0.0",
        "127.0.0.1",
        "127.255.255.255",
        "168.63.129.16",  # Azure's virtual host
        "169.254.0.0",
        "169.254.169.254",  # metadata service of most clouds
        "169.254.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.0",
        "192.0.0.192",  # Oracle Cloud's old metadata
        "192.0.0.255",
        "192.0.2.0",
        "192.0.2.255",
        "192.31.196.0",
        "192.52.193.255",
        "192.88.99.1",
        "192.168.0.0",
        "192.168.255.255",
        "192.175.48.1",
        "198.18.0.0",
        "198.19.255.255",
        "198.51.100.0",
        "203.0.113.255",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.0",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",  # IPv4-compatible, deprecated
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",  # IPv4-mapped: refused, public or not
        "::ffff:0:127.0.0.1",
        "64:ff9b::808:808",  # NAT64
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "1fff:ffff::1",
        "2001::1",  # Teredo
        "2001:0:a9fe:a9fe::1",
        "2001:1ff:ffff::1",
        "2001:db8::1",
        "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        "2002::1",
        "2002:7f00:1::1",  # 6to4
        "2002:a9fe:a9fe::1",
        "2620:4f:8000::1",
        "2a00::5efe:a00:1",  # ISATAP
        "2a00::5efe:808:808",
        "2a00::200:5efe:a00:1",
        "3fff::1",
        "3fff:fff:ffff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",  # metadata at AWS
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ],
)
def test_address_that_is_not_public_is_refused_on_every_port(address: str) -> None:
    for port in (80, 443, 8080):
        assert not PUBLIC.permits(address, port)


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
        assert not PUBLIC.permits(address, 80)
        assert not PUBLIC.permits(address, 443)


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
        assert not PUBLIC.permits(str(IPv6Address(address)), port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "images.example",
        "8.8.8",
        "8.8.8.8.",
        "8.8.8.8/32",
        " 8.8.8.8",
        " 127.0.0.1",
        "1.1.1.1 ",
        "127.1",
        "0x7f.1",
        "134744072",
        "2130706433",
        "0x8.0x8.0x8.0x8",
        "010.8.8.8",
        "٨.8.8.8",
        "８.8.8.8",
        "8.8.8.8:80",
        "[2606:4700::1]",
        "[::1]",
        "2606:4700::1/128",
        "2606:4700::1::2",
        "2606:4700::g",
    ],
)
def test_text_that_is_no_plain_address_is_refused(text: str) -> None:
    assert not PUBLIC.permits(text, 80)
    assert not FetchRule(parse_networks(["0.0.0.0/0", "::/0"])).permits(text, 80)


@pytest.mark.parametrize(
    "address", ["2606:4700::1%eth0", "2606:4700::1%1", "fe80::1%lo", "::1%0", "::1%1"]
)
def test_address_with_a_zone_is_refused_even_inside_an_allowed_network(address: str) -> None:
    assert not PUBLIC.permits(address, 80)
    assert not FetchRule(parse_networks(["::/0"])).permits(address, 80)


@pytest.mark.parametrize(
    ("networks", "address", "port", "permitted"),
    [
        (["127.0.0.0/8"], "127.0.0.1", 80, True),
        (["127.0.0.0/8"], "127.255.255.255", 8000, True),
        (["127.0.0.0/8"], "127.0.0.1", 22, True),
        (["127.0.0.0/8"], "128.0.0.1", 443, True),
        (["127.0.0.0/8"], "128.0.0.1", 8000, False),
        (["127.0.0.0/8"], "10.0.0.1", 80, False),
        (["127.0.0.0/8"], "::1", 80, False),
        (["10.1.0.0/16"], "10.1.255.255", 9000, True),
        (["10.1.0.0/16"], "10.2.0.0", 80, False),
        (["10.1.2.3/32"], "10.1.2.3", 80, True),
        (["10.1.2.3/32"], "10.1.2.4", 80, False),
        (["169.254.169.254"], "169.254.169.254", 80, True),
        (["10.0.0.0/8", "fd00::/8"], "fd12::1", 3000, True),
        (["10.0.0.0/8", "fd00::/8"], "fe80::1", 80, False),
        (["::1/128"], "::1", 5000, True),
        (["::1/128"], "127.0.0.1", 5000, False),
        (["127.0.0.0/8"], "::ffff:127.0.0.1", 80, False),
        (["0.0.0.0/0"], "::ffff:127.0.0.1", 80, False),
        (["10.0.0.0/8"], "64:ff9b::a00:1", 80, False),
        (["10.0.0.0/8"], "2002:a00:1::1", 80, False),
        (["8.8.8.0/24"], "8.8.8.8", 53, True),
    ],
)
def test_allowed_networks_are_reached_on_any_port(
    networks: list[str], address: str, port: int, permitted: bool
) -> None:
    assert FetchRule(parse_networks(networks)).permits(address, port) is permitted


def test_networks_are_read_as_an_operator_writes_them() -> None:
    assert parse_networks([" 10.0.0.0/8 ", "", "fd00::/8", "192.0.2.1"]) == (
        ip_network("10.0.0.0/8"),
        ip_network("fd00::/8"),
        ip_network("192.0.2.1/32"),
    )
    assert parse_networks([]) == ()


@pytest.mark.parametrize(
    "text", ["10.0.0.1/8", "10.0.0.0/33", "localhost", "10.0.0.0-10.0.0.9", "10.*", "fd00::/129"]
)
def test_text_that_is_no_network_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=text.partition("/")[0].replace("*", r"\*")):
        parse_networks(["127.0.0.0/8", text])
