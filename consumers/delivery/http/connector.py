"""Opens TCP connections to one of several addresses: Happy Eyeballs (RFC 8305)."""

from __future__ import annotations

import errno
import math
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

from consumers.delivery.http.exchange import Exchange
from consumers.delivery.http.failures import connect_error, forbidden_address, out_of_resources
from consumers.delivery.http.types import TransportError

# After this time without a connection the next address is tried as well (RFC 8305: 250 ms).
_ATTEMPT_DELAY_S: Final = 0.25
# Sockets beyond the first of each connection. Names with many silent addresses must not use up the file descriptors of
# the process (deploy/roles reserves 256 beyond those for connections).
_MAX_FURTHER: Final = 64


class AddressPolicy(Protocol):
    """The addresses that may be connected to: schemas.network.egress.EgressPolicy, or proxy.ProxyResolver."""

    def refusal(self, address: str) -> str | None:
        """Return why an address may not be connected to; None if it may."""
        ...


class ConnectionAttempt:
    """Connects to one of several addresses. Checks each address against the policy. Times are monotonic, in seconds.

    `watch` is called with each new descriptor; events of these descriptors go to `ready`. `has_room`: another socket
    may be opened; without room a new address replaces the one that was tried first.
    """

    __slots__ = ("_addresses", "_errno", "_open", "_own_error", "_policy", "_port", "_watch", "next_s")

    def __init__(
        self,
        addresses: Sequence[str],
        port: int,
        policy: AddressPolicy,
        watch: Callable[[int], None],
        now: float,
        *,
        has_room: bool,
    ) -> None:
        self._addresses = deque(alternating(addresses))
        self._port = port
        self._policy = policy
        self._watch = watch
        self._open: dict[int, socket.socket] = {}
        self._errno = 0
        self._own_error: TransportError | None = None  # an error of this process or of the policy
        self.next_s = now  # when the next address is tried
        self.advance(now, has_room=has_room)

    @property
    def descriptors(self) -> Sequence[int]:
        """The sockets that are connecting."""
        return list(self._open)

    @property
    def error(self) -> TransportError | None:
        """Why all addresses failed; None while one may still connect."""
        if self._open or self._addresses:
            return None
        return self._own_error or connect_error(self._errno)

    def advance(self, now: float, *, has_room: bool) -> None:
        """Try the next address if its time has come."""
        while self._addresses and (now >= self.next_s or not self._open):
            replaces = bool(self._open) and not has_room
            if self._try(self._addresses.popleft()):
                if replaces:
                    self._open.pop(next(iter(self._open))).close()
                self.next_s = now + _ATTEMPT_DELAY_S if self._addresses else math.inf
                return
        if not self._addresses:
            self.next_s = math.inf

    def ready(self, descriptor: int, now: float, *, has_room: bool) -> socket.socket | None:
        """Handle an event. Return the socket if it is connected, after closing the others; else None."""
        connecting = self._open[descriptor]
        number = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number == 0:
            try:
                connecting.getpeername()
            except OSError as error:
                if error.errno == errno.ENOTCONN:
                    return None  # not yet
                number = error.errno or errno.EIO
        if number:
            self._errno = number
            self._open.pop(descriptor).close()
            self.advance(now, has_room=has_room)
            return None
        del self._open[descriptor]
        self.close()
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connecting

    def close(self) -> None:
        """Close the sockets that are connecting."""
        self._addresses.clear()
        for connecting in self._open.values():
            connecting.close()
        self._open.clear()

    def _try(self, address: str) -> bool:
        reason = self._policy.refusal(address)
        if reason is not None:
            self._own_error = forbidden_address(reason)
            return False
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            connecting = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            self._errno = error.errno or errno.EIO
            self._own_error = out_of_resources(error) or self._own_error
            return False
        connecting.setblocking(False)
        number = connecting.connect_ex((address, self._port))
        if number not in (0, errno.EINPROGRESS):
            self._errno = number
            if (
                number == errno.EADDRNOTAVAIL and family == socket.AF_INET
            ):  # for IPv6 it means that the machine has none
                self._own_error = TransportError("local", f"no local port: {os.strerror(number)}")
            else:
                self._own_error = out_of_resources(OSError(number, os.strerror(number))) or self._own_error
            connecting.close()
            return False
        try:
            self._watch(connecting.fileno())
        except OSError as error:  # the limit of descriptors that this user may watch
            self._own_error = TransportError("local", f"no more sockets can be watched: {error.strerror}")
            connecting.close()
            return False
        self._open[connecting.fileno()] = connecting
        return True


class Connector:
    """All connection attempts. `watch` is called with each new descriptor. Times are monotonic, in seconds."""

    def __init__(self, policy: AddressPolicy, watch: Callable[[int], None]) -> None:
        self._policy = policy
        self._watch = watch
        self._attempts: dict[Exchange, ConnectionAttempt] = {}
        self._by_descriptor: dict[int, Exchange] = {}
        self.next_s = math.inf  # when the next address of any attempt is tried

    def __len__(self) -> int:
        return len(self._attempts)

    def start(self, exchange: Exchange, addresses: Sequence[str], port: int, now: float) -> TransportError | None:
        """Start to connect; return the error if that fails at once."""
        attempt = ConnectionAttempt(addresses, port, self._policy, self._watch, now, has_room=self._has_room())
        self._attempts[exchange] = attempt
        return self._update(exchange, attempt)

    def ready(self, descriptor: int, now: float) -> tuple[Exchange, socket.socket | TransportError] | None:
        """Handle an event of a descriptor. Return a connection or an error; None while the attempt goes on."""
        exchange = self._by_descriptor.get(descriptor)
        if exchange is None:
            return None
        attempt = self._attempts[exchange]
        before = attempt.descriptors
        connected = attempt.ready(descriptor, now, has_room=self._has_room())
        for one in before:
            del self._by_descriptor[one]
        if connected is not None:
            del self._attempts[exchange]
            return exchange, connected
        error = self._update(exchange, attempt)
        return None if error is None else (exchange, error)

    def advance(self, now: float) -> Iterator[tuple[Exchange, TransportError]]:
        """Try further addresses whose time has come; yield the exchanges whose addresses have all failed."""
        if now < self.next_s:
            return
        self.next_s = math.inf
        for exchange, attempt in list(self._attempts.items()):
            before = attempt.descriptors
            attempt.advance(now, has_room=self._has_room())
            for one in before:
                del self._by_descriptor[one]
            error = self._update(exchange, attempt)
            if error is not None:
                yield exchange, error

    def cancel(self, exchange: Exchange) -> None:
        """End the connection attempt of an exchange, if there is one."""
        attempt = self._attempts.pop(exchange, None)
        if attempt is not None:
            for descriptor in attempt.descriptors:
                self._by_descriptor.pop(descriptor, None)
            attempt.close()

    def _has_room(self) -> bool:
        return len(self._by_descriptor) - len(self._attempts) < _MAX_FURTHER

    def _update(self, exchange: Exchange, attempt: ConnectionAttempt) -> TransportError | None:
        for descriptor in attempt.descriptors:
            self._by_descriptor[descriptor] = exchange
        error = attempt.error
        if error is None:
            self.next_s = min(self.next_s, attempt.next_s)
        else:
            del self._attempts[exchange]
        return error


def alternating(addresses: Sequence[str]) -> list[str]:
    """Return addresses of both families in turn, because one family may be unreachable."""
    six = [address for address in addresses if ":" in address]
    four = [address for address in addresses if ":" not in address]
    first, second = (six, four) if addresses and ":" in addresses[0] else (four, six)
    longer = max(len(first), len(second))
    pairs = [(first[n : n + 1], second[n : n + 1]) for n in range(longer)]
    return [address for pair in pairs for some in pair for address in some]
