"""Endpoints on kept connections: earlier good responses excuse nothing, and a connection that ends fails no attempt."""

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
# More than the sockets of both sides take: it is not all sent when the answer comes.
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
    """A receiver with a conversation of its own for each connection; counts what was posted, by path."""

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
        """Take no more connections."""
        stop_listening(self._listener)


@pytest.fixture
def listening() -> Iterator[Callable[[Converse], Listener]]:
    with contextlib.ExitStack() as closing:

        def start(converse: Converse) -> Listener:
            listener = Listener(converse)
            closing.callback(listener.close)
            return listener

        yield start


def closes_when_asked_again(connection: socket.socket, listener: Listener) -> None:
    """Answer one request, read the next and hang up."""
    listener.take(connection)
    connection.sendall(OK)
    listener.take(connection)


def closes_after_an_answer(connection: socket.socket, listener: Listener) -> None:
    """Answer one request as if for more, and hang up."""
    listener.take(connection)
    connection.sendall(OK)


def shuts_its_side(connection: socket.socket, listener: Listener) -> None:
    """Answer one request, and say that no more will be said."""
    listener.take(connection)
    connection.sendall(OK)
    connection.shutdown(socket.SHUT_WR)
    listener.take(connection)


@pytest.mark.parametrize("converse", [closes_when_asked_again, closes_after_an_answer, shuts_its_side])
def test_a_kept_connection_that_ends_fails_no_attempt(
    client: HttpClient, listening: Callable[[Converse], Listener], converse: Converse
) -> None:
    """If an endpoint ends a connection as the next request comes, the request is sent once more over a new one."""
    listener = listening(converse)
    for number in range(20):
        answer = response_of(client, request_to(f"{listener.url}/{number}"))
        assert isinstance(answer, Response)
        assert answer.status == 200
    assert len(listener.posted) == 20
    assert max(listener.posted.values()) <= 2


def test_hundreds_of_dead_connections_fail_nothing(listening: Callable[[Converse], Listener]) -> None:
    """After an endpoint ended hundreds of kept connections, requests use new ones, and none is sent a third time."""
    listener = listening(closes_after_an_answer)
    with contextlib.closing(local_client(monotonic=lambda: 1_000.0)) as client:
        for batch in range(3):
            requests = [request_to(f"{listener.url}/{batch}-{number}") for number in range(200)]
            answers = [each.response for each in completed_of(client, *requests)]
            assert {answer.status for answer in answers if isinstance(answer, Response)} == {200}
            assert len(answers) == 200
    assert len(listener.posted) == 600
    assert max(listener.posted.values()) <= 2


def test_late_bytes_are_no_response(listening: Callable[[Converse], Listener]) -> None:
    """Bytes that came over an idle connection while the process was stalled are not the next request's response."""
    answered, late, now = threading.Event(), threading.Event(), [1_000.0]

    def speaks_again(connection: socket.socket, listener: Listener) -> None:
        listener.take(connection)
        connection.sendall(OK)
        if answered.wait(20) and not late.is_set():
            connection.sendall(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            late.set()
        listener.take(connection)

    listener = listening(speaks_again)
    with contextlib.closing(local_client(monotonic=lambda: now[0])) as client:
        for number in range(2):
            answer = response_of(client, request_to(f"{listener.url}/{number}"))
            assert isinstance(answer, Response)
            assert answer.status == 200
            answered.set()
            assert late.wait(20)
            now[0] += 1.0
    assert listener.posted == {"/0": 1, "/1": 1}


@pytest.mark.parametrize("body", [b"{}", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("reads", [True, False])
def test_a_response_before_the_request_was_read_counts(
    client: HttpClient, listening: Callable[[Converse], Listener], body: bytes, reads: bool
) -> None:
    """An endpoint that responds without waiting for the whole request, read or not, has responded."""
    done = threading.Event()

    def saying(answer: bytes) -> Converse:
        def converse(connection: socket.socket, _listener: Listener) -> None:
            connection.sendall(answer)
            while reads and connection.recv(65_536):
                pass
            done.wait(20)

        return converse

    urls = [listening(saying(answer)).url for answer in (OK, REFUSED)]
    answered = completed_of(client, *[request_to(url, body=body, timeout_ms=1_500) for url in urls])
    done.set()
    statuses = [each.response.status for each in answered if isinstance(each.response, Response)]
    assert sorted(statuses) == [200, 413]


def test_an_endpoint_that_reads_nothing_delays_no_others(
    client: HttpClient, hostile: str, listening: Callable[[Converse], Listener]
) -> None:
    """Requests to an endpoint that reads nothing end at their deadline, while others are completed."""
    done = threading.Event()

    def reads_nothing(_connection: socket.socket, _listener: Listener) -> None:
        done.wait(20)

    url = listening(reads_nothing).url
    stuck = [request_to(url, timeout_ms=DEADLINE_MS, body=LARGE, context="stuck") for _ in range(8)]
    healthy = [request_to(f"{hostile}/ok", timeout_ms=20_000) for _ in range(50)]
    answered = completed_of(client, *stuck, *healthy)
    done.set()
    kinds = Counter(
        each.response.kind if isinstance(each.response, TransportError) else "answered" for each in answered
    )
    assert kinds == {"timeout_answer": 8, "answered": 50}


def test_a_surplus_response_is_ignored(client: HttpClient, hostile: str) -> None:
    """What an endpoint sends behind its response is not taken for the response to the next request."""
    answers = [response_of(client, request_to(f"{hostile}/{how}")) for how in ["two-answers", "ok", "ok-body"] * 5]
    assert {answer.status for answer in answers if isinstance(answer, Response)} == {200}
    assert answers[2::3] == [Response(200, None, b"hello", False)] * 5


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
def test_good_responses_before_do_not_excuse_incomplete_ones(client: HttpClient, hostile: str, how: str) -> None:
    """Headers that end half-way are no response, however well the endpoint responded before."""
    completed_of(client, *[request_to(f"{hostile}/ok") for _ in range(20)])
    for _ in range(2):
        answer = response_of(client, request_to(f"{hostile}/{how}", timeout_ms=DEADLINE_MS))
        assert isinstance(answer, TransportError)


@pytest.mark.parametrize("how", ["ok-until-close", "ok-chunked-empty", "no-chunk-hang", "until-close-hang"])
def test_endpoints_may_change_how_they_respond(client: HttpClient, hostile: str, how: str) -> None:
    """An endpoint may stop to declare the length of its responses: they are understood all the same."""
    first = request_to(f"{hostile}/ok")
    then = [request_to(f"{hostile}/{how}", timeout_ms=DEADLINE_MS) for _ in range(3)]
    answers: list[ResponseOrError] = [response_of(client, request) for request in (first, *then)]
    assert all(isinstance(answer, Response) and answer.status == 200 for answer in (answers[0], *answers[2:]))
