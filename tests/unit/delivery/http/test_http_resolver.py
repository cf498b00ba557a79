"""The resolver queries a name once, checks all its addresses, caches the answer, and delays no other name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from consumers.delivery.http.resolver import (
    FAILURE_TTL,
    MAX_NAMES,
    MAX_TTL,
    MIN_TTL,
    Addresses,
    Failed,
    Refused,
    Resolution,
    Resolver,
)
from consumers.delivery.http.types import Response, TransportError
from schemas.network.egress import EgressPolicy
from tests.support.dns import AAAA, BROKEN, NO_NAME, SILENCE, A, DnsServer
from tests.support.hostile import HostileReceiver
from tests.support.http_client import LOCAL, completed_of, local_client, poll, request_to
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(4, 5)

PUBLIC = "93.184.216.34"
ZONE = {
    "one.example.com": [PUBLIC],
    "two.example.com": [PUBLIC, "8.8.8.8", "2606:4700::1111"],
    "alias.example.com": ["=one.example.com", PUBLIC],
    "mixed.example.com": [PUBLIC, "10.0.0.1"],
    "mixed6.example.com": [PUBLIC, "::ffff:127.0.0.1"],
    "private.example.com": ["169.254.169.254"],
    "hidden.example.com": ["=localhost", "127.0.0.1"],
    "none.example.com": [NO_NAME],
    "empty.example.com": [],
    "broken.example.com": [BROKEN],
    "here.example.com": ["127.0.0.1"],
}
Now = list[float]
MakeResolver = Callable[..., tuple[Resolver, DnsServer, Now]]


@pytest.fixture
def make() -> Iterator[MakeResolver]:
    opened: list[Resolver | DnsServer] = []

    def make(zone: Callable[[str, int], list[str]] | None = None, ttl: int = 0) -> tuple[Resolver, DnsServer, Now]:
        server = DnsServer(zone or (lambda name, _: ZONE.get(name, [SILENCE])), ttl=ttl)
        now = [1_000.0]
        resolver = Resolver(EgressPolicy(), [server.address], monotonic=lambda: now[0])
        opened.extend([resolver, server])
        return resolver, server, now

    yield make
    for each in opened:
        each.close()


def resolve(resolver: Resolver, host: str, port: int = 443) -> Resolution:
    """Look a name up and wait for the answer."""
    found = resolver.lookup(host, port)
    if found is None:
        wait_until(lambda: host in resolver.ended(), what=f"the answer for {host}")
        found = resolver.lookup(host, port)
    assert found is not None
    return found


def test_all_addresses_of_a_name_are_found(make: MakeResolver) -> None:
    """All addresses of a name, of both families, are returned, for every port."""
    resolver, _, _ = make()
    found = resolve(resolver, "two.example.com", 8443)
    assert isinstance(found, Addresses)
    assert sorted(found.addresses) == ["2606:4700::1111", "8.8.8.8", PUBLIC]
    assert resolve(resolver, "two.example.com", 443) == found


def test_cname_is_followed(make: MakeResolver) -> None:
    """A CNAME leads to addresses, which are checked like any others."""
    resolver, _, _ = make()
    found = resolve(resolver, "alias.example.com")
    assert isinstance(found, Addresses)
    assert found.addresses == (PUBLIC,)


@pytest.mark.parametrize("host", ["mixed", "mixed6", "private", "hidden"])
def test_one_forbidden_address_refuses_the_name(make: MakeResolver, host: str) -> None:
    """A name with one forbidden address is refused, and the reason does not show the address."""
    resolver, _, _ = make()
    found = resolve(resolver, f"{host}.example.com")
    assert isinstance(found, Refused)
    assert "may not be connected to" in found.reason
    assert "169.254.169.254" not in found.reason


@pytest.mark.parametrize("host", ["none", "empty", "broken"])
def test_names_without_addresses_fail(make: MakeResolver, host: str) -> None:
    """A name that does not exist, has no address, or breaks its server is a failure of DNS."""
    resolver, _, _ = make()
    found = resolve(resolver, f"{host}.example.com")
    assert isinstance(found, Failed)
    assert found.kind == "dns"
    assert found.detail.startswith(f"{host}.example.com")


def test_search_domains_are_not_tried(make: MakeResolver) -> None:
    """A name that does not exist is not tried with the search domains of the machine."""
    resolver, server, _ = make()
    resolve(resolver, "none.example.com")
    assert {name for name, _ in server.asked} == {"none.example.com"}


@pytest.mark.parametrize("ttl", [0, 1, 30, 60, 86_400])
def test_answers_are_cached_for_their_ttl(make: MakeResolver, ttl: int) -> None:
    """An answer is cached for its TTL, at least 1 s and at most 60 s, and queried once in that time."""
    resolver, server, now = make(ttl=ttl)
    kept = min(max(ttl, MIN_TTL), MAX_TTL)
    resolve(resolver, "one.example.com")
    now[0] += kept - 0.001
    assert isinstance(resolver.lookup("one.example.com", 443), Addresses)
    assert (server.asked["one.example.com", A], server.asked["one.example.com", AAAA]) == (1, 1)
    now[0] += 0.002
    assert resolver.lookup("one.example.com", 443) is None
    wait_until(lambda: resolver.ended() == ["one.example.com"])


def test_long_ttl_is_capped(make: MakeResolver) -> None:
    """However long its TTL, a name that has moved is found at its new address after a few minutes at most."""
    resolver, _, now = make(lambda _name, times: [PUBLIC] if times == 0 else ["8.8.8.8"], ttl=86_400)
    assert resolve(resolver, "moves.example.com") == Addresses((PUBLIC,))

    def has_moved() -> bool:
        now[0] += MAX_TTL
        found = resolve(resolver, "moves.example.com")
        return isinstance(found, Addresses) and found.addresses == ("8.8.8.8",)

    wait_until(has_moved, what="the new address is known")
    assert now[0] <= 1_000 + 10 * MAX_TTL


def test_failures_are_cached_briefly(make: MakeResolver) -> None:
    """A failure is shared by the requests that wait, and the name is queried again soon."""
    resolver, server, now = make()
    resolve(resolver, "broken.example.com")
    asked = server.asked["broken.example.com", A]
    now[0] += FAILURE_TTL - 0.001
    assert isinstance(resolver.lookup("broken.example.com", 443), Failed)
    assert server.asked["broken.example.com", A] == asked
    now[0] += 0.002
    assert resolver.lookup("broken.example.com", 443) is None


def test_name_is_queried_once_at_a_time(make: MakeResolver) -> None:
    """However many requests wait for a name, one query is under way."""
    resolver, server, _ = make()
    assert [resolver.lookup("one.example.com", 443 + n) for n in range(50)] == [None] * 50
    wait_until(lambda: resolver.ended() == ["one.example.com"])
    assert server.asked["one.example.com", A] == 1


def test_name_that_moves_to_a_private_address_is_refused(make: MakeResolver) -> None:
    """A name that moves from a public to a private address is refused from its next answer on."""
    resolver, _, now = make(lambda name, times: [PUBLIC] if times == 0 else ["127.0.0.1"])
    assert isinstance(resolve(resolver, "turns.example.com"), Addresses)
    now[0] += MIN_TTL
    assert isinstance(resolve(resolver, "turns.example.com"), Refused)


def test_number_of_cached_names_is_bounded(make: MakeResolver) -> None:
    """Names beyond the limit replace the oldest ones."""
    resolver, _, _ = make()
    literals = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(MAX_NAMES + 50)]
    for host in literals:
        assert isinstance(resolver.lookup(host, 443), Refused)
    assert len(resolver._known) == MAX_NAMES  # not visible elsewhere


@pytest.mark.parametrize(
    ("host", "allowed"), [("127.0.0.1", True), ("localhost", True), ("::1", True), ("10.0.0.1", False)]
)
def test_literals_are_not_queried(host: str, allowed: bool) -> None:
    """The policy decides about IP addresses and localhost without DNS."""
    for policy, expected in ((LOCAL, allowed), (EgressPolicy(), False)):
        resolver = Resolver(policy, ["127.0.0.1:1"])
        assert isinstance(resolver.lookup(host, 80), Addresses if expected else Refused)
        resolver.close()


def test_names_that_never_resolve_delay_no_others() -> None:
    """A hundred names without an answer end at their own deadline, while healthy names resolve."""
    server = DnsServer(lambda name, _: ZONE.get(name, [SILENCE]))
    receiver = HostileReceiver()
    client = local_client(dns_servers=[server.address])
    url = f"http://{{}}:{receiver.port}/ok"
    hanging = [request_to(url.format(f"never-{n}.example.com"), timeout_ms=1_500, context="never") for n in range(100)]
    healthy = [request_to(url.format("here.example.com"), timeout_ms=20_000, context="healthy") for _ in range(100)]
    began = time.monotonic()
    for request in hanging:
        client.start(request)
    poll(client, 0)
    for request in healthy:
        client.start(request)
    assert (client.in_flight, client.resolving) == (0, 200)
    completed = completed_of(client)
    assert {each.response for each in completed[:100]} == {Response(200, None, b"", False)}
    assert all(each.request.context == "healthy" for each in completed[:100])
    for each in completed[100:]:
        assert isinstance(each.response, TransportError)
        assert each.response.kind == "dns_timeout"
        assert each.duration_us >= 1_500_000
    assert time.monotonic() - began < 10
    client.close()
    server.close()
    receiver.close()


def test_requests_that_wait_for_dns_can_be_cancelled() -> None:
    """A request that waits for its name can be cancelled, and is then forgotten."""
    server = DnsServer(lambda _name, _times: [SILENCE])
    client = local_client(dns_servers=[server.address])
    for number in range(3):
        client.start(request_to("http://never.example.com/", timeout_ms=200, context=number))
    assert (client.in_flight, client.resolving) == (0, 3)
    assert [request.context for request in client.cancel_matching(lambda request: request.context != 1)] == [0, 2]
    (left,) = completed_of(client)
    assert left.request.context == 1
    client.close()
    server.close()
