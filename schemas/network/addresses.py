"""Addresses that are not on the public internet: explicit lists, each block with its reason.

`ipaddress.is_global` is not used: it differs between Python versions and reports a dozen of these ranges as global (the
6to4 relays, AS112, multicast, …). The lists contain the IANA special-purpose address registries of October 2026 (RFC
6890 and its updates) in whole blocks, multicast, and reserved addresses. A range inside a listed one is not repeated.
Blocks that IANA calls globally reachable are listed if they serve a protocol: no customer's endpoint has such an
address.
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
    # Azure: its platform services (DHCP, DNS, health, agent) have a public address that only its own machines reach.
    ("168.63.129.16/32", "platform services of a cloud"),
    ("169.254.0.0/16", "link-local, and metadata services of clouds (RFC 3927)"),
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

# All of global unicast. Addresses outside of it (loopback, mapped, NAT64, discard, SRv6, unique local, link-local,
# site-local, multicast, unassigned) are refused without a list.
_IPV6_UNICAST: Final = IPv6Network("2000::/3")

_IPV6: Final = (
    ("2001::/23", "IETF protocol assignments: Teredo, benchmarking, ORCHID, … (RFC 2928)"),
    ("2001:db8::/32", "documentation (RFC 3849)"),
    ("2002::/16", "6to4 (RFC 3056)"),
    ("2620:4f:8000::/48", "AS112 (RFC 7534)"),
    ("3ffe::/16", "the former 6bone (RFC 3701)"),
    ("3fff::/20", "documentation (RFC 9637)"),
)

# Blocks whose IPv6 addresses embed an IPv4 address: the block, and the number of bits to shift it right.
_EMBEDDING: Final = (
    (IPv6Network("::/96"), 0),  # IPv4-compatible (RFC 4291)
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped (RFC 4291)
    (IPv6Network("::ffff:0:0:0/96"), 0),  # IPv4-translated (RFC 2765)
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64, the well-known prefix (RFC 6052)
    (IPv6Network("2002::/16"), 80),  # 6to4 (RFC 3056)
)
# Local NAT64 (RFC 8215): the operator chooses the position of the IPv4 address, so all positions are checked.
_LOCAL_NAT64: Final = IPv6Network("64:ff9b:1::/48")
_TEREDO: Final = IPv6Network("2001::/32")
_UINT32: Final = 0xFFFF_FFFF


def _ranges(table: Sequence[tuple[str, str]], network: type[IPv4Network] | type[IPv6Network]) -> tuple[_Range, ...]:
    blocks = [(network(cidr), reason) for cidr, reason in table]
    return tuple((int(b.network_address), int(b.broadcast_address), f"{b} is {reason}") for b, reason in blocks)


_IPV4_RANGES: Final = _ranges(_IPV4, IPv4Network)
_IPV6_RANGES: Final = _ranges(_IPV6, IPv6Network)


def special_purpose(address: Address) -> str | None:
    """Return the special block of an address as a reason; None for an address of the public internet."""
    if isinstance(address, IPv6Address) and address not in _IPV6_UNICAST:
        return "only 2000::/3 is the public internet in IPv6"
    number = int(address)
    for first, last, reason in _IPV6_RANGES if isinstance(address, IPv6Address) else _IPV4_RANGES:
        if first <= number <= last:
            return reason
    return None


def embedded_ipv4(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses that an IPv6 address may reach (mapped, NAT64, 6to4, Teredo, …)."""
    number = int(address)
    for block, shift in _EMBEDDING:
        if address in block and number > 1:  # :: and ::1 embed none
            return (IPv4Address(number >> shift & _UINT32),)
    if address in _TEREDO:  # the server, and the client with inverted bits (RFC 4380)
        return IPv4Address(number >> 64 & _UINT32), IPv4Address(~number & _UINT32)
    if address in _LOCAL_NAT64:
        octets = address.packed  # after a prefix of 48, 56, 64 or 96 bits; octet 8 is always skipped (RFC 6052)
        candidates = (octets[6:8] + octets[9:11], octets[7:8] + octets[9:12], octets[9:13], octets[12:16])
        return tuple(IPv4Address(candidate) for candidate in candidates)
    return ()
