"""What delivery sends, and that it sends nothing else and to nobody else."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pycurl
import pytest

from consumers.delivery.answer import Responded, Unanswered
from consumers.delivery.connections import Connections
from consumers.delivery.failures import kind_of, unanswered
from consumers.delivery.readiness import EpollReadiness, Readiness, SelectReadiness
from consumers.delivery.resolver import Resolver
from consumers.delivery.transport import Transport
from schemas.egress import ANY_PORT, EgressPolicy
from schemas.failures import FailureKind
from tests.support.hostile import HostileReceiver
from tests.support.sending import LOCAL, answer_of, answers_of, local_transport, request_to
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(5)

EMPTY = Responded(200, None, b"", False)


@pytest.fixture
def receiver() -> Iterator[HostileReceiver]:
    receiver = HostileReceiver()
    yield receiver
    receiver.close()


@pytest.fixture(params=[False, True], ids=["own sockets", "libcurl"])
def libcurl(request: pytest.FixtureRequest) -> bool:
    """Which carrier a test is for: each for both."""
    return bool(request.param)


@pytest.fixture
def transport(libcurl: bool) -> Iterator[Transport]:
    transport = local_transport(libcurl=libcurl)
    yield transport
    transport.close()


def open_descriptors() -> int:
    """How many files, sockets and the like this process holds."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.decision("Z16")
def test_exactly_the_given_headers_are_sent(transport: Transport, receiver: HostileReceiver) -> None:
    """A request holds the given headers, Host and Content-Length, and nothing that a library adds by itself."""
    request = request_to(f"http://127.0.0.1:{receiver.port}/ok?a=/../b", body=b'{"a":1}')
    assert answer_of(transport, request) == EMPTY
    head, _, body = receiver.requests[0].partition(b"\r\n\r\n")
    first, *headers = head.split(b"\r\n")
    assert (first, body) == (b"POST /ok?a=/../b HTTP/1.1", b'{"a":1}')
    own = [f"Host: 127.0.0.1:{receiver.port}".encode(), b"Content-Length: 7"]
    assert sorted(headers) == sorted([*request.headers, *own])


def test_no_header_of_a_library_without_a_content_type(transport: Transport, receiver: HostileReceiver) -> None:
    """A sender without a Content-Type has none, and a large body asks for no permission first."""
    request = request_to(f"http://127.0.0.1:{receiver.port}/ok", body=b"x" * 1_500_000)
    request.headers = [b"X-A: b"]
    assert answer_of(transport, request) == EMPTY
    names = {line.partition(b":")[0] for line in receiver.requests[0].partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]}
    assert names == {b"Host", b"Content-Length", b"X-A"}


@pytest.mark.parametrize("header", [b"X-A: b\r\nX-B: c", b"X-A: b\nX-B: c", b"X-A: b\r", b"X-A: b\0c"])
def test_headers_cannot_be_forged(transport: Transport, receiver: HostileReceiver, header: bytes) -> None:
    """A header with a line break is not sent."""
    request = request_to(f"http://127.0.0.1:{receiver.port}/ok")
    request.headers.append(header)
    answer = answer_of(transport, request)
    assert isinstance(answer, Unanswered)
    assert answer.kind == "local"
    assert receiver.requests == []


def test_the_environment_names_no_proxy(
    receiver: HostileReceiver, monkeypatch: pytest.MonkeyPatch, libcurl: bool
) -> None:
    """Proxies of the environment are ignored: a proxy would go where it likes."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    transport = local_transport(libcurl=libcurl)
    assert answer_of(transport, request_to(f"http://127.0.0.1:{receiver.port}/ok")) == EMPTY
    transport.close()


def test_nothing_is_sent_that_somebody_left_behind(
    receiver: HostileReceiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, libcurl: bool
) -> None:
    """No user name of a .netrc, no cookie that was set before, and nothing goes where an answer points to."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password something\n", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    transport = local_transport(libcurl=libcurl)
    for how in ("elsewhere", "unauthorised", "of-a-proxy", "ok"):
        assert isinstance(answer_of(transport, request_to(f"http://127.0.0.1:{receiver.port}/{how}")), Responded)
    transport.close()
    lines = [line for sent in receiver.requests for line in sent.split(b"\r\n")]
    names = {line.partition(b":")[0].lower() for line in lines}
    assert len(receiver.requests) == 4
    assert not names & {b"authorization", b"proxy-authorization", b"cookie"}


def test_connections_are_used_again(transport: Transport, receiver: HostileReceiver) -> None:
    """One request after another shares a connection; each has its own body and headers."""
    for number in range(20):
        request = request_to(f"http://127.0.0.1:{receiver.port}/ok-body", body=b"%d" % number)
        request.headers.append(b"X-Number: %d" % number)
        assert answer_of(transport, request) == Responded(200, None, b"hello", False)
    assert receiver.connections == 1
    assert all(
        b"X-Number: %d\r\n" % n in sent and sent.endswith(b"\r\n\r\n%d" % n) for n, sent in enumerate(receiver.requests)
    )


def test_sockets_are_not_left_behind(receiver: HostileReceiver, libcurl: bool) -> None:
    """However requests end, a closed transport holds no file descriptor."""
    before = open_descriptors()
    transport = local_transport(libcurl=libcurl)
    url = f"http://127.0.0.1:{receiver.port}"
    ways = ["ok", "close", "never", "huge-headers", "ok-until-close", "endless-body"]
    answers_of(transport, *[request_to(f"{url}/{how}", timeout_ms=200) for how in ways * 5])
    transport.start(request_to(f"{url}/never"))
    transport.work(0)
    transport.close()
    # c-ares gives its own back in another thread, and the receiver's ends of the connections are in this process.
    wait_until(lambda: open_descriptors() <= before, what="all descriptors are closed")


def test_cancelled_requests_are_closed_and_get_no_answer(transport: Transport, receiver: HostileReceiver) -> None:
    """What is cancelled is returned, is no longer in flight and its connection ends; the others go on."""
    url = f"http://127.0.0.1:{receiver.port}"
    for number in range(4):
        transport.start(request_to(f"{url}/never", timeout_ms=300, context=number))
    wait_until(lambda: transport.work(0.02) == [] and len(receiver.requests) == 4)
    cancelled = transport.cancel(lambda request: request.context in (1, 3))
    assert {request.context for request in cancelled} == {1, 3}
    assert transport.in_flight == 2
    assert {answered.request.context for answered in answers_of(transport)} == {0, 2}


def test_an_idle_transport_returns_at_once(transport: Transport) -> None:
    """Nothing in flight, nothing to wait for."""
    began = time.monotonic()
    assert transport.work(60) == []
    assert time.monotonic() - began < 30


def test_nobody_listening_is_told_from_other_failures(transport: Transport) -> None:
    """A closed port is `refused`; a port that takes no connection in time is `timeout_connect`."""
    with socket.socket() as closed, socket.socket() as full:
        closed.bind(("127.0.0.1", 0))
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        refused = answer_of(transport, request_to(f"http://127.0.0.1:{closed.getsockname()[1]}/"))
        timeout = answer_of(transport, request_to(f"http://127.0.0.1:{full.getsockname()[1]}/", timeout_ms=300))
        for filler in fillers:
            filler.close()
    assert isinstance(refused, Unanswered)
    assert refused.kind == "refused"
    assert timeout == Unanswered("timeout_connect", "no complete connection within 0.3 s")


def test_the_socket_checks_the_address_again(receiver: HostileReceiver, libcurl: bool) -> None:
    """An address that came past the resolver's check by whatever mistake is refused where it would be connected to."""
    strict = EgressPolicy(True, (), frozenset({ANY_PORT}))
    transport = Transport(strict, Resolver(LOCAL), connections=Connections(http2=libcurl))
    for host in ("127.0.0.1", "localhost"):
        answer = answer_of(transport, request_to(f"http://{host}:{receiver.port}/ok"))
        assert isinstance(answer, Unanswered)
        assert answer.kind == "blocked_address"
        assert "loopback" in answer.detail or "2000::/3" in answer.detail
    assert receiver.connections == 0
    transport.close()


def test_more_connections_than_select_can_see(receiver: HostileReceiver, libcurl: bool) -> None:
    """File descriptors above 1,023 are served like any other."""
    held = [os.dup(0) for _ in range(1_000)]
    try:
        transport = local_transport(libcurl=libcurl)
        url = f"http://127.0.0.1:{receiver.port}/ok"
        answered = answers_of(transport, *[request_to(url) for _ in range(100)])
        assert {each.answer for each in answered} == {EMPTY}
        transport.close()
    finally:
        for fd in held:
            os.close(fd)


@pytest.mark.parametrize("kind", [EpollReadiness, SelectReadiness])
def test_a_wake_ends_the_wait(kind: type[Readiness]) -> None:
    """What another thread has for the transport does not wait for the sockets to speak."""
    readiness: Readiness = EpollReadiness() if kind is EpollReadiness else SelectReadiness(pycurl.CurlMulti())
    waker = threading.Timer(0.05, readiness.wake)
    waker.start()
    began = time.monotonic()
    readiness.wait(30)
    assert time.monotonic() - began < 15
    waker.join()
    readiness.close()


def test_every_error_of_libcurl_has_a_kind() -> None:
    """Whatever code libcurl ends a request with, the failure is one of the known kinds, in printable words."""
    codes = {value for name, value in vars(pycurl).items() if name.startswith("E_") and not name.startswith("E_MULTI_")}
    for code in codes | set(range(1, 120)):
        answer = unanswered(code, 0, "\x1b[31m\r\n\N{SNOWMAN}" + "x" * 500)
        assert answer.kind in get_args(FailureKind)
        assert answer.detail.isascii()
        assert answer.detail.isprintable()
        assert len(answer.detail) <= 200
    assert kind_of(pycurl.E_PEER_FAILED_VERIFICATION, 0, verified=18) == "tls_untrusted"
    assert kind_of(pycurl.E_GOT_NOTHING, 0) == "reset"
    assert kind_of(pycurl.E_COULDNT_CONNECT, 0) == "unreachable"
    assert kind_of(pycurl.E_UNSUPPORTED_PROTOCOL, 0) == "protocol"
