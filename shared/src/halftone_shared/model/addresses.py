"""Which addresses may be fetched from: the rule that keeps requests out of the operator's network.

Pure. `ipaddress.is_global` is not usable for this: it is true for multicast, for
`64:ff9b::a9fe:a9fe` (a metadata address behind NAT64) and others, and its answers differ between
Python versions. So this module has its own rule. IPv4 uses a deny list: the IANA special-purpose
registry, plus multicast, class E and a cloud provider's virtual host address. IPv6 allows only the
global unicast space, without ranges that tunnel or embed an IPv4 address.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PUBLIC_PORTS = frozenset({80, 443})

_DENIED_IPV4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # "this network", RFC 791
        "10.0.0.0/8",  # private, RFC 1918
        "100.64.0.0/10",  # carrier-grade NAT, RFC 6598
        "127.0.0.0/8",  # loopback, RFC 1122
        "168.63.129.16/32",  # Azure's virtual host: a public range, used privately
        "169.254.0.0/16",  # link-local and cloud metadata, RFC 3927
        "172.16.0.0/12",  # private, RFC 1918
        "192.0.0.0/24",  # protocol assignments, RFC 6890
        "192.0.2.0/24",  # documentation, RFC 5737
        "192.31.196.0/24",  # AS112, RFC 7535
        "192.52.193.0/24",  # AMT, RFC 7450
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "192.168.0.0/16",  # private, RFC 1918
        "192.175.48.0/24",  # AS112, RFC 7534
        "198.18.0.0/15",  # benchmarking, RFC 2544
        "198.51.100.0/24",  # documentation, RFC 5737
        "203.0.113.0/24",  # documentation, RFC 5737
        "224.0.0.0/4",  # multicast, RFC 5771
        "240.0.0.0/4",  # reserved and broadcast, RFC 1112
    )
)

_ALLOWED_IPV6 = IPv6Network("2000::/3")
_DENIED_IPV6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments, Teredo among them, RFC 2928
        "2001:db8::/32",  # documentation, RFC 3849
        "2002::/16",  # 6to4: an IPv4 address inside, RFC 3056
        "2620:4f:8000::/48",  # AS112, RFC 7534
        "3fff::/20",  # documentation, RFC 9637
    )
)
# The interface identifiers of ISATAP, RFC 5214: an IPv4 address in the last 32 bits.
_ISATAP_IDENTIFIERS = frozenset({0x00005EFE, 0x02005EFE})


@dataclass(frozen=True)
class FetchRule:
    """Which addresses may be reached. `allowed_networks` are the operator's exceptions, for every
    port.
    """

    allowed_networks: tuple[Network, ...] = ()

    def permits(self, address: str, port: int) -> bool:
        """Whether a connection to this numeric address and port may be opened. False for an invalid
        address.
        """
        try:
            judged = ip_address(address)
        except ValueError:
            return False
        return self.allows(address) or (port in PUBLIC_PORTS and is_public(judged))

    def allows(self, address: str) -> bool:
        """Whether this numeric address is in one of the operator's networks."""
        try:
            judged = ip_address(address)
        except ValueError:
            return False
        if isinstance(judged, IPv6Address) and judged.scope_id:
            return False
        return any(
            judged.version == network.version and judged in network
            for network in self.allowed_networks
        )


def is_public(address: Address) -> bool:
    """Whether an address is on the public internet, by the rule in this module's docstring."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _DENIED_IPV4)
    if address.scope_id or address.ipv4_mapped or address not in _ALLOWED_IPV6:
        return False
    if any(address in network for network in _DENIED_IPV6):
        return False
    return (int(address) >> 32) & 0xFFFFFFFF not in _ISATAP_IDENTIFIERS


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Parse the operator's CIDRs. Raises ValueError naming the first invalid one."""
    return tuple(ip_network(text.strip()) for text in texts if text.strip())
