"""The places of a process: slow endpoints hold at most half of them, whatever they do. Pure.

A request counts as slow when it has run for a second, or was started for an endpoint that was slow lately, or that has
not answered yet. Those may start while slow ones hold less than half (known ones: three eighths, so that what is known
to be slow cannot keep new endpoints out). What is quick may have all places; but once quick ones hold a quarter, no
endpoint gets more than a 32nd of what is free, so that those that stop answering all at once take few with them.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

# A start is filed under its eighth of a second; eight of them later it is old.
_TICK: Final = 7  # bits of a ms clock: 128 ms
_TICKS: Final = 8
_PART: Final = 5  # bits: a 32nd


class Pacer(IntEnum):
    """How an endpoint answered lately. SLOW and NEW are the tickets of their requests, too."""

    QUICK = 0
    SLOW = -1
    NEW = -2


class Places:
    """Counts the requests of a process by age; `most` may run."""

    __slots__ = ("_aged", "_half", "_quarter", "_ring", "_slow_share", "_tagged", "_tick", "most", "taken")

    def __init__(self, most: int) -> None:
        self.most = most
        self._half = max(1, most // 2)
        self._quarter = max(1, most // 4)
        self._slow_share = max(1, self._half * 3 // 4)
        self.taken = 0
        self._tagged = [0, 0, 0]  # by -ticket: requests that were started as slow or new
        self._ring = [0] * _TICKS  # the others, by when they were started
        self._aged = 0  # of those: older than a second
        self._tick = 0

    @property
    def slow(self) -> int:
        """How many places slow requests hold."""
        return self._aged + self._tagged[1] + self._tagged[2]

    def advance(self, now_ms: int) -> None:
        """Let time pass."""
        tick = now_ms >> _TICK
        if tick <= self._tick:
            return
        ring = self._ring
        for passed in range(max(self._tick + 1, tick - _TICKS + 1), tick + 1):
            self._aged += ring[passed % _TICKS]
            ring[passed % _TICKS] = 0
        self._tick = tick

    def lets(self, pacer: Pacer, in_flight: int) -> bool:
        """Tell whether an endpoint that holds `in_flight` places may have another one."""
        free = self.most - self.taken
        if pacer is Pacer.QUICK:
            if self.taken < self._quarter or self.taken - self.slow < self._quarter:
                return free > 0
            return free > 0 and in_flight < max(1, free >> _PART)
        return self.slow < (self._slow_share if pacer is Pacer.SLOW else self._half) and free > 0

    def take(self, pacer: Pacer) -> int:
        """Take a place; the ticket gives it back."""
        self.taken += 1
        if pacer is Pacer.QUICK:
            self._ring[self._tick % _TICKS] += 1
            return self._tick
        self._tagged[-pacer] += 1
        return int(pacer)

    def give_back(self, ticket: int) -> bool:
        """Give a place back; True: it was held by a slow request."""
        self.taken -= 1
        if ticket < 0:
            self._tagged[-ticket] -= 1
            return True
        if ticket <= self._tick - _TICKS:
            self._aged -= 1
            return True
        self._ring[ticket % _TICKS] -= 1
        return False
