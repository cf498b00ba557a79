"""The HTTP client sends exactly what it is given, to no other address, and leaves nothing open."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.delivery.http.client import HttpClient
from consumers.delivery.http.resolver import Resolver
from consumers.delivery.http.types import Response, TransportError
from schemas.network.egress import ANY_PORT, EgressPolicy
from tests.support.hostile import HostileReceiver
from tests.support.http_client import LOCAL, completed_of, local_client, poll, request_to, response_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(5)

EMPTY = Response(200, None, b"", False)


@pytest.fixture
def receiver() -> Iterator[HostileReceiver]:
    receiver = HostileReceiver()
    yield receiver
    receiver.close()


@pytest.fixture
def client() -> Iterator[HttpClient]:
    client = local_client()
    yield client
    client.close()


def open_descriptors() -> int:
    """Return the number of open descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.decision("Z16")
def test_exactly_the_given_headers_are_sent(client: HttpClient, receiver: HostileReceiver) -> None:
    """A request holds the given headers, Host and Content-Length, and nothing else."""
    request = request_to(f"http://127.0.0.1:{receiver.port}/ok?a=/../b", body=b'{"a":1}')
    assert response_of(client, request) == EMPTY
    head, _, body = receiver.requests[0].partition(b"\r\n\r\n")
    first, *headers = head.split(b"\r\n")
    assert (first, body) == (b"POST /ok?a=/../b HTTP/1.1", b'{"a":1}')
    own = [f"Host: 127.0.0.1:{receiver.port}".encode(), b"Content-Length: 7"]
    assert sorted(headers) == sorted([*request.headers, *own])


def test_client_adds_no_content_type_and_no_expect(client: HttpClient, receiver: HostileReceiver) -> None:
    """The client adds neither Content-Type nor Expect, even for a large body."""
    request = request_to(f"http://127.0.0.1:{receiver.port}/ok", body=b"x" * 1_500_000)
    request.headers = [b"X-A: b"]
    assert response_of(client, request) == EMPTY
    names = {line.partition(b":")[0] for line in receiver.requests[0].partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]}
    assert names == {b"Host", b"Content-Length", b"X-A"}


@pytest.mark.parametrize("header", [b"X-A: b\r\nX-B: c", b"X-A: b\nX-B: c", b"X-A: b\r", b"X-A: b\0c"])
def test_headers_cannot_be_forged(client: HttpClient, receiver: HostileReceiver, header: bytes) -> None:
    """A header with a line break is not sent."""
    request = request_to(f"http://127.0.0.1:{receiver.port}/ok")
    request.headers.append(header)
    result = response_of(client, request)
    assert isinstance(result, TransportError)
    assert result.kind == "local"
    assert receiver.requests == []


def test_proxies_of_the_environment_are_ignored(receiver: HostileReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies of the environment are ignored: they would bypass the check of addresses."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    client = local_client()
    assert response_of(client, request_to(f"http://127.0.0.1:{receiver.port}/ok")) == EMPTY
    client.close()


def test_no_credentials_cookies_or_redirects_are_used(
    receiver: HostileReceiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The client uses no .netrc, sends no cookies, and follows no redirect."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login somebody password something\n", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    client = local_client()
    for how in ("elsewhere", "unauthorised", "of-a-proxy", "ok"):
        assert isinstance(response_of(client, request_to(f"http://127.0.0.1:{receiver.port}/{how}")), Response)
    client.close()
    lines = [line for sent in receiver.requests for line in sent.split(b"\r\n")]
    names = {line.partition(b":")[0].lower() for line in lines}
    assert len(receiver.requests) == 4
    assert not names & {b"authorization", b"proxy-authorization", b"cookie"}


def test_connections_are_reused(client: HttpClient, receiver: HostileReceiver) -> None:
    """Consecutive requests share a connection; each has its own body and headers."""
    for number in range(20):
        request = request_to(f"http://127.0.0.1:{receiver.port}/ok-body", body=b"%d" % number)
        request.headers.append(b"X-Number: %d" % number)
        assert response_of(client, request) == Response(200, None, b"hello", False)
    assert receiver.connections == 1
    assert all(
        b"X-Number: %d\r\n" % n in sent and sent.endswith(b"\r\n\r\n%d" % n) for n, sent in enumerate(receiver.requests)
    )


def test_closed_client_leaves_no_descriptors(receiver: HostileReceiver) -> None:
    """A closed client holds no descriptor, however its requests ended."""
    before = open_descriptors()
    client = local_client()
    url = f"http://127.0.0.1:{receiver.port}"
    ways = ["ok", "close", "never", "huge-headers", "ok-until-close", "endless-body"]
    completed_of(client, *[request_to(f"{url}/{how}", timeout_ms=200) for how in ways * 5])
    client.start(request_to(f"{url}/never"))
    poll(client, 0)
    client.close()
    # c-ares closes its descriptors in another thread. The receiver's ends of the connections are in this process.
    wait_until(lambda: open_descriptors() <= before, what="all descriptors are closed")


def test_cancelled_requests_are_closed_without_an_outcome(client: HttpClient, receiver: HostileReceiver) -> None:
    """A cancelled request is returned, is no longer in flight and its connection is closed; the others continue."""
    url = f"http://127.0.0.1:{receiver.port}"
    for number in range(4):
        client.start(request_to(f"{url}/never", timeout_ms=300, context=number))
    wait_until(lambda: poll(client, 0.02) == [] and len(receiver.requests) == 4)
    cancelled = client.cancel_matching(lambda request: request.context in (1, 3))
    assert {request.context for request in cancelled} == {1, 3}
    assert client.in_flight == 2
    assert {completed.request.context for completed in completed_of(client)} == {0, 2}


def test_idle_client_returns_at_once(client: HttpClient) -> None:
    """With nothing in flight, `poll` does not wait."""
    began = time.monotonic()
    assert poll(client, 60) == []
    assert time.monotonic() - began < 30


def test_refused_and_silent_ports_are_different_errors(client: HttpClient) -> None:
    """A closed port is `refused`; a port that takes no connection in time is `timeout_connect`."""
    with socket.socket() as closed, socket.socket() as full:
        closed.bind(("127.0.0.1", 0))
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        refused = response_of(client, request_to(f"http://127.0.0.1:{closed.getsockname()[1]}/"))
        timeout = response_of(client, request_to(f"http://127.0.0.1:{full.getsockname()[1]}/", timeout_ms=300))
        for filler in fillers:
            filler.close()
    assert isinstance(refused, TransportError)
    assert refused.kind == "refused"
    assert timeout == TransportError("timeout_connect", "no complete connection within 0.3 s")


def test_address_is_checked_again_when_connecting(receiver: HostileReceiver) -> None:
    """An address that passed the resolver by mistake is refused when the client is about to connect to it."""
    strict = EgressPolicy(True, (), frozenset({ANY_PORT}))
    client = HttpClient(strict, Resolver(LOCAL))
    for host in ("127.0.0.1", "localhost"):
        result = response_of(client, request_to(f"http://{host}:{receiver.port}/ok"))
        assert isinstance(result, TransportError)
        assert result.kind == "blocked_address"
        assert "loopback" in result.detail or "2000::/3" in result.detail
    assert receiver.connections == 0
    client.close()


def test_descriptors_above_1023_work(receiver: HostileReceiver) -> None:
    """File descriptors above 1,023 are served like any other."""
    held = [os.dup(0) for _ in range(1_000)]
    try:
        client = local_client()
        url = f"http://127.0.0.1:{receiver.port}/ok"
        completed = completed_of(client, *[request_to(url) for _ in range(100)])
        assert {each.response for each in completed} == {EMPTY}
        client.close()
    finally:
        for fd in held:
            os.close(fd)
