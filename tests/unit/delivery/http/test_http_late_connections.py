"""A request that waited long for its connection is sent only after the caller has confirmed it."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from consumers.delivery.http.client import HttpClient
from consumers.delivery.http.connector import ConnectionAttempt
from consumers.delivery.http.options import ClientOptions
from consumers.delivery.http.resolver import Resolver
from consumers.delivery.http.types import (
    CANCELLED,
    CompletedRequest,
    PollResult,
    Request,
    ResponseOrError,
    TransportError,
)
from schemas.network.egress import ANY_PORT, EgressPolicy
from tests.support.fixed_resolver import FixedResolver
from tests.support.http_client import LOCAL, poll, request_to

pytestmark = pytest.mark.promise(7)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Slow:
    """An endpoint that accepts when the test lets it, and a client whose clock the test advances."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(10)
        self.later_s = 100.0
        self.asked: list[Request] = []
        self.may_go = True
        self.before_the_answer = lambda: None
        self.client = HttpClient(LOCAL, Resolver(LOCAL, []), monotonic=lambda: self.later_s)

    def poll(self, timeout_s: float) -> list[CompletedRequest]:
        """Poll the client; confirm or cancel the requests to confirm."""
        result = self.client.poll(timeout_s)
        for request in result.to_confirm:
            self.asked.append(request)
            self.before_the_answer()
            if self.may_go:
                self.client.confirm(request)
            else:
                self.client.cancel(request)
        return result.completed

    def start(self) -> None:
        """Start a request."""
        self.client.start(request_to(f"http://127.0.0.1:{self.listener.getsockname()[1]}/"))

    def result(self) -> ResponseOrError:
        """Return how the request ends."""
        while True:
            for completed in self.poll(1.0):
                return completed.response

    def close(self) -> None:
        self.client.close()
        self.listener.close()


@pytest.fixture
def slow() -> Iterator[Slow]:
    with contextlib.closing(Slow()) as one:
        yield one


def delivers(slow: Slow) -> None:
    """Let the started request connect and get its response."""
    assert slow.poll(0.0) == []
    connection, _ = slow.listener.accept()
    with connection:
        assert slow.poll(0.01) == []
        connection.settimeout(10)
        assert connection.recv(10_000).startswith(b"POST / ")
        connection.sendall(OK)
        assert getattr(slow.result(), "status", None) == 200


def test_cancelled_request_is_not_sent_over_a_late_connection(slow: Slow) -> None:
    """A cancelled request is returned unsent, its connection is closed, and it may be started again."""
    slow.may_go = False
    slow.start()
    slow.later_s += 1
    assert slow.result() is CANCELLED
    first, _ = slow.listener.accept()
    with first:
        first.settimeout(10)
        assert first.recv(1) == b""

    slow.start()
    delivers(slow)
    assert len(slow.asked) == 1


@pytest.mark.parametrize(("took_s", "asked"), [(0.0, 0), (1.0, 1)])
def test_confirmed_request_is_sent_over_a_late_connection(slow: Slow, took_s: float, asked: int) -> None:
    """A request is sent however long its connection took; only a late one has to be confirmed."""
    slow.start()
    slow.later_s += took_s
    delivers(slow)
    assert len(slow.asked) == asked


def test_request_without_a_decision_is_cancelled(slow: Slow) -> None:
    """A request that its caller neither confirms nor cancels is cancelled by the next `poll`: nothing is sent."""
    slow.start()
    slow.later_s += 1
    result = slow.client.poll(0.5)
    assert (len(result.to_confirm), result.completed) == (1, [])
    assert slow.client.in_flight == 1
    [completed] = slow.client.poll(0.0).completed
    assert completed.response is CANCELLED
    slow.client.confirm(completed.request)  # too late
    connection, _ = slow.listener.accept()
    with connection:
        connection.settimeout(10)
        assert connection.recv(1) == b""
    assert not slow.client.is_busy


def test_cancelled_request_cannot_be_confirmed(slow: Slow) -> None:
    """A request that was cancelled while it waited for its confirmation is not sent, and has no outcome."""
    slow.start()
    slow.later_s += 1
    [request] = slow.client.poll(0.5).to_confirm
    assert slow.client.cancel_matching(lambda _: True) == [request]
    slow.client.confirm(request)
    slow.client.cancel(request)
    assert not slow.client.is_busy
    assert slow.client.poll(0.0).completed == []


def test_deadline_waits_for_the_decision(slow: Slow) -> None:
    """A request whose deadline passed in a stall is cancelled by its caller, and is no failure of the endpoint."""
    slow.start()
    slow.later_s += 3_600
    slow.may_go = False
    assert slow.result() is CANCELLED
    slow.start()
    slow.later_s += 3_600
    slow.may_go = True
    assert slow.poll(0.5) == []
    slow.later_s += 1
    error = slow.result()
    assert isinstance(error, TransportError)
    assert error.kind == "timeout_answer"


def test_request_that_waited_for_dns_is_confirmed_before_it_connects(slow: Slow) -> None:
    """Once the name is known, nothing is opened or sent before the confirmation."""
    resolver = FixedResolver("127.0.0.1")
    resolver.known = False
    with contextlib.closing(HttpClient(LOCAL, resolver, monotonic=lambda: slow.later_s)) as client:
        request = request_to(f"http://named.example.com:{slow.listener.getsockname()[1]}/")
        assert client.start(request)
        assert client.poll(0.0).to_confirm == []
        assert (client.in_flight, client.resolving) == (0, 1)
        resolver.known, resolver.news = True, ["named.example.com"]
        assert client.poll(0.0).to_confirm == [request]
        assert (client.in_flight, client.resolving) == (1, 0)
        slow.listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            slow.listener.accept()
        slow.listener.settimeout(10)
        client.confirm(request)
        connection, _ = slow.listener.accept()
        with connection:
            assert client.poll(0.01) == PollResult([], [])
            connection.settimeout(10)
            assert connection.recv(10_000).startswith(b"POST / ")


def test_request_that_waits_twice_is_confirmed_twice(slow: Slow) -> None:
    """A confirmed request whose connection then takes long has to be confirmed again, and is not cancelled."""
    resolver = FixedResolver("127.0.0.1")
    resolver.known = False
    with contextlib.closing(HttpClient(LOCAL, resolver, monotonic=lambda: slow.later_s)) as client:
        url = f"http://named.example.com:{slow.listener.getsockname()[1]}/"
        first, second = request_to(url), request_to(url)
        for request in (first, second):
            client.start(request)
        resolver.known, resolver.news = True, ["named.example.com"]
        assert client.poll(0.0).to_confirm == [first, second]
        client.confirm(first)
        connection, _ = slow.listener.accept()
        with connection:
            slow.later_s += 1
            client.confirm(second)  # reads the sockets first, and finds the connection of the first
            client.confirm(first)  # not one to confirm
            assert client.poll(0.0) == PollResult([], [first])
            client.confirm(first)
            connection.settimeout(10)
            assert connection.recv(10_000).startswith(b"POST / ")


def test_requests_that_waited_for_the_only_connection_are_confirmed_in_turn(slow: Slow) -> None:
    """Each request is confirmed when the connection is free for it, not before, and is sent over it."""
    options = ClientOptions(max_connections=1)
    resolver = Resolver(LOCAL, [])
    with contextlib.closing(HttpClient(LOCAL, resolver, options=options, monotonic=lambda: slow.later_s)) as client:
        url = f"http://127.0.0.1:{slow.listener.getsockname()[1]}/"
        requests = [request_to(url, timeout_ms=60_000, context=number) for number in range(3)]
        for request in requests:
            client.start(request)
        client.poll(0.0)
        connection, _ = slow.listener.accept()
        with connection:
            connection.settimeout(10)
            for number, request in enumerate(requests):
                client.poll(0.01)
                assert connection.recv(10_000).startswith(b"POST / ")
                slow.later_s += 1
                connection.sendall(OK)
                result = client.poll(0.5)
                assert [completed.request for completed in result.completed] == [request]
                assert result.to_confirm == requests[number + 1 : number + 2]
                for following in result.to_confirm:
                    client.confirm(following)


def test_reset_before_the_first_byte_is_one_error(slow: Slow) -> None:
    """A connection that is reset before the request is sent ends that request, once."""

    def reset() -> None:
        connection, _ = slow.listener.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    slow.before_the_answer = reset
    slow.start()
    slow.later_s += 1
    result = slow.result()
    assert isinstance(result, TransportError)
    assert result.kind == "reset"
    assert not slow.client.is_busy


def full_backlog(listener: socket.socket, connections: contextlib.ExitStack) -> int:
    """Fill the queue of a listener, so that it accepts nothing more; return its port."""
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    port: int = listener.getsockname()[1]
    for _ in range(4):
        one = connections.enter_context(socket.socket())
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
    return port


def test_waiting_for_a_silent_address_takes_no_cpu() -> None:
    """If the first address is silent and the second is forbidden, the client sleeps until the deadline."""
    with socket.socket() as listener, contextlib.ExitStack() as connections:
        port = full_backlog(listener, connections)
        policy = EgressPolicy(True, (ip_network("127.0.0.1"),), frozenset({ANY_PORT}))
        client = HttpClient(policy, FixedResolver("127.0.0.1", "127.0.0.2"))
        client.start(request_to(f"http://two.example:{port}/", timeout_ms=800))
        turns = 0
        completed: list[CompletedRequest] = []
        while not completed:
            completed = poll(client, 0.02)
            turns += 1
        client.close()
    result = completed[0].response
    assert isinstance(result, TransportError)
    assert result.kind == "timeout_connect"
    assert turns < 500


@pytest.mark.parametrize("second", ["127.0.0.2", "::1", "127.0.0.9"])
def test_failing_address_does_not_replace_a_connecting_one(second: str) -> None:
    """Without room for further sockets, a new address replaces an earlier one only if its connection starts."""
    with socket.socket() as listener, contextlib.ExitStack() as connections:
        port = full_backlog(listener, connections)
        policy = EgressPolicy(True, (ip_network("127.0.0.1"),), frozenset({ANY_PORT}))
        attempt = ConnectionAttempt(("127.0.0.1", second), port, policy, lambda _fd: None, 0.0, has_room=False)
        attempt.advance(1.0, has_room=False)
        assert attempt.error is None
        assert len(attempt.descriptors) == 1
        attempt.close()
