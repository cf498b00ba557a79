"""What waited long for its connection is sent only if it may still be sent."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from consumers.delivery.answer import WITHDRAWN, Answer, Request, Unanswered
from consumers.delivery.direct.dial import Dial
from consumers.delivery.resolver import Resolver
from consumers.delivery.transport import Transport
from schemas.egress import ANY_PORT, EgressPolicy
from tests.support.known_names import Names
from tests.support.sending import LOCAL, request_to

pytestmark = pytest.mark.promise(7)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Slow:
    """An endpoint that accepts when the test says so, and a transport whose clock the test sets forward."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(10)
        self.later_s = 100.0
        self.asked: list[Request] = []
        self.may_go = True
        self.before_the_answer = lambda: None
        self.transport = Transport(LOCAL, Resolver(LOCAL, []), confirm=self._confirm, monotonic=lambda: self.later_s)

    def _confirm(self, request: Request) -> bool:
        self.asked.append(request)
        self.before_the_answer()
        return self.may_go

    def start(self) -> None:
        """Begin a request."""
        self.transport.start(request_to(f"http://127.0.0.1:{self.listener.getsockname()[1]}/"))

    def answer(self) -> Answer:
        """Return how the request ends."""
        while True:
            for answered in self.transport.work(1.0):
                return answered.answer

    def close(self) -> None:
        self.transport.close()
        self.listener.close()


@pytest.fixture
def slow() -> Iterator[Slow]:
    with contextlib.closing(Slow()) as one:
        yield one


def delivers(slow: Slow) -> None:
    """Have the request that was begun connect, arrive and be answered."""
    assert slow.transport.work(0.0) == []
    connection, _ = slow.listener.accept()
    with connection:
        assert slow.transport.work(0.01) == []
        connection.settimeout(10)
        assert connection.recv(10_000).startswith(b"POST / ")
        connection.sendall(OK)
        assert getattr(slow.answer(), "status", None) == 200


def test_a_connection_that_took_long_brings_nothing_that_may_not_be_sent(slow: Slow) -> None:
    """Its request is given back unsent, and may be sent once more."""
    slow.may_go = False
    slow.start()
    slow.later_s += 1
    assert slow.answer() is WITHDRAWN
    first, _ = slow.listener.accept()
    with first:
        first.settimeout(10)
        assert first.recv(1) == b""

    slow.start()
    delivers(slow)
    assert len(slow.asked) == 1


@pytest.mark.parametrize(("took_s", "asked"), [(0.0, 0), (1.0, 1)])
def test_what_may_be_sent_is(slow: Slow, took_s: float, asked: int) -> None:
    """However long the connection took; who has one at once is not asked for."""
    slow.start()
    slow.later_s += took_s
    delivers(slow)
    assert len(slow.asked) == asked


def test_a_connection_that_is_reset_before_its_first_byte_is_one_failure(slow: Slow) -> None:
    """It ends its own request, once, and the others go on."""

    def reset() -> None:
        connection, _ = slow.listener.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    slow.before_the_answer = reset
    slow.start()
    slow.later_s += 1
    answer = slow.answer()
    assert isinstance(answer, Unanswered)
    assert answer.kind == "reset"
    assert not slow.transport.is_busy


def crowded(listener: socket.socket, connections: contextlib.ExitStack) -> int:
    """Fill the queue of a listener, which then answers nobody; return its port."""
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    port: int = listener.getsockname()[1]
    for _ in range(4):
        one = connections.enter_context(socket.socket())
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
    return port


def test_a_host_whose_last_address_fails_at_once_is_waited_for_without_turning() -> None:
    """The first address does not answer, the second may not be called: the process waits, and takes no CPU."""
    with socket.socket() as listener, contextlib.ExitStack() as connections:
        port = crowded(listener, connections)
        policy = EgressPolicy(True, (ip_network("127.0.0.1"),), frozenset({ANY_PORT}))
        transport = Transport(policy, Names("127.0.0.1", "127.0.0.2"))
        transport.start(request_to(f"http://two.example:{port}/", timeout_ms=800))
        turns, answers = 0, []
        while not answers:
            answers = transport.work(0.02)
            turns += 1
        transport.close()
    answer = answers[0].answer
    assert isinstance(answer, Unanswered)
    assert answer.kind == "timeout_connect"
    assert turns < 500


@pytest.mark.parametrize("second", ["127.0.0.2", "::1", "127.0.0.9"])
def test_an_address_that_cannot_be_called_ends_no_connection_that_is_being_made(second: str) -> None:
    """Where no sockets are left for further addresses one takes the place of an earlier one only if it is called."""
    with socket.socket() as listener, contextlib.ExitStack() as connections:
        port = crowded(listener, connections)
        policy = EgressPolicy(True, (ip_network("127.0.0.1"),), frozenset({ANY_PORT}))
        dial = Dial(("127.0.0.1", second), port, policy, lambda _fd: None, 0.0, has_room=lambda: False)
        dial.go_on(1.0)
        assert dial.failure is None
        assert len(dial.descriptors) == 1
        dial.close()
