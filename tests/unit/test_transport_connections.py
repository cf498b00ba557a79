"""Connections: as few as serve, never more than allowed, and of HTTP/2 where that is wanted."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import certifi
import pytest

from consumers.delivery.connections import Connections, trusted_roots
from consumers.delivery.resolver import Resolver
from consumers.delivery.transport import Responded, Transport, Unanswered
from tests.support.certificates import Authority
from tests.support.dns import DnsServer
from tests.support.hostile import HostileReceiver
from tests.support.parts import need
from tests.support.sending import LOCAL, answer_of, answers_of, request_to
from tests.support.waiting import wait_until

EMPTY = Responded(200, None, b"", False)
# An HTTP/2 server that says how many connections it has seen, and refuses what is not HTTP/2.
NODE = """
const http2 = require('http2'), fs = require('fs');
let sessions = 0;
const file = process.argv[1];
const server = http2.createSecureServer({key: fs.readFileSync(file), cert: fs.readFileSync(file), allowHTTP1: true});
server.on('session', () => { sessions += 1; });
server.on('request', (request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    if (request.url.endsWith('/later')) response.writeHead(503, {'retry-after': '120'});
    response.end(`${request.httpVersion} ${sessions} ${Buffer.concat(chunks).length}`);
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.resume(); process.stdin.on('end', () => process.exit(0));
"""


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    server = DnsServer(
        lambda name, _times: ["127.0.0.9", "127.0.0.1"] if name.startswith("two") else ["127.0.0.1"], ttl=60
    )
    yield server
    server.close()


@contextlib.contextmanager
def transport_with(dns: DnsServer, connections: Connections) -> Iterator[Transport]:
    """A transport of these connections."""
    transport = Transport(LOCAL, Resolver(LOCAL, [dns.address]), connections=connections)
    yield transport
    transport.close()


def sockets() -> int:
    """How many sockets this process has open."""
    return sum(1 for fd in Path("/proc/self/fd").iterdir() if "socket:" in str(_target(fd)))


def _target(fd: Path) -> Path | None:
    with contextlib.suppress(OSError):
        return fd.readlink()
    return None


@pytest.mark.parametrize("libcurl", [False, True])
@pytest.mark.parametrize("hosts", [300, pytest.param(3_000, marks=pytest.mark.long)])
def test_thousands_of_hosts_share_few_connections(dns: DnsServer, hosts: int, libcurl: bool) -> None:
    """However many hosts are called, no more connections are open than allowed, and nobody waits for an idle one."""
    receiver = HostileReceiver()
    with transport_with(dns, Connections(most=40, http2=libcurl)) as transport:
        before, most, answered = sockets(), 0, 0
        for first in range(0, hosts, 30):
            urls = [f"http://host-{n}.example.com:{receiver.port}/ok" for n in range(first, first + 30)]
            answered += sum(each.answer == EMPTY for each in answers_of(transport, *map(request_to, urls)))
            most = max(most, sockets() - before)
    assert answered == receiver.connections == hosts
    # The receiver's ends are in this process, too, and some of those that ended are not closed yet.
    assert 40 < most < 40 * 4
    receiver.close()


@pytest.mark.parametrize("libcurl", [False, True])
def test_more_requests_than_connections_take_turns(dns: DnsServer, libcurl: bool) -> None:
    """Requests beyond the connections that are allowed wait for one, and none is lost."""
    receiver = HostileReceiver()
    with transport_with(dns, Connections(most=4, http2=libcurl)) as transport:
        urls = [f"http://host-{n % 7}.example.com:{receiver.port}/ok" for n in range(60)]
        assert [each.answer for each in answers_of(transport, *map(request_to, urls))] == [EMPTY] * 60
    receiver.close()


def test_what_waits_for_a_connection_fails_in_its_turn(dns: DnsServer) -> None:
    """A thousand requests that wait for the only connection and find nobody listening each fail as that."""
    with socket.socket() as closed, transport_with(dns, Connections(most=1)) as transport:
        closed.bind(("127.0.0.1", 0))
        urls = [f"http://gone.example.com:{closed.getsockname()[1]}/"] * 1_000
        answered = answers_of(transport, *[request_to(url, timeout_ms=60_000) for url in urls], deadline_s=60)
    assert {each.answer.kind for each in answered if isinstance(each.answer, Unanswered)} == {"refused"}
    assert len(answered) == 1_000


@pytest.mark.parametrize("libcurl", [False, True])
@pytest.mark.parametrize("limit", ["lifetime_s", "idle_s"])
def test_a_connection_is_kept_for_so_long_and_no_longer(
    dns: DnsServer, limit: Literal["lifetime_s", "idle_s"], libcurl: bool
) -> None:
    """A connection that is used all the time ends as well, so that a name that has moved is followed."""
    receiver = HostileReceiver()
    request = request_to(f"http://moved.example.com:{receiver.port}/ok")
    with transport_with(dns, Connections(http2=libcurl, **{limit: 1})) as transport:

        def made_anew() -> bool:
            assert answer_of(transport, request) == EMPTY
            return receiver.connections > 1

        if limit == "lifetime_s":
            wait_until(made_anew, what="another connection is made")
        else:
            assert answer_of(transport, request) == EMPTY
            began = time.monotonic()
            wait_until(lambda: time.monotonic() - began > 2.5, what="the connection has been idle for long")
            assert made_anew()
    receiver.close()


@pytest.mark.parametrize("libcurl", [False, True])
@pytest.mark.parametrize("how", ["ok", "ok-and-close"])
def test_a_process_without_requests_holds_no_connections_for_long(libcurl: bool, how: str) -> None:
    """What nobody uses is closed after its time, or once the receiver has ended it, though no request ever follows."""
    receiver, now, before = HostileReceiver(), [1_000.0], sockets()
    connections = Connections(http2=libcurl)
    transport = Transport(LOCAL, Resolver(LOCAL), connections=connections, monotonic=lambda: now[0])
    url = f"http://127.0.0.1:{receiver.port}/{how}"
    for _ in range(2):
        assert {each.answer for each in answers_of(transport, *[request_to(url) for _ in range(10)])} == {EMPTY}
        now[0] += connections.idle_s + 1

        def are_closed() -> bool:
            transport.tidy()
            return sockets() == before

        wait_until(are_closed, what="both ends of all connections are closed")
    transport.close()
    receiver.close()


@pytest.mark.parametrize("libcurl", [False, True])
def test_another_address_is_tried_where_one_does_not_answer(dns: DnsServer, libcurl: bool) -> None:
    """A name with several addresses is reached although one of them takes no connection."""
    receiver = HostileReceiver()
    with contextlib.ExitStack() as closing:
        silent = closing.enter_context(socket.socket())
        silent.bind(("127.0.0.9", receiver.port))
        silent.listen(0)
        for _ in range(3):  # its queue is full: whoever comes now hears nothing
            filler = closing.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(silent.getsockname())
        transport = closing.enter_context(transport_with(dns, Connections(http2=libcurl)))
        urls = [f"http://two-{n}.example.com:{receiver.port}/ok" for n in range(10)]
        assert {
            each.answer for each in answers_of(transport, *[request_to(url, timeout_ms=10_000) for url in urls])
        } == {EMPTY}
    receiver.close()


@pytest.fixture
def http2(tmp_path: Path) -> Iterator[tuple[Authority, str]]:
    """A server that speaks HTTP/2: its authority and URL."""
    need("node")
    authority = Authority(tmp_path)
    file = authority.server_file("h2.example.com")
    with subprocess.Popen(
        ["node", "-e", NODE, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield authority, f"https://h2.example.com:{process.stdout.readline().strip()}"
        process.kill()


@pytest.mark.parametrize(("wanted", "version"), [(False, b"1.1"), (True, b"2.0")])
def test_http2_is_offered_where_it_is_wanted(
    dns: DnsServer, http2: tuple[Authority, str], wanted: bool, version: bytes
) -> None:
    """With `http2` a receiver that speaks it gets HTTP/2, with bodies of any size; without, HTTP/1.1 as ever."""
    authority, url = http2
    with transport_with(dns, Connections(roots=str(authority.roots), http2=wanted)) as transport:
        for size in (2, 300_000):
            answer = answer_of(transport, request_to(f"{url}/", body=b"x" * size))
            assert answer == Responded(200, None, b"%b %d %d" % (version, 1 if wanted else 0, size), False)
        answered = answers_of(transport, *[request_to(f"{url}/{n}", timeout_ms=20_000) for n in range(200)])
        assert {each.answer.status for each in answered if isinstance(each.answer, Responded)} == {200}
        if wanted:
            assert isinstance(answered[-1].answer, Responded)
            assert int(answered[-1].answer.body.split()[1]) < 20  # streams share connections
        later = answer_of(transport, request_to(f"{url}/later"))
        assert isinstance(later, Responded)
        assert (later.status, later.retry_after) == (503, "120")


def test_without_roots_of_the_system_those_of_certifi_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where OpenSSL's file of authorities is not there, as in Debian without SSL_CERT_FILE, certifi's is taken."""
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file")

    assert trusted_roots() == certifi.where()
