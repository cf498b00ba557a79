"""The kqueue names of the module `select`, implemented with epoll."""

from __future__ import annotations

import select
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

KQ_FILTER_READ: Final = -1
KQ_FILTER_WRITE: Final = -2
KQ_EV_ADD: Final = 0x1
KQ_EV_CLEAR: Final = 0x20
KQ_EV_ERROR: Final = 0x4000
KQ_EV_EOF: Final = 0x8000
_ENDED: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR


@dataclass(slots=True)
class Kevent:
    """A filter of a descriptor, as a change or as an event."""

    ident: int
    filter: int = KQ_FILTER_READ
    flags: int = KQ_EV_ADD


@dataclass(slots=True)
class Kqueue:
    """Reports readable and writable as separate events, edge-triggered, as kqueue does."""

    epoll: select.epoll = field(default_factory=select.epoll)
    reported: list[list[Kevent]] = field(default_factory=list)

    def control(
        self, changes: Sequence[Kevent] | None, max_events: int, timeout_s: float | None = None
    ) -> list[Kevent]:
        """Apply changes, or return events."""
        for change in changes or ():
            assert change.flags == KQ_EV_ADD | KQ_EV_CLEAR
            reading = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
            if change.filter == KQ_FILTER_READ:
                self.epoll.register(change.ident, reading)
            else:
                self.epoll.modify(change.ident, reading | select.EPOLLOUT)
        if not max_events:
            return []
        found = []
        for descriptor, mask in self.epoll.poll(timeout_s, max_events):
            end = KQ_EV_EOF if mask & _ENDED else 0
            if mask & (select.EPOLLIN | _ENDED):
                found.append(Kevent(descriptor, KQ_FILTER_READ, KQ_EV_CLEAR | end))
            if mask & select.EPOLLOUT:
                found.append(Kevent(descriptor, KQ_FILTER_WRITE, KQ_EV_CLEAR | end))
        self.reported.append(found)
        return found

    def close(self) -> None:
        """Close the epoll."""
        self.epoll.close()


def kqueue() -> Kqueue:
    """Return a new kqueue."""
    return Kqueue()


def kevent(ident: int, filter: int, flags: int) -> Kevent:  # noqa: A002  # as in the module `select`
    """Return a change."""
    return Kevent(ident, filter, flags)
