"""One connection: non-blocking send and receive."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from consumers.delivery.http.options import ClientOptions
from consumers.delivery.http.readiness import ENDED, READABLE
from consumers.delivery.http.types import ClientIdentity

if TYPE_CHECKING:
    from consumers.delivery.http.exchange import Exchange

READ_SIZE: Final = 64 * 1024
# `recv` and `send` raise these if there is no data yet, or if nothing can be sent now.
WOULD_BLOCK: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
# Scheme, host, port, client certificate: requests share a connection only if all four are equal.
Key: TypeAlias = tuple[str, str, int, ClientIdentity | None]
# TLS with the proxy, CONNECT, TLS with the endpoint, then requests.
Phase: TypeAlias = Literal["proxy", "tunnel", "tls", "ready"]


class Connection:
    """A connection. `exchange` is the request that uses it; None while the connection is idle in the pool.

    `handshake` is the handshake under way, if any. `used`: a request got its response over this connection.
    """

    __slots__ = (
        "_expires_s",
        "_idle_limit_s",
        "_stale_s",
        "_stream",
        "exchange",
        "fd",
        "handshake",
        "is_secure",
        "key",
        "phase",
        "recv",
        "send",
        "used",
    )

    def __init__(self, connected: socket.socket, key: Key, options: ClientOptions, now: float) -> None:
        self._stream: Any = connected
        self._idle_limit_s = options.idle_s
        self._expires_s = now + options.lifetime_s
        self._stale_s = self._expires_s
        self.key = key
        self.fd = connected.fileno()
        self.is_secure = False
        self.phase: Phase = "ready"
        self.handshake: Iterator[bool] | None = None
        self.used = False
        self.exchange: Exchange | None = None
        self.send = self._stream.send
        self.recv = self._stream.recv

    @property
    def stream(self) -> Any:
        """A socket, an ssl.SSLSocket, or a TlsInTls."""
        return self._stream

    def replace_stream(self, stream: Any) -> None:
        """Send and receive through TLS from now on."""
        self._stream = stream
        self.is_secure = True
        self.send = stream.send
        self.recv = stream.recv

    def try_receive(self, size: int = READ_SIZE) -> bytes | None:
        """Return data, b"" at the end, None if there is no data yet; OSError."""
        try:
            data: bytes = self.recv(size)
        except WOULD_BLOCK:
            return None
        return data

    def try_send(self, data: bytes | memoryview) -> int:
        """Send as much as possible now; return the number of bytes sent; OSError."""
        try:
            sent: int = self.send(data)
        except WOULD_BLOCK:
            return 0
        return sent

    def become_idle(self, now: float) -> None:
        """Free the connection for the next request: a response is complete."""
        self.exchange = None
        self.used = True
        stale_s = now + self._idle_limit_s
        self._stale_s = stale_s if stale_s < self._expires_s else self._expires_s

    def is_stale(self, now: float) -> bool:
        """Whether it is too old, or has been idle for too long, to be used."""
        return now > self._stale_s

    def has_ended(self, events: int) -> bool:
        """Whether these events make an idle connection unusable. Only messages of TLS itself are harmless."""
        if events & ENDED:
            return True
        if not events & READABLE:
            return False
        try:
            return not self.is_secure or self.try_receive() is not None
        except OSError:
            return True

    def holds_more(self) -> bool:
        """Whether TLS data follows the response. TLS is read record by record, and no event announces the rest."""
        return self.is_secure and self.has_ended(READABLE)

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()
