"""What a DNS server can do to delivery: nothing but fail the names that it answers for.

127.0.0.1 stands for the public internet here, where a receiver listens; everything else of this machine is inside, and
listens as well.
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
from tests.support.http_client import completed_of, request_to, response_of, work
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(4, 5)

PUBLIC = "127.0.0.1"
INSIDE = "127.0.0.2"
POLICY = EgressPolicy(True, (ip_network("127.0.0.1/32"),), frozenset({ANY_PORT}))
Zone = Callable[[str, int], list[str]]


# What DNS says first and what it makes of that, then what it says once that has run out and what it makes of it.
CASES: dict[str, tuple[list[str], int | str, list[str], int | str]] = {
    "rebinding at TTL 0": ([PUBLIC], 200, [INSIDE], "blocked_address"),
    "A to AAAA": ([PUBLIC], 200, ["::1"], "blocked_address"),
    "alias of a private name": ([PUBLIC], 200, ["=db.internal", "10.0.0.1"], "blocked_address"),
    "512 answers, one of them inside": (
        [PUBLIC],
        200,
        [*[f"93.184.{n >> 8}.{n & 255}" for n in range(511)], INSIDE],
        "blocked_address",
    ),
    "server failure": ([BROKEN], "dns", [PUBLIC], 200),
    "no answer": ([SILENCE], "dns_timeout", [PUBLIC], 200),
    "no such name, then private": ([NO_NAME], "dns", [INSIDE], "blocked_address"),
    "truncated": ([OVER_TCP, PUBLIC], 200, [OVER_TCP, INSIDE], "blocked_address"),
    "no address": ([], "dns", [PUBLIC], 200),
    "public and private": ([PUBLIC], 200, [PUBLIC, INSIDE], "blocked_address"),
    "IPv4 in IPv6": ([PUBLIC], 200, ["::ffff:127.0.0.2"], "blocked_address"),
    "aliases in a circle": (["=a.example.com", "=b.example.com", "=a.example.com"], "dns", [PUBLIC], 200),
}


@dataclass(slots=True)
class World:
    """A receiver on the public address, canaries on the others, and a clock that tests move."""

    port: int
    heard: list[str] = field(default_factory=list)
    now: list[float] = field(default_factory=lambda: [1_000.0])
    closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def client(self, zone: Zone) -> tuple[HttpClient, DnsServer]:
        """A client that asks a server with this zone."""
        server = DnsServer(zone)
        resolver = Resolver(POLICY, [server.address], monotonic=lambda: self.now[0])
        client = HttpClient(POLICY, resolver, monotonic=lambda: self.now[0])
        self.closing.callback(server.close)
        self.closing.callback(client.close)
        return client, server

    def url(self, name: str = "name.example.com") -> str:
        """A URL of the name."""
        return f"http://{name}:{self.port}/ok-and-close"


@pytest.fixture
def world() -> Iterator[World]:
    receiver = HostileReceiver()
    world = World(receiver.port)
    world.closing.callback(receiver.close)
    for family, address in ((socket.AF_INET, INSIDE), (socket.AF_INET6, "::1")):
        canary = world.closing.enter_context(socket.socket(family))
        canary.bind((address, receiver.port))
        canary.listen()
        canary.setblocking(False)

        def hears(canary: socket.socket = canary, address: str = address) -> None:
            with contextlib.suppress(BlockingIOError):
                canary.accept()
                world.heard.append(address)

        world.closing.callback(hears)
    yield world
    world.closing.close()
    assert world.heard == []


def said(world: World, client: HttpClient, *, silent: bool = False) -> int | str:
    """What comes of a request: a status, or a kind of failure; `silent`: DNS will not answer, and time may pass."""
    client.start(request_to(world.url(), timeout_ms=30_000))
    if silent:
        world.now[0] += TIMEOUT
    [answered] = completed_of(client)
    answer = answered.response
    return answer.status if isinstance(answer, Response) else answer.kind


@pytest.mark.parametrize("case", CASES)
def test_whatever_dns_answers_nothing_inside_is_connected_to(world: World, case: str) -> None:
    """Every answer is checked completely, the first as any later one, and only checked addresses are connected to."""
    first, expected, then, expected_then = CASES[case]
    found = [first]
    client, _ = world.client(lambda _name, _times: found[0])
    assert said(world, client, silent=first == [SILENCE]) == expected
    found[0] = then

    def has_turned() -> bool:
        world.now[0] += MAX_TTL + FAILURE_TTL
        return said(world, client) == expected_then

    wait_until(has_turned, what="c-ares has forgotten, too, which it does by a clock of its own")


def test_a_truncated_answer_is_queried_over_tcp(world: World) -> None:
    """An answer that does not fit into a datagram is read completely."""
    client, server = world.client(lambda _name, _times: [OVER_TCP, PUBLIC])
    assert said(world, client) == 200
    assert server.asked_over_tcp["name.example.com", A] == 1


def test_what_is_no_question_is_not_answered(world: World) -> None:
    """Strays, as of a client whose broker had the port before, change nothing for those who ask after them."""
    client, server = world.client(lambda _name, _times: [OVER_TCP, PUBLIC])
    host, _, port = server.address.partition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stray:
        stray.sendto(b"x", (host, int(port)))
    with socket.create_connection((host, int(port))) as stray:
        stray.sendall(b"\0\0\0\x2a, of Kafka")
        assert stray.recv(1) == b""
    assert said(world, client) == 200


def test_a_silent_name_always_fails_after_the_same_time(world: World) -> None:
    """However fast the server was before, a name without an answer fails after `dns_timeout`, not before."""
    client, server = world.client(lambda name, _: [PUBLIC] if name.startswith("name") else [SILENCE])
    for _ in range(5):
        assert said(world, client) == 200
        world.now[0] += MAX_TTL
    asked = world.now[0]
    client.start(request_to(world.url("silent.example.com"), timeout_ms=30_000))
    world.now[0] += TIMEOUT - 0.01
    # After so many tries c-ares has given up by itself, and was told to go on.
    wait_until(lambda: work(client, 0.02) or server.asked["silent.example.com", A] > 3, what="c-ares gave up")
    assert client.resolving == 1
    world.now[0] = asked + TIMEOUT + 0.001
    [answered] = completed_of(client)
    assert answered.response == TransportError("dns_timeout", "silent.example.com: DNS did not answer within 5 s")


def test_names_that_hang_leave_room_for_others(world: World) -> None:
    """Requests for names that are known to hang fill at most half of the queue; the others are refused at once."""
    client, _ = world.client(lambda name, _: [PUBLIC] if name.startswith("name") else [SILENCE])
    hanging = [request_to(world.url(f"silent-{n}.example.com"), timeout_ms=30_000) for n in range(1_500)]
    for request in hanging:
        client.start(request)
    assert client.resolving == resolver_queue.MAX_REQUESTS
    assert [each.response for each in work(client, 0)] == [RESOLVER_QUEUE_FULL] * (
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
    work(client, 0)
    assert said_among(world, client) == 200


def test_a_name_without_room_is_prefetched(world: World) -> None:
    """A request that finds no room for its name finds the name known when it returns, whatever its TTL."""
    client, _ = world.client(lambda name, _: [PUBLIC] if name.startswith("name") else [SILENCE])
    for n in range(resolver_queue.MAX_REQUESTS):
        client.start(request_to(world.url(f"silent-{n}.example.com"), timeout_ms=30_000))

    def comes_again() -> bool:
        client.start(request_to(world.url(), context="mine"))
        return any(isinstance(each.response, Response) for each in work(client, 0.05) + work(client, 0.05))

    client.start(request_to(world.url(), context="mine"))
    assert [each.response for each in work(client, 0)] == [RESOLVER_QUEUE_FULL]
    wait_until(comes_again, what="the name is known")
    world.now[0] += 4.9
    client.start(request_to(world.url(), context="mine"))
    assert client.in_flight == 1


def said_among(world: World, client: HttpClient) -> int | str:
    """What comes of a request while others wait for names."""
    client.start(request_to(world.url(), context="mine"))

    def mine() -> list[int | str]:
        answers = [each.response for each in work(client, 0.05) if each.request.context == "mine"]
        return [answer.status if isinstance(answer, Response) else answer.kind for answer in answers]

    [answer] = wait_until(mine, what="the answer")
    return answer


def test_large_bodies_that_wait_for_names_are_bounded(world: World) -> None:
    """Requests that wait for names hold 8 MiB of bodies at most."""
    client, _ = world.client(lambda _name, _times: [SILENCE])
    for n in range(100):
        client.start(request_to(world.url(f"silent-{n}.example.com"), body=b"x" * 256 * 1024))
    assert client.resolving == resolver_queue.MAX_BYTES // (256 * 1024)


def test_no_dns_server_at_all(world: World) -> None:
    """If nothing listens at the address of the DNS server, names fail as if it did not answer."""
    resolver = Resolver(POLICY, ["127.0.0.1:9"])
    with contextlib.closing(HttpClient(POLICY, resolver)) as client:
        answer = response_of(client, request_to(world.url(), timeout_ms=10_000))
    assert isinstance(answer, TransportError)
    assert answer.kind == "dns_timeout"
