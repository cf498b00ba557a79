"""Rate limit of one subscription: at most `per_second` requests, rounded up, start within any second. Pure.

The algorithm is GCRA (the generic cell rate algorithm, a token bucket kept as one number). Each
request has a slot, one per `interval`. It may start later than its slot, or earlier by a tolerance, so that a loop with
turns of a few ms reaches the rate. k requests within a second take (k - 1) * interval < 1 s + tolerance. With
interval = (1 s + tolerance) / N this is k < N + 1. So at most N start within a second: at a rate of
1.5, two within one second and three within two. The tolerance costs 1 % of the rate.
"""

from __future__ import annotations

from typing import Final

TOLERANCE_MS: Final = 10.0


class RateLimit:
    """When the next request may start; times are in ms."""

    __slots__ = ("_next_ms", "interval_ms", "per_second")

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self.interval_ms = (1_000 + TOLERANCE_MS) / per_second
        self._next_ms = 0.0

    def ready_at(self, now_ms: int) -> int:
        """Return when the next request may start: `now_ms` or earlier if it may start now."""
        if self._next_ms > now_ms + TOLERANCE_MS + 2 * self.interval_ms:  # the clock was set back
            self._next_ms = now_ms + self.interval_ms
        at_ms = int(self._next_ms)
        return at_ms if at_ms == self._next_ms else at_ms + 1

    def on_start(self, now_ms: int) -> None:
        """Count a request that starts now."""
        self._next_ms = max(self._next_ms, now_ms - TOLERANCE_MS) + self.interval_ms
