"""A connection to one of several addresses: tried in turn, and beside each other where one is slow (RFC 8305)."""

from __future__ import annotations

import errno
import math
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from consumers.delivery.answer import Unanswered
from consumers.delivery.failures import forbidden_address, kind_of_errno, no_socket
from consumers.delivery.ports import SocketPolicy

# An address that has not answered for so long is not waited for alone.
_NEXT_AFTER_S: Final = 0.25


class Dial:
    """Connects; each address is checked once more where it is connected to. Times are monotonic, in seconds.

    `watch` is told each new descriptor. Then `ready` with those that something happened to returns the connection.
    Without `has_room` an address is tried in place of an earlier one.
    """

    __slots__ = ("_addresses", "_errno", "_has_room", "_open", "_policy", "_port", "_trouble", "_watch", "next_s")

    def __init__(
        self,
        addresses: Sequence[str],
        port: int,
        policy: SocketPolicy,
        watch: Callable[[int], None],
        now: float,
        *,
        has_room: Callable[[], bool],
    ) -> None:
        self._has_room = has_room
        self._addresses = deque(_alternating(addresses))
        self._port = port
        self._policy = policy
        self._watch = watch
        self._open: dict[int, socket.socket] = {}
        self._errno = 0
        self._trouble: Unanswered | None = None  # why we ourselves made no connection
        self.next_s = now  # when another address is to be tried
        self.go_on(now)

    @property
    def descriptors(self) -> Sequence[int]:
        """Those that are being connected."""
        return list(self._open)

    @property
    def failure(self) -> Unanswered | None:
        """Why there will be no connection; None while there may be one."""
        if self._open or self._addresses:
            return None
        if self._trouble is not None:
            return self._trouble
        return Unanswered(kind_of_errno(self._errno), f"no connection: {os.strerror(self._errno)}")

    def go_on(self, now: float) -> bool:
        """Try the next address if it is time to; True: one is being tried that was not."""
        while self._addresses and (now >= self.next_s or not self._open):
            crowded = bool(self._open) and not self._has_room()
            if self._try(self._addresses.popleft()):
                if crowded:  # it takes the place of one of its own, the one that was tried first
                    self._open.pop(next(iter(self._open))).close()
                self.next_s = now + _NEXT_AFTER_S if self._addresses else math.inf
                return True
        if not self._addresses:
            self.next_s = math.inf
        return False

    def ready(self, descriptor: int, now: float) -> socket.socket | None:
        """Look at a descriptor: the connection if it is made (then the others are closed), else None."""
        connection = self._open[descriptor]
        number = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number == 0:
            try:
                connection.getpeername()
            except OSError as error:
                if error.errno == errno.ENOTCONN:
                    return None  # not yet
                number = error.errno or errno.EIO
        if number:
            self._errno = number
            self._open.pop(descriptor).close()
            self.go_on(now)
            return None
        del self._open[descriptor]
        self.close()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def close(self) -> None:
        """Give up what is being tried."""
        self._addresses.clear()
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    def _try(self, address: str) -> bool:
        reason = self._policy.refusal(address)
        if reason is not None:
            self._trouble = forbidden_address(reason)
            return False
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:
            self._errno = error.errno or errno.EIO
            self._trouble = no_socket(error) or self._trouble
            return False
        number = connection.connect_ex((address, self._port))
        if number not in (0, errno.EINPROGRESS):
            self._errno = number
            if number == errno.EADDRNOTAVAIL and family == socket.AF_INET:  # without IPv6 that is so for all of it
                self._trouble = Unanswered("local", f"no local port: {os.strerror(number)}")
            else:
                self._trouble = no_socket(OSError(number, os.strerror(number))) or self._trouble
            connection.close()
            return False
        try:
            self._watch(connection.fileno())
        except OSError as error:  # the system watches no more descriptors of this user
            self._trouble = Unanswered("local", f"no more sockets can be watched: {error.strerror}")
            connection.close()
            return False
        self._open[connection.fileno()] = connection
        return True


def _alternating(addresses: Sequence[str]) -> list[str]:
    """Return addresses with the families in turn, that of the first first: one may be unreachable as a whole."""
    six = [address for address in addresses if ":" in address]
    four = [address for address in addresses if ":" not in address]
    first, second = (six, four) if addresses and ":" in addresses[0] else (four, six)
    longer = max(len(first), len(second))
    pairs = [(first[n : n + 1], second[n : n + 1]) for n in range(longer)]
    return [address for pair in pairs for some in pair for address in some]
