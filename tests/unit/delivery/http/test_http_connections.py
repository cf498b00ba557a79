"""Connections: reused, limited in number, closed in time."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import certifi
import pytest

from consumers.delivery.http.client import HttpClient
from consumers.delivery.http.options import ClientOptions, trusted_roots
from consumers.delivery.http.resolver import Resolver
from consumers.delivery.http.types import Response, TransportError
from tests.support.dns import DnsServer
from tests.support.hostile import HostileReceiver
from tests.support.http_client import LOCAL, completed_of, request_to, response_of
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(5)

EMPTY = Response(200, None, b"", False)


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    server = DnsServer(
        lambda name, _times: ["127.0.0.9", "127.0.0.1"] if name.startswith("two") else ["127.0.0.1"], ttl=60
    )
    yield server
    server.close()


@contextlib.contextmanager
def client_with(dns: DnsServer, connections: ClientOptions) -> Iterator[HttpClient]:
    """Return a client with these options."""
    client = HttpClient(LOCAL, Resolver(LOCAL, [dns.address]), options=connections)
    yield client
    client.close()


def sockets() -> int:
    """Return the number of open sockets of this process."""
    return sum(1 for fd in Path("/proc/self/fd").iterdir() if "socket:" in str(_target(fd)))


def _target(fd: Path) -> Path | None:
    with contextlib.suppress(OSError):
        return fd.readlink()
    return None


@pytest.mark.parametrize("hosts", [300, pytest.param(3_000, marks=pytest.mark.long)])
def test_thousands_of_hosts_share_few_connections(dns: DnsServer, hosts: int) -> None:
    """With any number of hosts the limit of connections holds, and idle connections do not delay a request."""
    receiver = HostileReceiver()
    with client_with(dns, ClientOptions(max_connections=40)) as client:
        before, most, completed = sockets(), 0, 0
        for first in range(0, hosts, 30):
            urls = [f"http://host-{n}.example.com:{receiver.port}/ok" for n in range(first, first + 30)]
            completed += sum(each.response == EMPTY for each in completed_of(client, *map(request_to, urls)))
            most = max(most, sockets() - before)
    assert completed == receiver.connections == hosts
    # The receiver's ends are in this process as well, and some are not closed yet.
    assert 40 < most < 40 * 4
    receiver.close()


def test_more_requests_than_connections_take_turns(dns: DnsServer) -> None:
    """Requests beyond the limit of connections wait for one, and all are completed."""
    receiver = HostileReceiver()
    with client_with(dns, ClientOptions(max_connections=4)) as client:
        urls = [f"http://host-{n % 7}.example.com:{receiver.port}/ok" for n in range(60)]
        assert [each.response for each in completed_of(client, *map(request_to, urls))] == [EMPTY] * 60
    receiver.close()


def test_requests_that_wait_for_a_connection_fail_in_turn(dns: DnsServer) -> None:
    """A thousand requests that wait for the only connection to a closed port are each `refused`."""
    with socket.socket() as closed, client_with(dns, ClientOptions(max_connections=1)) as client:
        closed.bind(("127.0.0.1", 0))
        urls = [f"http://gone.example.com:{closed.getsockname()[1]}/"] * 1_000
        completed = completed_of(client, *[request_to(url, timeout_ms=60_000) for url in urls], deadline_s=60)
    assert {each.response.kind for each in completed if isinstance(each.response, TransportError)} == {"refused"}
    assert len(completed) == 1_000


@pytest.mark.parametrize("limit", ["lifetime_s", "idle_s"])
def test_connections_end_after_their_lifetime_or_idle_time(
    dns: DnsServer, limit: Literal["lifetime_s", "idle_s"]
) -> None:
    """A connection in constant use ends as well, so that the client follows a name to its new address."""
    receiver = HostileReceiver()
    request = request_to(f"http://moved.example.com:{receiver.port}/ok")
    with client_with(dns, ClientOptions(**{limit: 1})) as client:

        def has_new_connection() -> bool:
            assert response_of(client, request) == EMPTY
            return receiver.connections > 1

        if limit == "lifetime_s":
            wait_until(has_new_connection, what="another connection is made")
        else:
            assert response_of(client, request) == EMPTY
            began = time.monotonic()
            wait_until(lambda: time.monotonic() - began > 2.5, what="the connection has been idle for long")
            assert has_new_connection()
    receiver.close()


@pytest.mark.parametrize("how", ["ok", "ok-and-close"])
def test_tidy_closes_idle_connections(how: str) -> None:
    """An idle connection is closed after its time, or once the endpoint has ended it, without a further request."""
    receiver, now, before = HostileReceiver(), [1_000.0], sockets()
    connections = ClientOptions()
    client = HttpClient(LOCAL, Resolver(LOCAL), options=connections, monotonic=lambda: now[0])
    url = f"http://127.0.0.1:{receiver.port}/{how}"
    for _ in range(2):
        assert {each.response for each in completed_of(client, *[request_to(url) for _ in range(10)])} == {EMPTY}
        now[0] += connections.idle_s + 1

        def are_closed() -> bool:
            client.tidy()
            return sockets() == before

        wait_until(are_closed, what="both ends of all connections are closed")
    client.close()
    receiver.close()


def test_next_address_is_tried_if_one_is_silent(dns: DnsServer) -> None:
    """A name with several addresses is reached although one of them takes no connection."""
    receiver = HostileReceiver()
    with contextlib.ExitStack() as closing:
        silent = closing.enter_context(socket.socket())
        silent.bind(("127.0.0.9", receiver.port))
        silent.listen(0)
        for _ in range(3):  # fills its queue: further connections get no answer
            filler = closing.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(silent.getsockname())
        client = closing.enter_context(client_with(dns, ClientOptions()))
        urls = [f"http://two-{n}.example.com:{receiver.port}/ok" for n in range(10)]
        assert {
            each.response for each in completed_of(client, *[request_to(url, timeout_ms=10_000) for url in urls])
        } == {EMPTY}
    receiver.close()


def test_certifi_is_the_fallback_for_missing_system_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    """If OpenSSL's file of authorities is missing, as on Debian without SSL_CERT_FILE, certifi's is used."""
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file")

    assert trusted_roots() == certifi.where()
