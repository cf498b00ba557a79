"""Which addresses are not places on the internet: explicit lists, with the reason for each.

`ipaddress.is_global` is not used: it differs between Python versions and calls a dozen of these ranges global (the
6to4 relays, AS112, multicast, …). The lists are the IANA special-purpose address registries of October 2026 (RFC 6890
and its updates) in whole blocks, multicast, and what is reserved; a range inside a listed one is not listed again.
Blocks that IANA calls globally reachable are here as well where they serve a protocol: no customer's endpoint is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network
_Range: TypeAlias = tuple[int, int, str]

_IPV4: Final = (
    ("0.0.0.0/8", "this network (RFC 791)"),
    ("10.0.0.0/8", "private (RFC 1918)"),
    ("100.64.0.0/10", "shared by carriers (RFC 6598)"),
    ("127.0.0.0/8", "loopback (RFC 1122)"),
    # The platform services of Azure (DHCP, DNS, health, agent) answer every machine there at a public address.
    ("168.63.129.16/32", "platform services of a cloud"),
    ("169.254.0.0/16", "link-local, and where clouds serve metadata (RFC 3927)"),
    ("172.16.0.0/12", "private (RFC 1918)"),
    ("192.0.0.0/24", "IETF protocol assignments (RFC 6890)"),
    ("192.0.2.0/24", "documentation (RFC 5737)"),
    ("192.31.196.0/24", "AS112 (RFC 7535)"),
    ("192.52.193.0/24", "AMT (RFC 7450)"),
    ("192.88.99.0/24", "6to4 relays (RFC 7526)"),
    ("192.168.0.0/16", "private (RFC 1918)"),
    ("192.175.48.0/24", "AS112 (RFC 7534)"),
    ("198.18.0.0/15", "benchmarking (RFC 2544)"),
    ("198.51.100.0/24", "documentation (RFC 5737)"),
    ("203.0.113.0/24", "documentation (RFC 5737)"),
    ("224.0.0.0/4", "multicast (RFC 5771)"),
    ("240.0.0.0/4", "reserved, and limited broadcast (RFC 1112, RFC 8190)"),
)

# All of global unicast: whatever lies outside (loopback, mapped, NAT64, discard, SRv6, unique local, link-local,
# site-local, multicast, what nobody has assigned) is refused without being listed.
_IPV6_UNICAST: Final = IPv6Network("2000::/3")

_IPV6: Final = (
    ("2001::/23", "IETF protocol assignments: Teredo, benchmarking, ORCHID, … (RFC 2928)"),
    ("2001:db8::/32", "documentation (RFC 3849)"),
    ("2002::/16", "6to4 (RFC 3056)"),
    ("2620:4f:8000::/48", "AS112 (RFC 7534)"),
    ("3ffe::/16", "the former 6bone (RFC 3701)"),
    ("3fff::/20", "documentation (RFC 9637)"),
)

# Where an IPv6 address carries an IPv4 one: the block, and how far to shift it down.
_CARRIERS: Final = (
    (IPv6Network("::/96"), 0),  # IPv4-compatible (RFC 4291)
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped (RFC 4291)
    (IPv6Network("::ffff:0:0:0/96"), 0),  # IPv4-translated (RFC 2765)
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64, the well-known prefix (RFC 6052)
    (IPv6Network("2002::/16"), 80),  # 6to4 (RFC 3056)
)
# Local NAT64 (RFC 8215): the operator chooses where in the address the IPv4 one is, so it could be any.
_LOCAL_NAT64: Final = IPv6Network("64:ff9b:1::/48")
_TEREDO: Final = IPv6Network("2001::/32")
_UINT32: Final = 0xFFFF_FFFF


def _ranges(table: Sequence[tuple[str, str]], network: type[IPv4Network] | type[IPv6Network]) -> tuple[_Range, ...]:
    blocks = [(network(cidr), reason) for cidr, reason in table]
    return tuple((int(b.network_address), int(b.broadcast_address), f"{b} is {reason}") for b, reason in blocks)


_IPV4_RANGES: Final = _ranges(_IPV4, IPv4Network)
_IPV6_RANGES: Final = _ranges(_IPV6, IPv6Network)


def special_purpose(address: Address) -> str | None:
    """Say which special block an address is in; None for an address of the public internet."""
    if isinstance(address, IPv6Address) and address not in _IPV6_UNICAST:
        return "of IPv6 only 2000::/3 is the public internet"
    number = int(address)
    for first, last, reason in _IPV6_RANGES if isinstance(address, IPv6Address) else _IPV4_RANGES:
        if first <= number <= last:
            return reason
    return None


def carried(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses that may be reached through an IPv6 address (mapped, NAT64, 6to4, Teredo, …)."""
    number = int(address)
    for block, shift in _CARRIERS:
        if address in block and number > 1:  # :: and ::1 carry nothing
            return (IPv4Address(number >> shift & _UINT32),)
    if address in _TEREDO:  # the server as it is, the client inverted (RFC 4380)
        return IPv4Address(number >> 64 & _UINT32), IPv4Address(~number & _UINT32)
    if address in _LOCAL_NAT64:
        octets = address.packed  # after a prefix of 48, 56, 64 or 96 bits; octet 8 is always left out (RFC 6052)
        places = (octets[6:8] + octets[9:11], octets[7:8] + octets[9:12], octets[9:13], octets[12:16])
        return tuple(IPv4Address(place) for place in places)
    return ()
