"""Backlog of one endpoint: its deferred tasks, its throughput, and the delay topic of the next deferred task. Pure.

A task gets the longest delay topic for which the tasks that return earlier keep the endpoint busy until then. The
short delay topics then hold just enough tasks, and a task reaches the endpoint in a few steps instead of being
rewritten every few seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_WINDOW_MS: Final = 500
# Tasks that will start within this time are imminent: nothing more has to be read for their endpoint.
IMMINENT_S: Final = 0.1
_IMMINENT_UNMEASURED: Final = 128
# This long after its delay the last record of a delay topic counts as read, perhaps by another process.
_GRACE_MS: Final = 30_000
# A wait just below the delay of a topic is rounded up to it: shorter topics would take many steps.
_ROUNDED_UP: Final = 0.8
# The tasks that return earlier have to keep the endpoint busy for this part of the delay. Requiring all of it would
# cost a fifth more rewrites.
_ENOUGH: Final = 0.9
# Longest delay for a backlog of any size, because the endpoint may become faster.
_LONGEST_MS: Final = 2 * 3_600_000
_LONGEST_UNMEASURED_MS: Final = 5_000
# A delay is at most a hundred times as long as the throughput has been measured. The measurement of the first second
# after an outage, or on a busy machine, must not defer tasks for hours.
_TRUSTED: Final = 100


class Backlog:
    """Backlog of one subscription. `delays_ms` are the delays of the delay topics, ascending; a topic is an index.

    `per_second` is the throughput of the endpoint: an estimate at first, then measured while tasks wait for it.
    """

    __slots__ = ("_completed", "_counts", "_delays_ms", "_last_ms", "_measured_since_ms", "_window_ms", "per_second")

    def __init__(self, delays_ms: Sequence[int], per_second: float, now_ms: int) -> None:
        self._delays_ms = delays_ms
        self._counts = [0] * len(delays_ms)
        self._last_ms = [0] * len(delays_ms)  # when the last task was deferred to each
        self.per_second = per_second
        self._measured_since_ms: int | None = None
        self._window_ms = now_ms
        self._completed = 0  # within the window

    @property
    def imminent(self) -> int:
        """How many waiting tasks can start within `IMMINENT_S`."""
        least = _IMMINENT_UNMEASURED if self._measured_since_ms is None else 1
        return max(least, int(self.per_second * IMMINENT_S))

    def on_completed(self, now_ms: int, *, is_busy: bool) -> bool:
        """Count a completed request. `is_busy`: tasks were waiting. Return whether the throughput has been measured."""
        self._completed += 1
        passed_ms = now_ms - self._window_ms
        if passed_ms >= _WINDOW_MS:
            if passed_ms <= 4 * _WINDOW_MS:  # else the endpoint was idle in between
                self._measure(self._completed * 1_000 / passed_ms, now_ms, is_busy=is_busy)
            self._window_ms = now_ms
            self._completed = 0
        return self._measured_since_ms is not None

    def restart(self, per_second: float, now_ms: int) -> None:
        """Discard the measurement after an outage; begin with an estimate."""
        self.per_second = per_second
        self._measured_since_ms = None
        self._window_ms = now_ms
        self._completed = 0

    def raise_estimate(self, per_second: float) -> None:
        """Use an estimate if it is higher."""
        self.per_second = max(self.per_second, per_second)

    def add(self, delay_topic: int, now_ms: int) -> None:
        """Count a task that is deferred to a delay topic."""
        self._counts[delay_topic] = self._count(delay_topic, now_ms) + 1
        self._last_ms[delay_topic] = now_ms

    def remove(self, delay_topic: int) -> None:
        """Count a task that was read from a delay topic."""
        if self._counts[delay_topic] > 0:
            self._counts[delay_topic] -= 1

    def deferred(self, now_ms: int) -> int:
        """Return how many tasks are in delay topics, as far as this process knows."""
        return sum(self._count(delay_topic, now_ms) for delay_topic in range(len(self._counts)))

    def choose_delay_topic(self, in_memory: int, blocked_ms: int, now_ms: int) -> int:
        """Return the delay topic for a task behind `in_memory` waiting tasks. No task starts within `blocked_ms`."""
        chosen = 0
        earlier = in_memory + self._count(0, now_ms)
        longest_ms = max(blocked_ms, self._longest_ms(now_ms))
        for delay_topic in range(1, len(self._delays_ms)):
            delay_ms = self._delays_ms[delay_topic]
            needed = _ENOUGH * self.per_second * (delay_ms - blocked_ms) / 1_000
            if blocked_ms < _ROUNDED_UP * delay_ms and earlier < needed:
                break
            if _ROUNDED_UP * delay_ms > longest_ms:
                break
            chosen = delay_topic
            earlier += self._count(delay_topic, now_ms)
        return chosen

    def _longest_ms(self, now_ms: int) -> int:
        if self._measured_since_ms is None:
            return _LONGEST_UNMEASURED_MS
        return min(_LONGEST_MS, max(_LONGEST_UNMEASURED_MS, _TRUSTED * (now_ms - self._measured_since_ms)))

    def _measure(self, per_second: float, now_ms: int, *, is_busy: bool) -> None:
        if not is_busy:
            self.per_second = max(self.per_second, per_second)
        elif self._measured_since_ms is None:
            self.per_second = per_second
            self._measured_since_ms = now_ms - _WINDOW_MS
        else:
            self.per_second += (per_second - self.per_second) / 2

    def _count(self, delay_topic: int, now_ms: int) -> int:
        count = self._counts[delay_topic]
        if count and self._last_ms[delay_topic] + self._delays_ms[delay_topic] + _GRACE_MS < now_ms:
            self._counts[delay_topic] = 0
            return 0
        return count
