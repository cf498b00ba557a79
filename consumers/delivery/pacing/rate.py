"""Requests a second of one subscription: never more than `per_second`, rounded up, begin within a second. Pure.

The generic cell rate algorithm with a tolerance: requests have their places on a line, one every `interval`, and may
begin late, or up to a tolerance early so that a loop that looks every few ms keeps up. k of them in a second take
(k - 1) * interval < 1 s + tolerance; with interval = (1 s + tolerance) / N that is k < N + 1: N, or of 1.5 a second
two in one and three in two. The price: 1 % of the rate.
"""

from __future__ import annotations

from typing import Final

TOLERANCE_MS: Final = 10.0


class Rate:
    """When the next request may begin; times are in ms."""

    __slots__ = ("_next_ms", "interval_ms", "per_second")

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self.interval_ms = (1_000 + TOLERANCE_MS) / per_second
        self._next_ms = 0.0

    def ready_at(self, now_ms: int) -> int:
        """Return when the next one may begin: `now_ms` or earlier if it may begin now."""
        if self._next_ms > now_ms + TOLERANCE_MS + 2 * self.interval_ms:  # the clock was set back
            self._next_ms = now_ms + self.interval_ms
        at_ms = int(self._next_ms)
        return at_ms if at_ms == self._next_ms else at_ms + 1

    def begin(self, now_ms: int) -> None:
        """Count one that begins now."""
        self._next_ms = max(self._next_ms, now_ms - TOLERANCE_MS) + self.interval_ms
