"""Kept connections: earlier good responses excuse no bad ones, and a connection that ends fails no attempt."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from consumers.delivery.http.client import HttpClient
from consumers.delivery.http.types import Response, ResponseOrError, TransportError
from tests.support.hostile import hostile_process
from tests.support.http_client import completed_of, local_client, request_to, response_of
from tests.support.listening import serve_each, stop_listening

pytestmark = pytest.mark.promise(5)

DEADLINE_MS = 400
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
OK = HEAD + b"\r\n"
REFUSED = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
# More than the socket buffers of both sides hold: the response comes before the whole request is sent.
LARGE = b"x" * 8_000_000
Converse = Callable[[socket.socket, "Listener"], None]


@pytest.fixture(scope="module")
def hostile() -> Iterator[str]:
    with hostile_process() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def client() -> Iterator[HttpClient]:
    client = local_client()
    yield client
    client.close()


class Listener:
    """A receiver that runs `converse` for each connection; counts POST requests by path."""

    def __init__(self, converse: Converse) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.posted: Counter[str] = Counter()
        self._converse = converse
        serve_each(self._listener, lambda connection: self._converse(connection, self))

    def take(self, connection: socket.socket) -> bytes:
        """Read a request with a body of two bytes; empty when the connection has ended."""
        request = b""
        while not request.endswith(b"\r\n\r\n{}"):
            more = connection.recv(65_536)
            if not more:
                return b""
            request += more
        self.posted[request.split(b" ", 2)[1].decode()] += 1
        return request

    def close(self) -> None:
        """Stop listening."""
        stop_listening(self._listener)


@pytest.fixture
def listening() -> Iterator[Callable[[Converse], Listener]]:
    with contextlib.ExitStack() as closing:

        def start(converse: Converse) -> Listener:
            listener = Listener(converse)
            closing.callback(listener.close)
            return listener

        yield start


def closes_at_second_request(connection: socket.socket, listener: Listener) -> None:
    """Respond to one request, read the next one and close."""
    listener.take(connection)
    connection.sendall(OK)
    listener.take(connection)


def closes_after_response(connection: socket.socket, listener: Listener) -> None:
    """Respond to one request without `Connection: close`, and close."""
    listener.take(connection)
    connection.sendall(OK)


def shuts_down_writes(connection: socket.socket, listener: Listener) -> None:
    """Respond to one request and shut down the sending side."""
    listener.take(connection)
    connection.sendall(OK)
    connection.shutdown(socket.SHUT_WR)
    listener.take(connection)


@pytest.mark.parametrize("converse", [closes_at_second_request, closes_after_response, shuts_down_writes])
def test_kept_connection_that_ends_fails_no_attempt(
    client: HttpClient, listening: Callable[[Converse], Listener], converse: Converse
) -> None:
    """If an endpoint closes a kept connection as the next request comes, the request is sent again over a new one."""
    listener = listening(converse)
    for number in range(20):
        response = response_of(client, request_to(f"{listener.url}/{number}"))
        assert isinstance(response, Response)
        assert response.status == 200
    assert len(listener.posted) == 20
    assert max(listener.posted.values()) <= 2


def test_hundreds_of_dead_connections_fail_nothing(listening: Callable[[Converse], Listener]) -> None:
    """After an endpoint closed hundreds of kept connections, requests use new ones; none is sent a third time."""
    listener = listening(closes_after_response)
    with contextlib.closing(local_client(monotonic=lambda: 1_000.0)) as client:
        for batch in range(3):
            requests = [request_to(f"{listener.url}/{batch}-{number}") for number in range(200)]
            responses = [each.response for each in completed_of(client, *requests)]
            assert {response.status for response in responses if isinstance(response, Response)} == {200}
            assert len(responses) == 200
    assert len(listener.posted) == 600
    assert max(listener.posted.values()) <= 2


def test_late_bytes_are_not_the_next_response(listening: Callable[[Converse], Listener]) -> None:
    """Bytes that arrive on an idle connection while the process stalls are not the response to the next request."""
    answered = threading.Event()
    late = threading.Event()
    now = [1_000.0]

    def sends_late_bytes(connection: socket.socket, listener: Listener) -> None:
        listener.take(connection)
        connection.sendall(OK)
        if answered.wait(20) and not late.is_set():
            connection.sendall(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            late.set()
        listener.take(connection)

    listener = listening(sends_late_bytes)
    with contextlib.closing(local_client(monotonic=lambda: now[0])) as client:
        for number in range(2):
            response = response_of(client, request_to(f"{listener.url}/{number}"))
            assert isinstance(response, Response)
            assert response.status == 200
            answered.set()
            assert late.wait(20)
            now[0] += 1.0
    assert listener.posted == {"/0": 1, "/1": 1}


@pytest.mark.parametrize("body", [b"{}", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("reads", [True, False])
def test_response_before_the_request_was_read_counts(
    client: HttpClient, listening: Callable[[Converse], Listener], body: bytes, reads: bool
) -> None:
    """A response counts even if the endpoint has not read the whole request."""
    done = threading.Event()

    def responding(response: bytes) -> Converse:
        def converse(connection: socket.socket, _listener: Listener) -> None:
            connection.sendall(response)
            while reads and connection.recv(65_536):
                pass
            done.wait(20)

        return converse

    urls = [listening(responding(response)).url for response in (OK, REFUSED)]
    completed = completed_of(client, *[request_to(url, body=body, timeout_ms=1_500) for url in urls])
    done.set()
    statuses = [each.response.status for each in completed if isinstance(each.response, Response)]
    assert sorted(statuses) == [200, 413]


def test_endpoint_that_reads_nothing_delays_no_others(
    client: HttpClient, hostile: str, listening: Callable[[Converse], Listener]
) -> None:
    """Requests to an endpoint that reads nothing end at their deadline; other requests complete meanwhile."""
    done = threading.Event()

    def reads_nothing(_connection: socket.socket, _listener: Listener) -> None:
        done.wait(20)

    url = listening(reads_nothing).url
    stuck = [request_to(url, timeout_ms=DEADLINE_MS, body=LARGE, context="stuck") for _ in range(8)]
    healthy = [request_to(f"{hostile}/ok", timeout_ms=20_000) for _ in range(50)]
    completed = completed_of(client, *stuck, *healthy)
    done.set()
    kinds = Counter(
        each.response.kind if isinstance(each.response, TransportError) else "response" for each in completed
    )
    assert kinds == {"timeout_answer": 8, "response": 50}


def test_surplus_response_is_ignored(client: HttpClient, hostile: str) -> None:
    """Bytes after a response are not taken for the response to the next request."""
    results = [response_of(client, request_to(f"{hostile}/{how}")) for how in ["two-answers", "ok", "ok-body"] * 5]
    assert {result.status for result in results if isinstance(result, Response)} == {200}
    assert results[2::3] == [Response(200, None, b"hello", False)] * 5


@pytest.mark.parametrize(
    "how",
    [
        "mid-headers",
        "mid-headers-length",
        "mid-headers-both",
        "mid-headers-hang",
        "never",
        "switch-and-speak",
        "status-0",
        "blank-first",
    ],
)
def test_earlier_good_responses_do_not_excuse_incomplete_ones(client: HttpClient, hostile: str, how: str) -> None:
    """Incomplete headers are a transport error, however well the endpoint responded before."""
    completed_of(client, *[request_to(f"{hostile}/ok") for _ in range(20)])
    for _ in range(2):
        result = response_of(client, request_to(f"{hostile}/{how}", timeout_ms=DEADLINE_MS))
        assert isinstance(result, TransportError)


@pytest.mark.parametrize("how", ["ok-until-close", "ok-chunked-empty", "no-chunk-hang", "until-close-hang"])
def test_endpoints_may_change_how_they_respond(client: HttpClient, hostile: str, how: str) -> None:
    """An endpoint may switch to responses without a declared length; they count."""
    first = request_to(f"{hostile}/ok")
    later = [request_to(f"{hostile}/{how}", timeout_ms=DEADLINE_MS) for _ in range(3)]
    results: list[ResponseOrError] = [response_of(client, request) for request in (first, *later)]
    assert all(isinstance(result, Response) and result.status == 200 for result in (results[0], *results[2:]))
