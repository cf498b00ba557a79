"""The places of a process: whatever endpoints do, those that answer find places. Pure.

A request is *quick* while its endpoint answers and it is open for no longer than that usually takes; else it is *slow*:
started for an endpoint that was slow lately or that is not known, or overdue. Three rules:

1. Who is slow or unknown starts while slow requests hold less than three eighths, a quarter while quick ones hold all
   of theirs.
2. Quick ones hold three eighths as well, whatever slow ones hold. Beyond three quarters of all together a second place
   is kept for each: 2 * quick + slow <= most. So endpoints that stop answering all at once, however many, take three
   eighths of all, or half of what is left.
3. When a 16th of all places has turned overdue, that is no accident: what endpoints answered before tells nothing any
   more. Who has answered since is quick. The others are unknown, and start while not even half is taken; with
   one request, by which they can show that they are quick, while a quarter of all is free.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Final, Generic, TypeVar

# A request is filed under the 32 ms in which it will be overdue; the ring has room for all that are not.
_TICK: Final = 5
_RING: Final = 64
# Overdue is what takes four times as long as usual, but at least 128 ms, and at most a second.
_LEAST_TICKS: Final = 4
_MOST_TICKS: Final = 32
_FOUR_TIMES: Final = 13  # µs to a fourth of a tick, in bits

T = TypeVar("T")


class Pacer(IntEnum):
    """How an endpoint answered lately. All but QUICK are the tickets of their requests, too."""

    QUICK = 0
    SLOW = -1
    NEW = -2  # nothing is known of it
    OVERDUE = -3  # it was quick, and has an overdue request
    UNPROVEN = -4  # it is new, while nothing is known since `proven_ms`, and has no request open
    IDLE = -5  # it was quick, has not answered since `proven_ms`, and has no request open


PROMPT: Final = (Pacer.QUICK, Pacer.IDLE)  # who waits for a place that quick ones may have
QUICK: Final = Pacer.QUICK  # asked for each job: a member takes 50 ns to be read from its class (Python 3.11)


class Places(Generic[T]):
    """Counts the requests of a process; `most` may run.

    A request whose ticket is from 0 to `tick` was quick and is overdue. An endpoint that has answered last before
    `proven_ms` is unknown (0: none is).
    """

    __slots__ = (
        "_eighths",
        "_half",
        "_idle",
        "_late",
        "_marked",
        "_most_quick",
        "_often",
        "_part",
        "_ring",
        "_seen",
        "_settled",
        "_tagged",
        "_tagged_overdue",
        "most",
        "proven_ms",
        "quick",
        "taken",
        "tick",
    )

    def __init__(self, most: int) -> None:
        self.most = most
        self._half = max(1, most // 2)
        self._eighths = max(1, 3 * most // 8)
        self._often = most - most // 4
        self._part = max(1, most // 16)
        self.taken = 0
        self.quick = 0
        self.proven_ms = 0
        self._tagged = 0  # requests that were started as slow, new or overdue
        self._tagged_overdue = 0  # of those: as overdue
        self._idle = 0  # of those: of endpoints that were quick and had none open
        self._late = 0  # those that were quick and are overdue
        self._marked = 0  # so many of them would be no news
        self._settled = 0  # the tick from which on they are counted
        self._ring: list[set[T]] = [set() for _ in range(_RING)]
        self.tick = 0
        self._seen = 0
        self._most_quick = (most - most // 4) // 2

    @property
    def slow(self) -> int:
        """How many places slow requests hold."""
        return self._tagged + self._late

    @property
    def free(self) -> int:
        """How many places nobody holds."""
        return self.most - self.taken

    def advance(self, now_ms: int) -> Iterable[T]:
        """Let time pass; return the requests that have become overdue."""
        tick = now_ms >> _TICK
        passed, self._seen = tick - self._seen, tick
        if passed <= 0:  # the clock was set back: time goes on from here
            return ()
        overdue: list[T] = []
        for at in range(self.tick + 1, self.tick + 1 + min(passed, _RING)):
            if filed := self._ring[at % _RING]:
                overdue += filed
                filed.clear()
        self.tick += passed
        self.quick -= len(overdue)
        self._late += len(overdue)
        self._judge(now_ms)
        return overdue

    def lets(self, pacer: Pacer) -> bool:
        """Tell whether an endpoint may have another place."""
        if self.taken >= self.most:
            return False
        slow = self._tagged + self._late
        if pacer is QUICK:
            quick = self.quick
            if self.taken >= self._often and 2 * quick + slow + 2 > self.most:
                return not quick
            return not quick or quick < self._most_quick
        if pacer is Pacer.UNPROVEN:
            return self.taken < self._often
        if pacer is Pacer.IDLE:  # with all shares taken, a 16th is left to show by that it answers
            return self.taken < self._often or self._idle < self._part
        share = self._share(pacer)
        # A quarter is for new ones, so that what is known to be slow cannot keep them out.
        return slow < (share if pacer is Pacer.NEW or share < 2 else share - share // 4)

    def _share(self, pacer: Pacer) -> int:
        """Return how many places slow requests may hold."""
        if self.proven_ms or (pacer is Pacer.OVERDUE and self._lost + 1 >= self._part):
            return self._half - self.quick
        return max(1, self.most // 4, min(self._eighths, self.most - 2 * self.quick))

    def take(self, pacer: Pacer, request: T, usual_us: int) -> int:
        """Take a place; the ticket gives it back. `usual_us`: how long the endpoint takes."""
        self.taken += 1
        if pacer is not QUICK:
            self._tagged += 1
            if pacer is Pacer.OVERDUE:
                self._tagged_overdue += 1
            elif pacer is Pacer.IDLE:
                self._idle += 1
            return int(pacer)
        self.quick += 1
        ticks = usual_us >> _FOUR_TIMES
        if ticks < _LEAST_TICKS:
            ticks = _LEAST_TICKS
        elif ticks > _MOST_TICKS:
            ticks = _MOST_TICKS
        ticket = self.tick + ticks + 1
        self._ring[ticket % _RING].add(request)
        return ticket

    def give_back(self, ticket: int, request: T) -> None:
        """Give a place back."""
        self.taken -= 1
        if ticket < 0:
            self._tagged -= 1
            if ticket == Pacer.OVERDUE:
                self._tagged_overdue -= 1
            elif ticket == Pacer.IDLE:
                self._idle -= 1
        elif ticket <= self.tick:
            self._late -= 1
        else:
            self.quick -= 1
            self._ring[ticket % _RING].discard(request)

    @property
    def _lost(self) -> int:
        """How many places endpoints hold that were quick and have overdue requests."""
        return self._late + self._tagged_overdue

    def _judge(self, now_ms: int) -> None:
        """Void what was known when many have become overdue since; trust it again when few are left of them."""
        lost = self._lost
        if lost >= self._marked + self._part:
            # What is open now tells nothing of those that answer from now on, should it become overdue as well.
            self._marked, self._settled = lost + self.quick, self.tick + _MOST_TICKS + 1
            self.proven_ms = now_ms
        elif lost <= self._part // 2:
            self._marked = self.proven_ms = 0
        elif lost < self._marked and self.tick >= self._settled:
            self._marked = lost
