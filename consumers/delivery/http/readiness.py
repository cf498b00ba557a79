"""Waits for sockets and for the resolver: epoll on Linux, kqueue on macOS and the BSDs."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeAlias

# Descriptors and their event bits. The bits are those of epoll, whose events need no translation then.
Events: TypeAlias = Sequence[tuple[int, int]]
READABLE: Final = 0x001  # EPOLLIN
WRITABLE: Final = 0x004  # EPOLLOUT
_SHUT_DOWN: Final = 0x2000  # EPOLLRDHUP
ENDED: Final = _SHUT_DOWN | 0x010 | 0x008  # EPOLLRDHUP, EPOLLHUP or EPOLLERR: the other side ended the connection
_EDGE_TRIGGERED: Final = 1 << 31  # EPOLLET
_MAX_EVENTS: Final = 1_024


class Readiness(Protocol):
    """Waits for sockets, edge-triggered. Only `wake` may be called from another thread."""

    def watch(self, fd: int) -> None:
        """Add a new socket; closing it removes it. OSError: the system watches no more descriptors."""
        ...

    def wait(self, timeout_s: float) -> Events:
        """Return the events, each descriptor once; empty after the timeout."""
        ...

    def wake(self) -> None:
        """End the current wait, or the next one."""
        ...

    def close(self) -> None:
        """Release the descriptors."""
        ...


class EpollReadiness:
    """Readiness by epoll (Linux)."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._event, READABLE | _EDGE_TRIGGERED)

    def watch(self, fd: int) -> None:
        """Add a new socket; closing it removes it. OSError: the system watches no more descriptors."""
        self._epoll.register(fd, READABLE | WRITABLE | _SHUT_DOWN | _EDGE_TRIGGERED)

    def wait(self, timeout_s: float) -> Events:
        """Return the events, each descriptor once; empty after the timeout."""
        return self._epoll.poll(timeout_s, _MAX_EVENTS)

    def wake(self) -> None:
        """End the current wait, or the next one. Each write is an edge, so the counter is never read."""
        os.eventfd_write(self._event, 1)

    def close(self) -> None:
        """Release the descriptors."""
        self._epoll.close()
        os.close(self._event)


class KqueueReadiness:
    """Readiness by kqueue (macOS, BSD). `api` is the module `select` of a system with kqueue."""

    def __init__(self, api: Any = select) -> None:
        self._api = api
        self._kqueue = api.kqueue()
        self._wake_receiver, self._wake_sender = socket.socketpair()
        for end in (self._wake_receiver, self._wake_sender):
            end.setblocking(False)
        self._add(self._wake_receiver.fileno(), api.KQ_FILTER_READ)

    def watch(self, fd: int) -> None:
        """Add a new socket; closing it removes it. OSError: the system watches no more descriptors."""
        self._add(fd, self._api.KQ_FILTER_READ, self._api.KQ_FILTER_WRITE)

    def wait(self, timeout_s: float) -> Events:
        """Return the events, each descriptor once; empty after the timeout.

        kqueue reports reading and writing separately. They are joined: the handler of the first event may close its
        socket, and a new socket may get the same descriptor.
        """
        found: dict[int, int] = {}
        for event in self._kqueue.control(None, _MAX_EVENTS, timeout_s):
            found[event.ident] = found.get(event.ident, 0) | self._bits_of(event)
        if found.pop(self._wake_receiver.fileno(), 0):
            self._drain()
            if not found:
                return [(self._wake_receiver.fileno(), READABLE)]
        return list(found.items())

    def wake(self) -> None:
        """End the current wait, or the next one."""
        with contextlib.suppress(BlockingIOError):  # the buffer is full of wakes: one is enough
            self._wake_sender.send(b"\0")

    def close(self) -> None:
        """Release the descriptors."""
        self._kqueue.close()
        self._wake_receiver.close()
        self._wake_sender.close()

    def _add(self, fd: int, *filters: int) -> None:
        api = self._api
        flags = api.KQ_EV_ADD | api.KQ_EV_CLEAR
        self._kqueue.control([api.kevent(fd, filter=each, flags=flags) for each in filters], 0)

    def _bits_of(self, event: Any) -> int:
        bits = READABLE if event.filter == self._api.KQ_FILTER_READ else WRITABLE
        return bits | ENDED if event.flags & (self._api.KQ_EV_EOF | self._api.KQ_EV_ERROR) else bits

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_receiver.recv(4_096):
                pass


def new_readiness() -> Readiness:
    """Return the implementation for this system."""
    return EpollReadiness() if hasattr(select, "epoll") else KqueueReadiness()
