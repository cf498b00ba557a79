"""How much of one endpoint's work waits, how fast it goes, and where the next job waits so that it comes in time. Pure.

A job that is parked goes to the longest tier for which what is nearer keeps the endpoint busy. So the near tiers hold
just enough, the rest is far away, and a job comes closer in a few steps instead of coming back every few seconds to be
written again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_WINDOW_MS: Final = 500
# What wants to start within so short a time is at hand, and more need not be read for this endpoint.
SOON_S: Final = 0.1
_SOON_AT_FIRST: Final = 128
# So long after a tier's delay its last record is surely read, or was by somebody else.
_GRACE_MS: Final = 30_000
# A wait that is so much shorter than a tier is rounded up to it: the steps below it would be many.
_ROUNDED_UP: Final = 0.8
# What is nearer is to keep the endpoint busy for so much of a wait: all of it costs a fifth more rewrites.
_ENOUGH: Final = 0.9
# No job goes where it stays for longer, whatever the backlog: an endpoint may become quicker.
_LONGEST_MS: Final = 2 * 3_600_000
_UNMEASURED_MS: Final = 5_000
# Nor for over a hundred times as long as the endpoint has been measured: what it does in the first second after an
# outage, or on a busy machine, is no reason to come back in hours.
_BELIEVED: Final = 100


class Backlog:
    """Of one subscription. Tiers are numbered from 0, ascending; `waits_ms` are their delays.

    `per_second` is what the endpoint takes: guessed first, then measured while others wait for its places.
    """

    __slots__ = ("_counts", "_ends", "_measured_ms", "_put_ms", "_waits_ms", "_window_ms", "per_second")

    def __init__(self, waits_ms: Sequence[int], per_second: float, now_ms: int) -> None:
        self._waits_ms = waits_ms
        self._counts = [0] * len(waits_ms)
        self._put_ms = [0] * len(waits_ms)
        self.per_second = per_second
        self._measured_ms: int | None = None  # since when it is measured
        self._window_ms = now_ms
        self._ends = 0

    @property
    def soon(self) -> int:
        """How many jobs start in a moment, once they are at hand."""
        return max(_SOON_AT_FIRST if self._measured_ms is None else 1, int(self.per_second * SOON_S))

    def ended(self, now_ms: int, *, busy: bool) -> bool:
        """Count a request that ended; `busy`: others were waiting for its place. False: nothing was measured yet."""
        self._ends += 1
        passed_ms = now_ms - self._window_ms
        if passed_ms >= _WINDOW_MS:
            if passed_ms <= 4 * _WINDOW_MS:  # else it was idle in between
                self._measure(self._ends * 1_000 / passed_ms, now_ms, busy=busy)
            self._window_ms, self._ends = now_ms, 0
        return self._measured_ms is not None

    def restart(self, per_second: float, now_ms: int) -> None:
        """Forget what was measured, as the endpoint was away: take a guess again."""
        self.per_second, self._measured_ms = per_second, None
        self._window_ms, self._ends = now_ms, 0

    def expect(self, per_second: float) -> None:
        """Take a better guess."""
        self.per_second = max(self.per_second, per_second)

    def put(self, tier: int, now_ms: int) -> None:
        """Count a job that is written to a tier."""
        self._counts[tier] = self._at(tier, now_ms) + 1
        self._put_ms[tier] = now_ms

    def came_back(self, tier: int) -> None:
        """Count a job that was read from a tier."""
        if self._counts[tier] > 0:
            self._counts[tier] -= 1

    def parked(self, now_ms: int) -> int:
        """Return how many jobs are believed to be in tiers."""
        return sum(self._at(tier, now_ms) for tier in range(len(self._counts)))

    def tier_for(self, at_hand: int, closed_ms: int, now_ms: int) -> int:
        """Return the tier in which a job is parked.

        `at_hand` jobs are nearer than any tier; nothing starts within `closed_ms`.
        """
        found, nearer = 0, at_hand + self._at(0, now_ms)
        longest_ms = max(closed_ms, self._longest_ms(now_ms))
        for tier in range(1, len(self._waits_ms)):
            wait_ms = self._waits_ms[tier]
            if closed_ms < _ROUNDED_UP * wait_ms and nearer * 1_000 < _ENOUGH * self.per_second * (wait_ms - closed_ms):
                break
            if _ROUNDED_UP * wait_ms > longest_ms:
                break
            found = tier
            nearer += self._at(tier, now_ms)
        return found

    def _longest_ms(self, now_ms: int) -> int:
        if self._measured_ms is None:
            return _UNMEASURED_MS
        return min(_LONGEST_MS, max(_UNMEASURED_MS, _BELIEVED * (now_ms - self._measured_ms)))

    def _measure(self, per_second: float, now_ms: int, *, busy: bool) -> None:
        if busy and self._measured_ms is not None:
            self.per_second += (per_second - self.per_second) / 2
        elif busy:
            self.per_second, self._measured_ms = per_second, now_ms - _WINDOW_MS
        else:
            self.per_second = max(self.per_second, per_second)

    def _at(self, tier: int, now_ms: int) -> int:
        count = self._counts[tier]
        if count and self._put_ms[tier] + self._waits_ms[tier] + _GRACE_MS < now_ms:
            count = self._counts[tier] = 0
        return count
