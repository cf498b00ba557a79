"""How the transport sleeps until a socket, or the resolver, has something for it."""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeAlias

# What an epoll has: descriptors, and what happened to them.
Events: TypeAlias = Sequence[tuple[int, int]]


# Something may have happened, and where is not known.
_SOMETHING: Final = ((-1, 0),)


class Readiness(Protocol):
    """Waits for sockets; only `wake` may be called from another thread."""

    def watch(self, fd: int) -> None:
        """Take a new socket on; it is forgotten when it is closed."""
        ...

    def wait(self, timeout_s: float) -> Events:
        """Return what has happened, or, when certainly nothing has, nothing after the timeout."""
        ...

    def wake(self) -> None:
        """End the wait, or the next one."""
        ...

    def close(self) -> None:
        """Give back what the system lent."""
        ...


class EpollReadiness:
    """One epoll for all sockets of a transport.

    libcurl's own `select` is rebuilt from all transfers each time and cannot see descriptors above 1,023, of which a
    process with many idle connections has plenty. Here a socket is registered once in its life, edge-triggered:
    libcurl reads until there is nothing more. It does not always write so; while large bodies are under way, the
    transport waits by `select`.
    """

    _EVENTS = 1024

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._event, select.EPOLLIN | select.EPOLLET)

    def watch(self, fd: int) -> None:
        """Take a new socket on; it is forgotten when it is closed."""
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET)

    def wait(self, timeout_s: float) -> Events:
        """Return what has happened, or nothing after the timeout."""
        return self._epoll.poll(timeout_s, self._EVENTS)

    def wake(self) -> None:
        """End the wait, or the next one. The counter is never read: each write is an edge."""
        os.eventfd_write(self._event, 1)

    def close(self) -> None:
        """Give back what the system lent."""
        self._epoll.close()
        os.close(self._event)


class SelectReadiness:
    """libcurl's `select`, where there is no epoll (development on macOS): wakes are noticed a little later."""

    _MOST_S = 0.005

    def __init__(self, multi: Any) -> None:
        self._multi = multi

    def watch(self, fd: int) -> None:
        """Do nothing: libcurl knows its sockets."""

    def wait(self, timeout_s: float) -> Events:
        """Return when something may have happened, or after the timeout or 5 ms."""
        self._multi.select(min(timeout_s, self._MOST_S))
        return _SOMETHING

    def wake(self) -> None:
        """Do nothing: no wait is long."""

    def close(self) -> None:
        """Do nothing."""


def readiness_for(multi: Any) -> Readiness:
    """Return the best way to wait that this system has."""
    return EpollReadiness() if hasattr(select, "epoll") else SelectReadiness(multi)
