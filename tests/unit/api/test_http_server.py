"""The HTTP server of the API, over real sockets: what arrives before a request is known has limits."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from starlette.responses import PlainTextResponse

from deploy.roles import http_server
from deploy.roles.http_server import serve, url_of

GET = b"GET / HTTP/1.1\r\nHost: api\r\n\r\n"


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], socket.socket]]:
    """Return a function that connects to a server with short limits."""
    monkeypatch.setattr(http_server, "_HEAD_S", 0.3)
    monkeypatch.setattr(http_server, "_MAX_CONNECTIONS", 3)
    stopping = threading.Event()
    opened: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        arguments = PlainTextResponse("ok"), listening, stopping.is_set, timedelta(seconds=1)
        thread = threading.Thread(target=serve, args=arguments)
        thread.start()
        address = listening.getsockname()

        def connect() -> socket.socket:
            opened.append(socket.create_connection(address, timeout=10))
            return opened[-1]

        yield connect
        for one in opened:
            one.close()
        stopping.set()
        thread.join(10)
        assert not thread.is_alive()


def received(connection: socket.socket) -> bytes:
    """Return what a connection gets until the server closes it."""
    found = b""
    try:
        while part := connection.recv(65_536):
            found += part
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize(
    "sent", [b"", b"G", GET[:-2], GET[:-2] + b"X-Slow: 1"], ids=["nothing", "byte", "head", "header"]
)
def test_client_without_a_whole_head_is_cut_off(connect: Callable[[], socket.socket], sent: bytes) -> None:
    """A connection whose request line and headers do not arrive in time is closed without an answer."""
    connection = connect()
    connection.sendall(sent)
    assert received(connection) == b""


def test_endless_header_is_cut_off(connect: Callable[[], socket.socket]) -> None:
    """A head of more than 64 KiB ends the connection, before it fills the memory."""
    connection = connect()
    with contextlib.suppress(OSError):  # the server has closed the connection
        connection.sendall(GET[:-2] + b"X-Long: " + b"x" * 50_000_000)
    assert received(connection) == b""


def test_requests_of_one_connection_have_the_limit_each(connect: Callable[[], socket.socket]) -> None:
    """A connection may have many requests, whose heads together are longer than the limit."""
    connection = connect()
    for _ in range(10):
        connection.sendall(GET[:-2] + b"X-Long: " + b"x" * 20_000 + b"\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 OK")


def test_connections_beyond_the_limit_are_closed(connect: Callable[[], socket.socket]) -> None:
    """Idle connections cannot fill the process, and one that ends makes room for the next."""
    idle = [connect() for _ in range(3)]
    for one in idle:
        one.sendall(GET)
        assert one.recv(65_536).startswith(b"HTTP/1.1 200 OK")
    refused = connect()
    assert received(refused) == b""
    idle[0].close()

    def answered() -> bool:
        other = connect()
        try:
            other.sendall(GET)
            return other.recv(65_536).startswith(b"HTTP/1.1 200 OK")
        except OSError:
            return False

    assert any(answered() for _ in range(100))


def test_url_has_brackets_around_ipv6() -> None:
    """The URL of a listening socket has its actual port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert url_of(listening) == f"http://127.0.0.1:{listening.getsockname()[1]}"
    if socket.has_dualstack_ipv6():
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
            assert url_of(listening) == f"http://[::1]:{listening.getsockname()[1]}"
