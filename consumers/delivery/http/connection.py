"""One connection: what can be sent and received without waiting."""

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
# What `recv` and `send` raise if nothing has come, or nothing can be sent.
WOULD_BLOCK: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
# Scheme, host, port, and the client certificate that is shown: requests share connections only if all four are equal.
Key: TypeAlias = tuple[str, str, int, ClientIdentity | None]
# TLS with the proxy, CONNECT, TLS with the endpoint, then requests.
Phase: TypeAlias = Literal["proxy", "tunnel", "tls", "ready"]


class Connection:
    """A connection. `exchange` is the request that uses it, None while it is idle in the pool.

    `handshake` is what remains to be done before the first request; `used` is true once a request was answered.
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
        """A socket, an ssl.SSLSocket, or TLS within TLS (tls.py)."""
        return self._stream

    def replace_stream(self, stream: Any) -> None:
        """Send and receive through TLS from now on."""
        self._stream = stream
        self.is_secure = True
        self.send = stream.send
        self.recv = stream.recv

    def try_receive(self, size: int = READ_SIZE) -> bytes | None:
        """Return what has come, b"" at the end, None if nothing has come; OSError."""
        try:
            data: bytes = self.recv(size)
        except WOULD_BLOCK:
            return None
        return data

    def try_send(self, data: bytes | memoryview) -> int:
        """Send what can be sent now; return how much that was; OSError."""
        try:
            sent: int = self.send(data)
        except WOULD_BLOCK:
            return 0
        return sent

    def become_idle(self, now: float) -> None:
        """Note that a request was answered, and the connection is free for the next one."""
        self.exchange = None
        self.used = True
        stale_s = now + self._idle_limit_s
        self._stale_s = stale_s if stale_s < self._expires_s else self._expires_s

    def is_stale(self, now: float) -> bool:
        """Whether it is too old, or was idle too long, to be used."""
        return now > self._stale_s

    def has_ended(self, events: int) -> bool:
        """Whether what happened to an idle connection makes it unusable: anything but a message of TLS itself."""
        if events & ENDED or not events & READABLE:
            return bool(events & ENDED)
        try:
            return not self.is_secure or self.try_receive() is not None
        except OSError:
            return True

    def holds_more(self) -> bool:
        """Whether bytes came behind the response; TLS is read record by record, and no event announces the rest."""
        return self.is_secure and self.has_ended(READABLE)

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()
