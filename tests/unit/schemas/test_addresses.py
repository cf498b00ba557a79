"""No address of a special-purpose block is a valid target, according to the tests' copy of the IANA registries."""

from __future__ import annotations

import csv
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.network.addresses import Address, Network
from schemas.network.egress import EgressPolicy

pytestmark = pytest.mark.promise(5)

with (Path(__file__).parents[1] / "data" / "iana_special_purpose.csv").open(encoding="utf-8", newline="") as file:
    BLOCKS: list[Network] = [ip_network(row["Address Block"]) for row in csv.DictReader(file)]
UNICAST = IPv6Network("2000::/3")
# Not in the registries: the platform service of a cloud at a public address.
PLATFORM = IPv4Address("168.63.129.16")
STRICT = EgressPolicy()
# IPv6 forms that embed an IPv4 address.
FORMS = {
    "mapped": lambda v4: 0xFFFF << 32 | v4,
    "compatible": lambda v4: v4,
    "translated": lambda v4: 0xFFFF << 48 | v4,
    "NAT64": lambda v4: 0x64FF9B << 96 | v4,
    "local NAT64, /96": lambda v4: 0x64FF9B0001 << 80 | v4,
    "local NAT64, /48": lambda v4: 0x64FF9B0001 << 80 | (v4 >> 16) << 64 | (v4 & 0xFFFF) << 40,
    "local NAT64, /64": lambda v4: 0x64FF9B0001 << 80 | v4 << 24,
    "6to4": lambda v4: 0x2002 << 112 | v4 << 80,
    "Teredo server": lambda v4: 0x20010000 << 96 | v4 << 64 | 0x8000_F000_0000_0000 | 0xF7F7_F7F7,
    "Teredo client": lambda v4: 0x20010000 << 96 | 0x0808_0808 << 64 | 0x8000_0000_0000_0000 | v4 ^ 0xFFFF_FFFF,
}


def is_special(address: Address) -> bool:
    """Return whether the tests' own list has this address."""
    if isinstance(address, IPv6Address) and address not in UNICAST:
        return True
    return address == PLATFORM or any(address in block for block in BLOCKS if block.version == address.version)


def edges(block: Network) -> list[Address]:
    """Return addresses just outside, just inside, and in the middle of a block."""
    first, last = int(block.network_address), int(block.broadcast_address)
    address_type = IPv4Address if isinstance(block, IPv4Network) else IPv6Address
    numbers = {first - 1, first, first + 1, (first + last) // 2, last - 1, last, last + 1}
    return [address_type(number) for number in sorted(numbers) if 0 <= number < 2**block.max_prefixlen]


@pytest.mark.parametrize("block", [*BLOCKS, UNICAST, IPv4Network(PLATFORM)], ids=str)
def test_special_blocks_have_the_bounds_of_the_registries(block: Network) -> None:
    """Every address of a special block is refused, and its neighbours outside only if they are special too."""
    for address in edges(block):
        assert (STRICT.refusal(str(address)) is not None) == is_special(address), address


@given(st.integers(0, 2**32 - 1).map(IPv4Address) | st.integers(0, 2**128 - 1).map(IPv6Address))
def test_exactly_public_addresses_are_allowed(address: Address) -> None:
    """An address is allowed if it is public, and refused otherwise."""
    assert (STRICT.refusal(str(address)) is not None) == is_special(address)


@given(st.integers(2**125, 2**126 - 1).map(IPv6Address))
def test_exactly_public_unicast_addresses_are_allowed(address: IPv6Address) -> None:
    """An address in 2000::/3 is allowed if it is in no special block, and refused otherwise."""
    assert (STRICT.refusal(str(address)) is not None) == is_special(address)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("everything", [False, True], ids=["strict", "all of IPv6 allowed"])
def test_special_addresses_embedded_in_ipv6_are_refused(form: str, everything: bool) -> None:
    """A refused IPv4 address is refused inside every IPv6 form, even if all of IPv6 is allowed."""
    policy = EgressPolicy(allow_cidrs=(IPv6Network("::/0"),) if everything else ())
    for block in BLOCKS:
        for address in edges(block) if isinstance(block, IPv4Network) else ():
            number = FORMS[form](int(address))
            if is_special(address) and number > 1:  # :: and ::1 embed no address
                assert policy.refusal(str(IPv6Address(number))) is not None, address


@pytest.mark.parametrize("form", FORMS)
def test_public_addresses_embedded_in_ipv6_need_allow_cidrs(form: str) -> None:
    """An IPv6 form of a public IPv4 address, such as NAT64, is refused unless allow_cidrs has its block."""
    address = str(IPv6Address(FORMS[form](int(IPv4Address("8.8.8.8")))))
    assert STRICT.refusal(address) is not None
    if not form.startswith("local NAT64"):  # only the operator knows the position of the address
        assert EgressPolicy(allow_cidrs=(IPv6Network("::/0"),)).refusal(address) is None


@pytest.mark.parametrize(
    "address",
    ["fe80::1%eth0", "2606:4700::1%1", "1.2.3.4%lo", "", "localhost", "1.2.3", "0x7f.1", "1.2.3.4\n", "[::1]"],
)
def test_other_address_notations_are_refused(address: str) -> None:
    """Zones, names and unusual notations are no addresses."""
    assert STRICT.refusal(address) is not None


def test_allow_cidrs_opens_exactly_its_blocks() -> None:
    """allow_cidrs allows exactly its blocks, each for its own IP version."""
    policy = EgressPolicy(allow_cidrs=(IPv4Network("10.1.0.0/16"), IPv6Network("fd00:1::/32")))
    allowed = ["10.1.0.0", "10.1.255.255", "fd00:1::", "fd00:1:ffff::1", "8.8.8.8", "2606:4700::1"]
    refused = ["10.0.255.255", "10.2.0.0", "127.0.0.1", "::1", "fd00:2::", "::ffff:10.1.0.1", "169.254.169.254"]
    assert [address for address in allowed if policy.refusal(address)] == []
    assert [address for address in refused if not policy.refusal(address)] == []


def test_refusals_name_the_block() -> None:
    """A refusal names the block of the address, so that an operator can decide to allow it."""
    assert STRICT.refusal("10.2.3.4") == "10.0.0.0/8 is private (RFC 1918)"
    assert STRICT.refusal(str(ip_address("::ffff:10.2.3.4"))) == (
        "it embeds 10.2.3.4, and 10.0.0.0/8 is private (RFC 1918)"
    )
