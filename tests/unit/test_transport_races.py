"""What an endpoint does at an awkward moment, and what the machine has none left of: each request gets its own end."""

from __future__ import annotations

import contextlib
import fcntl
import resource
import select
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

from consumers.delivery.answer import Answer, Responded, Unanswered
from consumers.delivery.connections import Connections
from consumers.delivery.endpoint import ClientIdentity
from consumers.delivery.transport import Transport
from schemas.failures import OURS
from tests.support.certificates import Authority
from tests.support.hostile import HostileReceiver
from tests.support.known_names import Names
from tests.support.listening import serve_each, stop_listening
from tests.support.parts import need
from tests.support.sending import LOCAL, answer_of, local_transport, request_to
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(5)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
NO = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
EARLY = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
IDLE = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
MOST = 20
# As many as are tried of one name.
SILENT = tuple(f"127.0.1.{number}" for number in range(1, 17))
# In a namespace of its own: all local ports are taken, then something is sent.
WITHOUT_PORTS = """
import socket, subprocess
from pathlib import Path
from tests.support.sending import answer_of, local_transport, request_to

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40009")
with socket.create_server(("127.0.0.1", 8080)):
    held = [socket.create_connection(("127.0.0.1", 8080)) for _ in range(10)]
    transport = local_transport()
    print(answer_of(transport, request_to("http://127.0.0.1:8080/")).kind)
    transport.close()
    for one in held:
        one.close()
"""


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Takes connections; what is not read of a body soon fills it up."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(10)
        yield listener


def url_of(listener: socket.socket, host: str = "127.0.0.1") -> str:
    """The URL of a listener."""
    return f"http://{host}:{listener.getsockname()[1]}/"


def status_of(answer: Answer) -> int | str:
    """Its status, or the kind of failure."""
    return answer.status if isinstance(answer, Responded) else answer.kind


def ends_of(transport: Transport) -> list[int | str]:
    """What comes of all that is open."""
    ends = []
    while transport.is_busy:
        ends += [status_of(answered.answer) for answered in transport.work(0.1)]
    return ends


def request_over(listener: socket.socket, transport: Transport) -> socket.socket:
    """Take the connection that the transport makes, until a request has come over it, with two bytes of body."""
    transport.work(0.0)
    connection, _ = listener.accept()
    connection.settimeout(0.02)
    taken = bytearray()

    def has_come() -> bool:
        transport.work(0.01)
        with contextlib.suppress(TimeoutError):
            taken.extend(connection.recv(4_096))
        return taken.endswith(b"{}")

    wait_until(has_come, what="a request has come")
    return connection


def sent_whole(connection: socket.socket) -> bool:
    """Whether the other machine has all that was sent, the end included."""
    return not struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0]


@pytest.mark.parametrize("libcurl", [False, True])
@pytest.mark.parametrize("used", [False, True], ids=["new", "used before"])
def test_an_answer_to_half_a_body_counts(listener: socket.socket, used: bool, libcurl: bool) -> None:
    """Who refuses a body before its end, and resets the connection, is heard, and gets the body once."""
    with contextlib.closing(local_transport(libcurl=libcurl)) as transport, contextlib.ExitStack() as closing:
        if used:
            transport.start(request_to(url_of(listener)))
            connection = closing.enter_context(request_over(listener, transport))
            connection.sendall(OK)
            assert ends_of(transport) == [200]
        transport.start(request_to(url_of(listener), body=b"x" * 12_000_000, timeout_ms=20_000))
        transport.work(0.0)
        if not used:
            connection = closing.enter_context(listener.accept()[0])
        connection.settimeout(0.02)
        wait_until(lambda: _reads(transport, connection), what="the body begins to come")
        connection.sendall(EARLY)
        connection.close()
        assert ends_of(transport) == [413]
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


def _reads(transport: Transport, connection: socket.socket) -> bool:
    transport.work(0.01)
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
            for answer in sent:
                going.write(answer) if speaking is None else speaking.write(answer)
            sent = [OK]
        connection.sendall(going.read())


@pytest.mark.parametrize("version", [None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["clear", "1.2", "1.3"])
def test_a_second_answer_is_not_that_to_the_next_request(tmp_path: Path, version: ssl.TLSVersion | None) -> None:
    """An endpoint that answers a request twice, in one packet: the next request gets its own answer."""
    authority = Authority(tmp_path)
    tls = None if version is None else authority.server("localhost")
    if tls is not None and version is not None:
        tls.minimum_version = tls.maximum_version = version
    listener = socket.create_server(("127.0.0.1", 0))
    serve_each(listener, lambda connection: answer_twice(connection, tls))
    url = f"{'http' if tls is None else 'https'}://localhost:{listener.getsockname()[1]}/"
    with contextlib.closing(local_transport(roots=str(authority.roots))) as transport:
        assert [status_of(answer_of(transport, request_to(url))) for _ in range(6)] == [200] * 6
    stop_listening(listener)


def test_what_an_idle_connection_said_is_no_answer_to_what_waited_for_a_name(listener: socket.socket) -> None:
    """A 408 over an idle connection comes with the name that a request waits for: it is sent over another one."""
    names = Names("127.0.0.1")
    with contextlib.closing(Transport(LOCAL, names)) as transport:
        transport.start(request_to(url_of(listener, "a.example.com")))
        with request_over(listener, transport) as idle:
            idle.sendall(OK)
            assert ends_of(transport) == [200]
            names.known = False
            assert transport.start(request_to(url_of(listener, "a.example.com")))
            transport.work(0.0)
            idle.sendall(IDLE)
            idle.shutdown(socket.SHUT_WR)
            wait_until(lambda: sent_whole(idle), what="the endpoint's last words are there")
            names.known, names.news = True, ["a.example.com"]
            assert transport.work(0.0) == []
            with request_over(listener, transport) as another:
                another.sendall(OK)
                assert ends_of(transport) == [200]


@pytest.fixture
def silent() -> Iterator[int]:
    """A port at which none of sixteen addresses takes a connection: their queues are full."""
    with contextlib.ExitStack() as closing:
        port = 0
        for address in SILENT:
            listener = closing.enter_context(socket.socket())
            listener.bind((address, port))
            listener.listen(0)
            port = listener.getsockname()[1]
            closing.enter_context(socket.create_connection((address, port), 10))
            assert select.select([listener], [], [], 10)[0]
        yield port


def test_names_with_many_addresses_do_not_use_up_what_may_be_open(silent: int) -> None:
    """Where none of sixteen addresses answers there are few sockets more than connections, and others are served."""
    receiver, later_s = HostileReceiver(), 0.0
    before = len(list(Path("/proc/self/fd").iterdir()))
    with contextlib.closing(
        Transport(
            LOCAL,
            Names(*SILENT),
            connections=Connections(most=MOST),
            monotonic=lambda: time.monotonic() + later_s,
        )
    ) as transport:
        for _ in range(MOST - 1):
            transport.start(request_to(f"http://silent.example.com:{silent}/", timeout_ms=60_000))
        for _ in range(20):
            later_s += 0.3
            assert transport.work(0.0) == []
        assert len(list(Path("/proc/self/fd").iterdir())) - before <= MOST + 64 + 3
        transport.start(request_to(f"http://127.0.0.1:{receiver.port}/ok"))
        wait_until(lambda: [status_of(each.answer) for each in transport.work(0.1)] == [200])
    receiver.close()


def test_without_a_descriptor_for_a_client_certificate_the_endpoint_is_not_to_blame(tmp_path: Path) -> None:
    """Where the process may open nothing more between the connection and its certificate, that is our own trouble."""
    authority = Authority(tmp_path)
    receiver = HostileReceiver(authority.server("localhost"))
    receiver.handshake.clear()
    request = request_to(f"https://127.0.0.1:{receiver.port}/ok")
    request.identity = ClientIdentity(*authority.client("a"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.closing(local_transport(roots=str(authority.roots))) as transport:
        transport.start(request)
        wait_until(lambda: receiver.connections)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))  # what is open stays so
        try:
            answered = [answer for _ in range(100) for answer in transport.work(0.1)]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    receiver.handshake.set()
    receiver.close()
    (answer,) = [each.answer for each in answered]
    assert isinstance(answer, Unanswered)
    assert answer.kind in OURS


def test_without_a_local_port_the_endpoint_is_not_to_blame() -> None:
    """Where all ports of this machine are taken that is our own trouble, and no failure of who was to be called."""
    need("netns")
    root = subprocess.run(["unshare", "-n", "-m", "true"], capture_output=True, check=False).returncode == 0
    unshare = ["unshare", *(() if root else ("-r",)), "-n", "-m"]
    command = [*unshare, sys.executable, "-c", WITHOUT_PORTS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] in OURS  # behind its log
