"""A connection that is made: what can be sent and received without waiting."""

from __future__ import annotations

import select
import socket
import ssl
from typing import Any, Final, TypeAlias

from consumers.delivery.answer import ClientIdentity
from consumers.delivery.connections import Connections

READ: Final = 64 * 1024
# What `recv` and `send` raise where nothing has come, or nothing can be sent.
NOT_NOW: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
# What an epoll tells of a connection that the other side has ended.
ENDED: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
# Scheme, host, port, and the client certificate that is shown: only what is equal in all shares connections.
Key: TypeAlias = tuple[str, str, int, ClientIdentity | None]


class Link:
    """One connection. `work` is what uses it now: a request of the carrier's, or None while it waits in the pool."""

    __slots__ = (
        "_idle_s",
        "_last_s",
        "_socket",
        "_stale_s",
        "fd",
        "is_secure",
        "key",
        "recv",
        "send",
        "shaken",
        "used",
        "work",
    )

    def __init__(self, connection: socket.socket | ssl.SSLSocket, key: Key, limits: Connections, now: float) -> None:
        self._socket = connection
        self._idle_s = limits.idle_s
        self._last_s = now + limits.lifetime_s
        self._stale_s = self._last_s
        self.key = key
        self.fd = connection.fileno()
        self.is_secure = isinstance(connection, ssl.SSLSocket)
        self.shaken = not self.is_secure
        self.used = False  # a request has been answered over it
        self.work: Any = None
        self.send = connection.send
        self.recv = connection.recv

    def shake(self) -> bool:
        """Go on with the handshake; True: it is done. OSError (ssl.SSLError is one) if it fails."""
        assert isinstance(self._socket, ssl.SSLSocket)
        try:
            self._socket.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        self.shaken = True
        return True

    @property
    def secured(self) -> ssl.SSLSocket:
        """The socket, of TLS."""
        assert isinstance(self._socket, ssl.SSLSocket)
        return self._socket

    def receive(self) -> bytes | None:
        """Return what has come, b"" at the end, None if nothing has; OSError."""
        try:
            return self.recv(READ)
        except NOT_NOW:
            return None

    def transmit(self, data: bytes | memoryview) -> int:
        """Send what can be sent; return how much that was; OSError."""
        try:
            return self.send(data)
        except NOT_NOW:
            return 0

    def rests(self, now: float) -> None:
        """Note that it is idle from now on."""
        self.work = None
        self.used = True
        stale_s = now + self._idle_s
        self._stale_s = stale_s if stale_s < self._last_s else self._last_s

    def is_stale(self, now: float) -> bool:
        """Whether it has been idle, or there, for too long to be used."""
        return now > self._stale_s

    def has_ended(self, mask: int) -> bool:
        """Look at what happened while it waited: it is used no more, but for what TLS says of itself."""
        if mask & ENDED or not mask & select.EPOLLIN:
            return bool(mask & ENDED)
        try:
            return not self.is_secure or self.receive() is not None
        except OSError:
            return True

    def holds_more(self) -> bool:
        """Whether more came than was asked for; TLS is read by records, and no edge tells of those behind."""
        return self.is_secure and self.has_ended(select.EPOLLIN)

    def close(self) -> None:
        """End the connection."""
        self._socket.close()
