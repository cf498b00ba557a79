"""Sampling of log lines about successes at a high rate. Pure.

Failures are never sampled: only lines of successes are offered here. The decision comes before the line is built.
"""

from __future__ import annotations

from typing import Final

# Time goes back by less than this where lines end out of order. Further back, somebody has set the clock.
_OUT_OF_ORDER_S: Final = 60


class SuccessSampler:
    """Lets through the first `per_second` lines of each second (0: all), and counts those that it leaves out."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._second = 0
        self._written = 0  # in that second
        self._reported = 0  # of `omitted`, by lines that were written
        self.omitted = 0  # since the start

    def admits(self, now_ms: int) -> bool:
        """Return whether to write the line of a success at `now_ms`; count it if not."""
        if not self._per_second:
            return True
        second = now_ms // 1_000
        if second > self._second or second < self._second - _OUT_OF_ORDER_S:
            self._second = second
            self._written = 0
        if self._written < self._per_second:
            self._written += 1
            return True
        self.omitted += 1
        return False

    def take_omitted(self) -> int:
        """Return how many lines were left out since the last call, for the line that is written next."""
        omitted = self.omitted - self._reported
        self._reported = self.omitted
        return omitted
