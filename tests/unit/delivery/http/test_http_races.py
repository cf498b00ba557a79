"""Races with endpoints, and a machine without resources: each request gets its own outcome."""

from __future__ import annotations

import contextlib
import fcntl
import resource
import selectors
import socket
import ssl
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.delivery.http.client import HttpClient
from consumers.delivery.http.options import ClientOptions
from consumers.delivery.http.types import ClientIdentity, Response, ResponseOrError, TransportError
from schemas.catalog.failures import OURS
from tests.support.certificates import Authority
from tests.support.fixed_resolver import FixedResolver
from tests.support.hostile import HostileReceiver
from tests.support.http_client import LOCAL, local_client, poll, request_to, response_of
from tests.support.listening import serve_each, stop_listening
from tests.support.parts import need
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(5)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
NO = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
EARLY = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
IDLE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
MOST = 20
# The resolver returns at most this many addresses of a name.
SILENT = tuple(f"127.0.1.{number}" for number in range(1, 17))
# Runs in its own network namespace: takes all local ports, then sends a request.
WITHOUT_PORTS = """
import socket, subprocess
from pathlib import Path
from tests.support.http_client import response_of, local_client, request_to, poll

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40009")
with socket.create_server(("127.0.0.1", 8080)):
    held = [socket.create_connection(("127.0.0.1", 8080)) for _ in range(10)]
    client = local_client()
    print(response_of(client, request_to("http://127.0.0.1:8080/")).kind)
    client.close()
    for one in held:
        one.close()
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listener with a small buffer, which an unread body fills soon."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(10)
        yield listener


def url_of(listener: socket.socket, host: str = "127.0.0.1") -> str:
    """The URL of a listener."""
    return f"http://{host}:{listener.getsockname()[1]}/"


def status_of(result: ResponseOrError) -> int | str:
    """Return the status of a response, or the kind of failure."""
    return result.status if isinstance(result, Response) else result.kind


def ends_of(client: HttpClient) -> list[int | str]:
    """Return how all open requests end."""
    ends = []
    while client.is_busy:
        ends += [status_of(completed.response) for completed in poll(client, 0.1)]
    return ends


def request_over(listener: socket.socket, client: HttpClient) -> socket.socket:
    """Take the connection that the client makes, until a request has come over it, with two bytes of body."""
    poll(client, 0.0)
    connection, _ = listener.accept()
    connection.settimeout(0.02)
    taken = bytearray()

    def has_come() -> bool:
        poll(client, 0.01)
        with contextlib.suppress(TimeoutError):
            taken.extend(connection.recv(4_096))
        return taken.endswith(b"{}")

    wait_until(has_come, what="a request has come")
    return connection


def sent_whole(connection: socket.socket) -> bool:
    """Return whether the other side has acknowledged all that was sent, FIN included."""
    return not struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0]


@pytest.mark.parametrize("used", [False, True], ids=["new", "used before"])
def test_response_to_half_a_body_counts(listener: socket.socket, used: bool) -> None:
    """An endpoint that refuses half a body and resets the connection has responded, and gets the body once."""
    with contextlib.closing(local_client()) as client, contextlib.ExitStack() as closing:
        if used:
            client.start(request_to(url_of(listener)))
            connection = closing.enter_context(request_over(listener, client))
            connection.sendall(OK)
            assert ends_of(client) == [200]
        client.start(request_to(url_of(listener), body=b"x" * 12_000_000, timeout_ms=20_000))
        poll(client, 0.0)
        if not used:
            connection = closing.enter_context(listener.accept()[0])
        connection.settimeout(0.02)
        wait_until(lambda: _reads(client, connection), what="the body begins to come")
        connection.sendall(EARLY)
        connection.close()
        assert ends_of(client) == [413]
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


def _reads(client: HttpClient, connection: socket.socket) -> bool:
    poll(client, 0.01)
    with contextlib.suppress(TimeoutError):
        return bool(connection.recv(1_000))
    return False


def answer_twice(connection: socket.socket, tls: ssl.SSLContext | None) -> None:
    """Answer the first request of a connection with 200 and, in one packet with that, 500; then with 200."""
    come, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    speaking = tls.wrap_bio(come, going, server_side=True) if tls else None
    has_shaken, sent = speaking is None, [OK, NO]
    while data := connection.recv(65_536):
        if speaking is not None:
            come.write(data)
            with contextlib.suppress(ssl.SSLWantReadError):
                if not has_shaken:
                    speaking.do_handshake()
                    has_shaken = True
                data = b""
                while True:
                    data += speaking.read(65_536)
        if data.endswith(b"\r\n\r\n{}"):
            for response in sent:
                going.write(response) if speaking is None else speaking.write(response)
            sent = [OK]
        connection.sendall(going.read())


@pytest.mark.parametrize("version", [None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["clear", "1.2", "1.3"])
def test_second_response_is_not_taken_for_the_next_request(tmp_path: Path, version: ssl.TLSVersion | None) -> None:
    """If an endpoint responds twice in one packet, the next request gets its own response."""
    authority = Authority(tmp_path)
    tls = None if version is None else authority.server("localhost")
    if tls is not None and version is not None:
        tls.minimum_version = tls.maximum_version = version
    listener = socket.create_server(("127.0.0.1", 0))
    serve_each(listener, lambda connection: answer_twice(connection, tls))
    url = f"{'http' if tls is None else 'https'}://localhost:{listener.getsockname()[1]}/"
    with contextlib.closing(local_client(roots=str(authority.roots))) as client:
        assert [status_of(response_of(client, request_to(url))) for _ in range(6)] == [200] * 6
    stop_listening(listener)


def test_late_bytes_are_not_a_response_to_a_request_that_waited_for_dns(listener: socket.socket) -> None:
    """If an idle connection gets a 408 while a request waits for its name, the request is sent over another one."""
    resolver = FixedResolver("127.0.0.1")
    with contextlib.closing(HttpClient(LOCAL, resolver)) as client:
        client.start(request_to(url_of(listener, "a.example.com")))
        with request_over(listener, client) as idle:
            idle.sendall(OK)
            assert ends_of(client) == [200]
            resolver.known = False
            assert client.start(request_to(url_of(listener, "a.example.com")))
            poll(client, 0.0)
            idle.sendall(IDLE)
            idle.shutdown(socket.SHUT_WR)
            wait_until(lambda: sent_whole(idle), what="the endpoint's last words are there")
            resolver.known, resolver.news = True, ["a.example.com"]
            assert poll(client, 0.0) == []
            with request_over(listener, client) as another:
                another.sendall(OK)
                assert ends_of(client) == [200]


@pytest.fixture
def silent() -> Iterator[int]:
    """A port on which sixteen addresses accept no connection, because their queues are full."""
    with contextlib.ExitStack() as closing:
        port = 0
        for address in SILENT:
            listener = closing.enter_context(socket.socket())
            listener.bind((address, port))
            listener.listen(0)
            port = listener.getsockname()[1]
            closing.enter_context(socket.create_connection((address, port), 10))
            with selectors.DefaultSelector() as selector:  # `select` refuses descriptors from 1,024 on
                selector.register(listener, selectors.EVENT_READ)
                assert selector.select(10)
        yield port


def test_names_with_many_addresses_do_not_use_up_descriptors(silent: int) -> None:
    """With sixteen silent addresses there are few sockets beyond the connections, and other requests are served."""
    receiver, later_s = HostileReceiver(), 0.0
    before = len(list(Path("/proc/self/fd").iterdir()))
    with contextlib.closing(
        HttpClient(
            LOCAL,
            FixedResolver(*SILENT),
            options=ClientOptions(max_connections=MOST),
            monotonic=lambda: time.monotonic() + later_s,
        )
    ) as client:
        for _ in range(MOST - 1):
            client.start(request_to(f"http://silent.example.com:{silent}/", timeout_ms=60_000))
        for _ in range(20):
            later_s += 0.3
            assert poll(client, 0.0) == []
        assert len(list(Path("/proc/self/fd").iterdir())) - before <= MOST + 64 + 3
        client.start(request_to(f"http://127.0.0.1:{receiver.port}/ok"))
        wait_until(lambda: [status_of(each.response) for each in poll(client, 0.1)] == [200])
    receiver.close()


def test_no_descriptor_for_a_client_certificate_is_our_error(tmp_path: Path) -> None:
    """A process without a free descriptor for the client certificate reports an error of its own."""
    authority = Authority(tmp_path)
    receiver = HostileReceiver(authority.server("localhost"))
    receiver.handshake.clear()
    request = request_to(f"https://127.0.0.1:{receiver.port}/ok")
    request.identity = ClientIdentity(*authority.client("a"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.closing(local_client(roots=str(authority.roots))) as client:
        client.start(request)
        wait_until(lambda: receiver.connections)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))  # open descriptors stay open
        try:
            completed = [result for _ in range(100) for result in poll(client, 0.1)]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    receiver.handshake.set()
    receiver.close()
    (result,) = [each.response for each in completed]
    assert isinstance(result, TransportError)
    assert result.kind in OURS


def test_no_local_port_is_our_error() -> None:
    """If all local ports are taken, the client reports an error of its own."""
    need("netns")
    root = subprocess.run(["unshare", "-n", "-m", "true"], capture_output=True, check=False).returncode == 0
    unshare = ["unshare", *(() if root else ("-r",)), "-n", "-m"]
    command = [*unshare, sys.executable, "-c", WITHOUT_PORTS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] in OURS  # after its log lines
