"""Receivers on kept connections: what came before excuses nothing, and a connection that ends fails no attempt."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from consumers.delivery.transport import Answer, Responded, Transport, Unanswered
from tests.support.hostile import hostile_process
from tests.support.listening import serve_each, stop_listening
from tests.support.sending import answer_of, answers_of, local_transport, request_to

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
def transport() -> Iterator[Transport]:
    transport = local_transport()
    yield transport
    transport.close()


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
    transport: Transport, listening: Callable[[Converse], Listener], converse: Converse
) -> None:
    """A receiver that ends connections as the next request comes is asked on another one, once for each attempt."""
    listener = listening(converse)
    for number in range(20):
        answer = answer_of(transport, request_to(f"{listener.url}/{number}"))
        assert isinstance(answer, Responded)
        assert answer.status == 200
    assert len(listener.posted) == 20
    assert max(listener.posted.values()) <= 2


def test_hundreds_of_dead_connections_fail_nothing(listening: Callable[[Converse], Listener]) -> None:
    """A receiver that ended hundreds of kept connections is asked over new ones, and nothing is sent a third time."""
    listener = listening(closes_after_an_answer)
    with contextlib.closing(local_transport(monotonic=lambda: 1_000.0)) as transport:
        for batch in range(3):
            requests = [request_to(f"{listener.url}/{batch}-{number}") for number in range(200)]
            answers = [each.answer for each in answers_of(transport, *requests)]
            assert {answer.status for answer in answers if isinstance(answer, Responded)} == {200}
            assert len(answers) == 200
    assert len(listener.posted) == 600
    assert max(listener.posted.values()) <= 2


def test_late_bytes_are_nobodys_answer(listening: Callable[[Converse], Listener]) -> None:
    """What comes over a connection that waits, unread while the process stood still, is not the next one's answer."""
    answered, late, now = threading.Event(), threading.Event(), [1_000.0]

    def speaks_again(connection: socket.socket, listener: Listener) -> None:
        listener.take(connection)
        connection.sendall(OK)
        if answered.wait(20) and not late.is_set():
            connection.sendall(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            late.set()
        listener.take(connection)

    listener = listening(speaks_again)
    with contextlib.closing(local_transport(monotonic=lambda: now[0])) as transport:
        for number in range(2):
            answer = answer_of(transport, request_to(f"{listener.url}/{number}"))
            assert isinstance(answer, Responded)
            assert answer.status == 200
            answered.set()
            assert late.wait(20)
            now[0] += 1.0
    assert listener.posted == {"/0": 1, "/1": 1}


@pytest.mark.parametrize("body", [b"{}", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("reads", [True, False])
def test_an_answer_before_the_request_was_read_is_the_answer(
    transport: Transport, listening: Callable[[Converse], Listener], body: bytes, reads: bool
) -> None:
    """Who answers without waiting for the whole request, read or not, has answered."""
    done = threading.Event()

    def saying(answer: bytes) -> Converse:
        def converse(connection: socket.socket, _listener: Listener) -> None:
            connection.sendall(answer)
            while reads and connection.recv(65_536):
                pass
            done.wait(20)

        return converse

    urls = [listening(saying(answer)).url for answer in (OK, REFUSED)]
    answered = answers_of(transport, *[request_to(url, body=body, timeout_ms=1_500) for url in urls])
    done.set()
    statuses = [each.answer.status for each in answered if isinstance(each.answer, Responded)]
    assert sorted(statuses) == [200, 413]


def test_who_reads_nothing_holds_nothing_up(
    transport: Transport, hostile: str, listening: Callable[[Converse], Listener]
) -> None:
    """A receiver that takes connections and reads nothing ends at its deadline, beside others that are answered."""
    done = threading.Event()

    def reads_nothing(_connection: socket.socket, _listener: Listener) -> None:
        done.wait(20)

    url = listening(reads_nothing).url
    stuck = [request_to(url, timeout_ms=DEADLINE_MS, body=LARGE, context="stuck") for _ in range(8)]
    healthy = [request_to(f"{hostile}/ok", timeout_ms=20_000) for _ in range(50)]
    answered = answers_of(transport, *stuck, *healthy)
    done.set()
    kinds = Counter(each.answer.kind if isinstance(each.answer, Unanswered) else "answered" for each in answered)
    assert kinds == {"timeout_answer": 8, "answered": 50}


def test_an_answer_too_many_is_nobodys(transport: Transport, hostile: str) -> None:
    """What a receiver sends behind its answer is not taken for the answer to the next request."""
    answers = [answer_of(transport, request_to(f"{hostile}/{how}")) for how in ["two-answers", "ok", "ok-body"] * 5]
    assert {answer.status for answer in answers if isinstance(answer, Responded)} == {200}
    assert answers[2::3] == [Responded(200, None, b"hello", False)] * 5


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
def test_good_answers_before_do_not_excuse_half_ones(transport: Transport, hostile: str, how: str) -> None:
    """A receiver that answered well before is not believed to have answered when its headers end half-way."""
    answers_of(transport, *[request_to(f"{hostile}/ok") for _ in range(20)])
    for _ in range(2):
        answer = answer_of(transport, request_to(f"{hostile}/{how}", timeout_ms=DEADLINE_MS))
        assert isinstance(answer, Unanswered)


@pytest.mark.parametrize("how", ["ok-until-close", "ok-chunked-empty", "no-chunk-hang", "until-close-hang"])
def test_receivers_may_change_how_they_answer(transport: Transport, hostile: str, how: str) -> None:
    """A receiver that stops to declare the length of its answers is doubted once at most, then understood."""
    first = request_to(f"{hostile}/ok")
    then = [request_to(f"{hostile}/{how}", timeout_ms=DEADLINE_MS) for _ in range(3)]
    answers: list[Answer] = [answer_of(transport, request) for request in (first, *then)]
    assert all(isinstance(answer, Responded) and answer.status == 200 for answer in (answers[0], *answers[2:]))
