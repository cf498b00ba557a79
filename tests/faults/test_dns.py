"""A DNS server can only fail the names that it answers for.

In these tests 127.0.0.1 is the public internet, where a receiver listens. Canaries listen on the other addresses of
this machine, which are internal.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network

import pytest

from consumers.delivery.http import resolver_queue
from consumers.delivery.http.client import HttpClient
from consumers.delivery.http.resolver import FAILURE_TTL, MAX_TTL, TIMEOUT, Resolver
from consumers.delivery.http.types import RESOLVER_QUEUE_FULL, Response, TransportError
from schemas.network.egress import ANY_PORT, EgressPolicy
from tests.support.dns import BROKEN, NO_NAME, OVER_TCP, SILENCE, A, DnsServer
from tests.support.hostile import HostileReceiver
from tests.support.http_client import completed_of, poll, request_to, response_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(4, 5)

PUBLIC = "127.0.0.1"
INTERNAL = "127.0.0.2"
POLICY = EgressPolicy(True, (ip_network("127.0.0.1/32"),), frozenset({ANY_PORT}))
Zone = Callable[[str, int], list[str]]


# First DNS answer and the expected result, then the DNS answer after its TTL and the result expected then.
CASES: dict[str, tuple[list[str], int | str, list[str], int | str]] = {
    "rebinding at TTL 0": ([PUBLIC], 200, [INTERNAL], "blocked_address"),
    "A to AAAA": ([PUBLIC], 200, ["::1"], "blocked_address"),
    "alias of a private name": ([PUBLIC], 200, ["=db.internal", "10.0.0.1"], "blocked_address"),
    "512 addresses, one of them internal": (
        [PUBLIC],
        200,
        [*[f"93.184.{n >> 8}.{n & 255}" for n in range(511)], INTERNAL],
        "blocked_address",
    ),
    "server failure": ([BROKEN], "dns", [PUBLIC], 200),
    "no response": ([SILENCE], "dns_timeout", [PUBLIC], 200),
    "no such name, then private": ([NO_NAME], "dns", [INTERNAL], "blocked_address"),
    "truncated": ([OVER_TCP, PUBLIC], 200, [OVER_TCP, INTERNAL], "blocked_address"),
    "no address": ([], "dns", [PUBLIC], 200),
    "public and private": ([PUBLIC], 200, [PUBLIC, INTERNAL], "blocked_address"),
    "IPv4 in IPv6": ([PUBLIC], 200, ["::ffff:127.0.0.2"], "blocked_address"),
    "circular aliases": (["=a.example.com", "=b.example.com", "=a.example.com"], "dns", [PUBLIC], 200),
}


@dataclass(slots=True)
class World:
    """A receiver on the public address, canaries on the others, and a clock that tests set."""

    port: int
    connected: list[str] = field(default_factory=list)
    now: list[float] = field(default_factory=lambda: [1_000.0])
    closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def client(self, zone: Zone) -> tuple[HttpClient, DnsServer]:
        """Return a client and its DNS server, which has this zone."""
        server = DnsServer(zone)
        resolver = Resolver(POLICY, [server.address], monotonic=lambda: self.now[0])
        client = HttpClient(POLICY, resolver, monotonic=lambda: self.now[0])
        self.closing.callback(server.close)
        self.closing.callback(client.close)
        return client, server

    def url(self, name: str = "name.example.com") -> str:
        """Return a URL with this host name."""
        return f"http://{name}:{self.port}/ok-and-close"


@pytest.fixture
def world() -> Iterator[World]:
    receiver = HostileReceiver()
    world = World(receiver.port)
    world.closing.callback(receiver.close)
    for family, address in ((socket.AF_INET, INTERNAL), (socket.AF_INET6, "::1")):
        canary = world.closing.enter_context(socket.socket(family))
        canary.bind((address, receiver.port))
        canary.listen()
        canary.setblocking(False)

        def collect(canary: socket.socket = canary, address: str = address) -> None:
            with contextlib.suppress(BlockingIOError):
                canary.accept()
                world.connected.append(address)

        world.closing.callback(collect)
    yield world
    world.closing.close()
    assert world.connected == []


def result_of(world: World, client: HttpClient, *, silent: bool = False) -> int | str:
    """Send a request and return its status or kind of failure; `silent`: let the DNS timeout pass."""
    client.start(request_to(world.url(), timeout_ms=30_000))
    if silent:
        world.now[0] += TIMEOUT
    [completed] = completed_of(client)
    response = completed.response
    return response.status if isinstance(response, Response) else response.kind


@pytest.mark.parametrize("case", CASES)
def test_no_dns_answer_leads_to_an_internal_address(world: World, case: str) -> None:
    """All addresses of every DNS answer are checked, and the client connects to checked addresses only."""
    first, expected, later, expected_later = CASES[case]
    zone = [first]
    client, _ = world.client(lambda _name, _times: zone[0])
    assert result_of(world, client, silent=first == [SILENCE]) == expected
    zone[0] = later

    def has_changed() -> bool:
        world.now[0] += MAX_TTL + FAILURE_TTL
        return result_of(world, client) == expected_later

    wait_until(has_changed, what="the cache of c-ares, which has its own clock, has expired")


def test_truncated_dns_answer_is_queried_over_tcp(world: World) -> None:
    """A DNS answer that does not fit into a datagram is read completely."""
    client, server = world.client(lambda _name, _times: [OVER_TCP, PUBLIC])
    assert result_of(world, client) == 200
    assert server.asked_over_tcp["name.example.com", A] == 1


def test_packets_that_are_no_dns_query_are_ignored(world: World) -> None:
    """Stray packets, as of a Kafka client whose broker had this port before, do not disturb later queries."""
    client, server = world.client(lambda _name, _times: [OVER_TCP, PUBLIC])
    host, _, port = server.address.partition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stray:
        stray.sendto(b"x", (host, int(port)))
    with socket.create_connection((host, int(port))) as stray:
        stray.sendall(b"\0\0\0\x2a, of Kafka")
        assert stray.recv(1) == b""
    assert result_of(world, client) == 200


def test_name_without_dns_response_fails_after_dns_timeout(world: World) -> None:
    """However fast the DNS server was before, a name without a response fails after `dns_timeout`, not earlier."""
    client, server = world.client(lambda name, _: [PUBLIC] if name.startswith("name") else [SILENCE])
    for _ in range(5):
        assert result_of(world, client) == 200
        world.now[0] += MAX_TTL
    started = world.now[0]
    client.start(request_to(world.url("silent.example.com"), timeout_ms=30_000))
    world.now[0] += TIMEOUT - 0.01
    # After three tries c-ares gives up by itself; the resolver starts it again.
    wait_until(lambda: poll(client, 0.02) or server.asked["silent.example.com", A] > 3, what="c-ares gave up")
    assert client.resolving == 1
    world.now[0] = started + TIMEOUT + 0.001
    [answered] = completed_of(client)
    assert answered.response == TransportError("dns_timeout", "silent.example.com: DNS did not answer within 5 s")


def test_hanging_names_leave_room_for_others(world: World) -> None:
    """Requests for names known to hang fill at most half of the queue; further ones are refused at once."""
    client, _ = world.client(lambda name, _: [PUBLIC] if name.startswith("name") else [SILENCE])
    hanging = [request_to(world.url(f"silent-{n}.example.com"), timeout_ms=30_000) for n in range(1_500)]
    for request in hanging:
        client.start(request)
    assert client.resolving == resolver_queue.MAX_REQUESTS
    assert [each.response for each in poll(client, 0)] == [RESOLVER_QUEUE_FULL] * (
        len(hanging) - resolver_queue.MAX_REQUESTS
    )
    world.now[0] += TIMEOUT
    assert {each.response.kind for each in completed_of(client) if isinstance(each.response, TransportError)} == {
        "dns_timeout"
    }
    world.now[0] += FAILURE_TTL + 1
    for request in hanging[: resolver_queue.MAX_REQUESTS]:
        client.start(request)
    assert (client.in_flight, client.resolving) == (512, 512)
    poll(client, 0)
    assert result_among_waiting(world, client) == 200


def test_name_refused_by_full_queue_is_prefetched(world: World) -> None:
    """A name refused by the full queue is resolved meanwhile, and known when its request returns, whatever its TTL."""
    client, _ = world.client(lambda name, _: [PUBLIC] if name.startswith("name") else [SILENCE])
    for n in range(resolver_queue.MAX_REQUESTS):
        client.start(request_to(world.url(f"silent-{n}.example.com"), timeout_ms=30_000))

    def returns() -> bool:
        client.start(request_to(world.url(), context="mine"))
        return any(isinstance(each.response, Response) for each in poll(client, 0.05) + poll(client, 0.05))

    client.start(request_to(world.url(), context="mine"))
    assert [each.response for each in poll(client, 0)] == [RESOLVER_QUEUE_FULL]
    wait_until(returns, what="the name is known")
    world.now[0] += 4.9
    client.start(request_to(world.url(), context="mine"))
    assert client.in_flight == 1


def result_among_waiting(world: World, client: HttpClient) -> int | str:
    """Send a request while others wait for names; return its status or kind of failure."""
    client.start(request_to(world.url(), context="mine"))

    def mine() -> list[int | str]:
        responses = [each.response for each in poll(client, 0.05) if each.request.context == "mine"]
        return [response.status if isinstance(response, Response) else response.kind for response in responses]

    [result] = wait_until(mine, what="the response")
    return result


def test_bodies_that_wait_for_names_are_bounded(world: World) -> None:
    """Requests that wait for names hold at most 8 MiB of bodies."""
    client, _ = world.client(lambda _name, _times: [SILENCE])
    for n in range(100):
        client.start(request_to(world.url(f"silent-{n}.example.com"), body=b"x" * 256 * 1024))
    assert client.resolving == resolver_queue.MAX_BYTES // (256 * 1024)


def test_unreachable_dns_server_counts_as_timeout(world: World) -> None:
    """If nothing listens at the address of the DNS server, names fail with `dns_timeout`."""
    resolver = Resolver(POLICY, ["127.0.0.1:9"])
    with contextlib.closing(HttpClient(POLICY, resolver)) as client:
        error = response_of(client, request_to(world.url(), timeout_ms=10_000))
    assert isinstance(error, TransportError)
    assert error.kind == "dns_timeout"
