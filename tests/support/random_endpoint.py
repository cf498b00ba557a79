"""Random names and endpoints, drawn from a seed, and invariants of the client's state."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Callable
from random import Random
from typing import Any, Final

from consumers.delivery.http.resolver import Addresses, Failed, Resolution

_OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_CHUNKED: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n"
_PIECES: Final = (
    _OK,
    b"HTTP/1.1 204 No\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"HTTP/1.1 2",
    _CHUNKED,
    _CHUNKED + b"abc\r\n0\r\n\r\n",
    b"0\r\n\r\n",
    b"HTTP/1.1 503 No\r\nRetry-After: 3\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 500 No\r\nContent-Length: 20\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nabc",
    b"junk",
    b"\r\n",
    b"x" * 70_000,
)
# Sent in place of a TLS record: a plain alert, and random bytes.
_NO_TLS: Final = (b"\x15\x03\x03\x00\x02\x02\x28", b"garbage!!!!")
_NOW: Final = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
# Sockets beyond the first of each connection that is being made (consumers/delivery/http/connector.py).
_FURTHER: Final = 64


class RandomResolver:
    """A resolver: every host has some of four addresses, none, or no answer yet. Some addresses are unreachable."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._asked: dict[str, None] = {}

    def wake_by(self, _wake: Callable[[], None]) -> None:
        """Do nothing: the test calls `poll`."""

    def lookup(self, host: str, _port: int, *, waits: bool = True) -> Resolution | None:
        """Return a random answer."""
        rng = self._rng
        drawn = rng.random()
        if drawn < 0.1:
            if waits:
                self._asked[host] = None
            return None
        if drawn < 0.12:
            return Failed("dns", "no")
        found = [f"127.0.0.{rng.randint(1, 4)}" for _ in range(rng.randint(1, 4))]
        found += rng.choice([[], [], ["fe80::1"], ["::1"], ["10.0.0.1"]])
        rng.shuffle(found)
        return Addresses(tuple(found))

    def has_hung(self, _host: str) -> bool:
        """Return False."""
        return False

    def ended(self) -> list[str]:
        """Return the hosts that were looked up."""
        hosts = list(self._asked)
        self._asked = {}
        return hosts

    def close(self) -> None:
        """Do nothing."""


class _Peer:
    """The peer of one connection, which acts at random."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.handshake_done = False

    def step(self, rng: Random) -> bool:
        """Run one random action, or none. Return False if the connection is closed."""
        if isinstance(self.connection, ssl.SSLSocket) and not self.handshake_done and rng.random() < 0.85:
            try:
                self.connection.do_handshake()
                self.handshake_done = True
            except _NOW:
                pass
            except OSError:
                self.connection.close()
                return False
        for _ in range(rng.randint(0, 2)):
            drawn = rng.random()
            # An action that is impossible now is skipped.
            with contextlib.suppress(OSError, ValueError):
                self._act(rng, drawn)
            if 0.66 <= drawn < 0.72:
                self.connection.close()
                return False
        return True

    def _act(self, rng: Random, drawn: float) -> None:
        connection = self.connection
        if drawn < 0.5:
            if connection.recv(rng.choice([100, 65_536, 65_536])) and rng.random() < 0.8:
                connection.send(_OK)
        elif drawn < 0.62:
            connection.send(rng.choice(_PIECES))
        elif drawn < 0.66:
            socket.socket.shutdown(connection, socket.SHUT_WR)
        elif drawn < 0.72:
            if rng.random() < 0.6:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if rng.random() < 0.3:
                connection.send(rng.choice(_PIECES))
        elif drawn < 0.74 and isinstance(connection, ssl.SSLSocket):
            self.connection = connection.unwrap()
        elif drawn < 0.76 and isinstance(connection, ssl.SSLSocket):
            with socket.socket(fileno=os.dup(connection.fileno())) as raw:
                raw.send(rng.choice(_NO_TLS))


class RandomEndpoint:
    """Listens at 127.0.0.1 and 127.0.0.2. Acts only in `step`, in the thread that calls it."""

    def __init__(self, rng: Random, tls: ssl.SSLContext | None = None) -> None:
        self._rng = rng
        self._tls = tls
        self._peers: list[_Peer] = []
        self._listeners: list[socket.socket] = []
        self.port = 0
        for address in ("127.0.0.1", "127.0.0.2"):
            listener = socket.socket()
            self._listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            listener.bind((address, self.port))
            listener.listen(rng.choice([0, 64]))
            listener.setblocking(False)
            self.port = listener.getsockname()[1]

    def step(self) -> None:
        """Accept connections or not, and let each one act or not."""
        for listener in self._listeners:
            if self._rng.random() < 0.6:
                with contextlib.suppress(OSError):
                    self._take(listener.accept()[0])
        self._peers = [peer for peer in self._peers if peer.step(self._rng)]

    def _take(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        if self._tls is not None and self._rng.random() < 0.95:
            try:
                connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            except OSError:  # the connection was reset
                connection.close()
                return
        self._peers.append(_Peer(connection))

    def close(self) -> None:
        """Close all connections and listeners."""
        for one in [*(peer.connection for peer in self._peers), *self._listeners]:
            one.close()


def connections_of(client: Any) -> int:
    """Return the number of connections of a client, in use and idle."""
    return len(client._connections)


def check_state(client: Any) -> None:
    """Assert that each request is in one place, each connection in use or idle, and all limits hold."""
    pool, connections, attempts = client._pool, client._connections, client._connector._attempts
    idle = set(pool._oldest)
    by_key = [connection for kept in pool._by_key.values() for connection in kept]
    assert idle == set(by_key)
    assert len(idle) == len(by_key)
    for descriptor, connection in connections.items():
        exchange = connection.exchange
        assert connection.fd == descriptor == connection.stream.fileno()
        assert (exchange is None) == (connection in idle)
        assert exchange is None or (exchange in client._open and exchange.connection is connection)
    for exchange in client._open:
        held = client._unconfirmed.get(exchange.request) is exchange
        places = (exchange.connection is not None, exchange in attempts, exchange in client._queue)
        assert sum(places) == 1 or (held and not any(places))
        assert exchange.connection is None or connections[exchange.connection.fd] is exchange.connection
    assert set(client._unconfirmed.values()) <= client._open.keys()
    connecting = {descriptor: exchange for exchange, attempt in attempts.items() for descriptor in attempt._open}
    assert connecting == client._connector._by_descriptor
    assert attempts.keys() <= client._open.keys()
    assert not connecting.keys() & connections.keys()
    assert len(set(client._queue)) == len(client._queue)
    assert len(connections) + len(attempts) <= client._options.max_connections
    assert len(connecting) - len(attempts) <= _FURTHER
