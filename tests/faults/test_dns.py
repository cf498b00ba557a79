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

from consumers.delivery import name_queue
from consumers.delivery.answer import CROWDED, Responded, Unanswered
from consumers.delivery.resolver import FAILURE_TTL, MAX_TTL, TIMEOUT, Resolver
from consumers.delivery.transport import Transport
from schemas.egress import ANY_PORT, EgressPolicy
from tests.support.dns import BROKEN, NO_NAME, OVER_TCP, SILENCE, A, DnsServer
from tests.support.hostile import HostileReceiver
from tests.support.sending import answer_of, answers_of, request_to
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

    def transport(self, zone: Zone) -> tuple[Transport, DnsServer]:
        """A transport that asks a server with this zone."""
        server = DnsServer(zone)
        resolver = Resolver(POLICY, [server.address], monotonic=lambda: self.now[0])
        transport = Transport(POLICY, resolver, monotonic=lambda: self.now[0])
        self.closing.callback(server.close)
        self.closing.callback(transport.close)
        return transport, server

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


def said(world: World, transport: Transport, *, silent: bool = False) -> int | str:
    """What comes of a request: a status, or a kind of failure; `silent`: DNS will not answer, and time may pass."""
    transport.start(request_to(world.url(), timeout_ms=30_000))
    if silent:
        world.now[0] += TIMEOUT
    [answered] = answers_of(transport)
    answer = answered.answer
    return answer.status if isinstance(answer, Responded) else answer.kind


@pytest.mark.parametrize("case", CASES)
def test_whatever_dns_says_nothing_inside_is_called(world: World, case: str) -> None:
    """Each answer is checked whole, the first as any later one, and nothing but what was checked is connected to."""
    first, expected, then, expected_then = CASES[case]
    found = [first]
    transport, _ = world.transport(lambda _name, _times: found[0])
    assert said(world, transport, silent=first == [SILENCE]) == expected
    found[0] = then

    def has_turned() -> bool:
        world.now[0] += MAX_TTL + FAILURE_TTL
        return said(world, transport) == expected_then

    wait_until(has_turned, what="c-ares has forgotten, too, which it does by a clock of its own")


def test_a_truncated_answer_is_asked_for_over_tcp(world: World) -> None:
    """An answer that does not fit into a datagram is read whole."""
    transport, server = world.transport(lambda _name, _times: [OVER_TCP, PUBLIC])
    assert said(world, transport) == 200
    assert server.asked_over_tcp["name.example.com", A] == 1


def test_what_is_no_question_is_not_answered(world: World) -> None:
    """Strays, as of a client whose broker had the port before, change nothing for those who ask after them."""
    transport, server = world.transport(lambda _name, _times: [OVER_TCP, PUBLIC])
    host, _, port = server.address.partition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stray:
        stray.sendto(b"x", (host, int(port)))
    with socket.create_connection((host, int(port))) as stray:
        stray.sendall(b"\0\0\0\x2a, of Kafka")
        assert stray.recv(1) == b""
    assert said(world, transport) == 200


def test_a_name_that_does_not_answer_fails_after_the_same_time_always(world: World) -> None:
    """However quick the server was before, a name that gets no answer is given up after `dns_timeout`, not before."""
    transport, server = world.transport(lambda name, _: [PUBLIC] if name.startswith("name") else [SILENCE])
    for _ in range(5):
        assert said(world, transport) == 200
        world.now[0] += MAX_TTL
    asked = world.now[0]
    transport.start(request_to(world.url("silent.example.com"), timeout_ms=30_000))
    world.now[0] += TIMEOUT - 0.01
    # After so many tries c-ares has given up by itself, and was told to go on.
    wait_until(lambda: transport.work(0.02) or server.asked["silent.example.com", A] > 3, what="c-ares gave up")
    assert transport.resolving == 1
    world.now[0] = asked + TIMEOUT + 0.001
    [answered] = answers_of(transport)
    assert answered.answer == Unanswered("dns_timeout", "silent.example.com: no answer of DNS within 5 s")


def test_names_that_hang_leave_room_for_others(world: World) -> None:
    """Requests for names that are known to hang fill half of the room at most, and whatever finds none is told so."""
    transport, _ = world.transport(lambda name, _: [PUBLIC] if name.startswith("name") else [SILENCE])
    hanging = [request_to(world.url(f"silent-{n}.example.com"), timeout_ms=30_000) for n in range(1_500)]
    for request in hanging:
        transport.start(request)
    assert transport.resolving == name_queue.MAX_WAITING
    assert [each.answer for each in transport.work(0)] == [CROWDED] * (len(hanging) - name_queue.MAX_WAITING)
    world.now[0] += TIMEOUT
    assert {each.answer.kind for each in answers_of(transport) if isinstance(each.answer, Unanswered)} == {
        "dns_timeout"
    }
    world.now[0] += FAILURE_TTL + 1
    for request in hanging[: name_queue.MAX_WAITING]:
        transport.start(request)
    assert (transport.in_flight, transport.resolving) == (512, 512)
    transport.work(0)
    assert said_among(world, transport) == 200


def test_a_name_without_room_is_asked_for_ahead(world: World) -> None:
    """A request that finds no room for its name finds the name known when it comes again, whatever its TTL."""
    transport, _ = world.transport(lambda name, _: [PUBLIC] if name.startswith("name") else [SILENCE])
    for n in range(name_queue.MAX_WAITING):
        transport.start(request_to(world.url(f"silent-{n}.example.com"), timeout_ms=30_000))

    def comes_again() -> bool:
        transport.start(request_to(world.url(), context="mine"))
        return any(isinstance(each.answer, Responded) for each in transport.work(0.05) + transport.work(0.05))

    transport.start(request_to(world.url(), context="mine"))
    assert [each.answer for each in transport.work(0)] == [CROWDED]
    wait_until(comes_again, what="the name is known")
    world.now[0] += 4.9
    transport.start(request_to(world.url(), context="mine"))
    assert transport.in_flight == 1


def said_among(world: World, transport: Transport) -> int | str:
    """What comes of a request while others wait for names."""
    transport.start(request_to(world.url(), context="mine"))

    def mine() -> list[int | str]:
        answers = [each.answer for each in transport.work(0.05) if each.request.context == "mine"]
        return [answer.status if isinstance(answer, Responded) else answer.kind for answer in answers]

    [answer] = wait_until(mine, what="the answer")
    return answer


def test_large_bodies_that_wait_for_names_are_bounded(world: World) -> None:
    """What waits for names holds 8 MiB of bodies at most."""
    transport, _ = world.transport(lambda _name, _times: [SILENCE])
    for n in range(100):
        transport.start(request_to(world.url(f"silent-{n}.example.com"), body=b"x" * 256 * 1024))
    assert transport.resolving == name_queue.MAX_BYTES // (256 * 1024)


def test_no_dns_server_at_all(world: World) -> None:
    """Where nobody listens as a DNS server, names fail as if it did not answer."""
    resolver = Resolver(POLICY, ["127.0.0.1:9"])
    with contextlib.closing(Transport(POLICY, resolver)) as transport:
        answer = answer_of(transport, request_to(world.url(), timeout_ms=10_000))
    assert isinstance(answer, Unanswered)
    assert answer.kind == "dns_timeout"
