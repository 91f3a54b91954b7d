"""Where the rule of addresses.py begins and ends: each closed network to its last address, and its neighbours."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halftone_shared.addresses import FetchRule, parse_networks

NO_EXCEPTIONS = FetchRule()
PUBLIC, PUBLIC_IPV6 = "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"

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
