"""Circuit breaker of one endpoint: probes an unresponsive endpoint with single requests, honours Retry-After. Pure.

    CLOSED ──(5 failures in a row)──► OPEN ──(pause over)──► HALF_OPEN ──(response)──► CLOSED
       └──(Retry-After)──► THROTTLED ──(wait over)──────────────►│ ──(failure)──► OPEN, for a longer pause

A failure is a timeout or a connection error; any response resets the count. Pauses between probes double from 5 s to
60 s. While the breaker is not closed, tasks are deferred; deferring does not use up an attempt.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

# Consecutive failures that open the breaker.
FAILURE_THRESHOLD: Final = 5
# Pause before the first probe; it doubles after each failed probe, up to the longest.
FIRST_PAUSE_MS: Final = 5_000
LONGEST_PAUSE_MS: Final = 60_000
# Longest delay of a task during an outage: the task starts at most this late after the outage ends.
_LONGEST_DELAY_MS: Final = 1_800_000


class CircuitState(Enum):
    """State of a circuit breaker. Operators see the values."""

    CLOSED = "closed"
    OPEN = "open"  # no responses
    THROTTLED = "throttled"  # 429 or 503; usually with Retry-After
    HALF_OPEN = "half_open"  # one probe is in flight, or may start


class CircuitBreaker:
    """Times are in ms. No wait is longer than `longest_wait_ms`, even if the clock is set back."""

    __slots__ = (
        "_failing_since_ms",
        "_longest_wait_ms",
        "_pause_ms",
        "failures",
        "is_closed",
        "not_closed_since_ms",
        "probe_expected_until_ms",
        "reopens_ms",
        "state",
    )

    def __init__(self, longest_wait_ms: int) -> None:
        self._longest_wait_ms = max(longest_wait_ms, LONGEST_PAUSE_MS)
        self._pause_ms = 0
        self._failing_since_ms = 0  # time of the first of the consecutive failures
        self.state = CircuitState.CLOSED
        self.is_closed = True
        self.failures = 0  # consecutive
        self.not_closed_since_ms = 0
        self.reopens_ms = 0  # when the next probe may start
        self.probe_expected_until_ms = 0  # the task that was deferred to be the next probe returns by then

    def allows_probe(self, now_ms: int) -> bool:
        """Return whether a probe may start now, while the breaker is not closed."""
        if self.reopens_ms - now_ms > self._longest_wait_ms:  # the clock was set back
            self.reopens_ms = now_ms
        return now_ms >= self.reopens_ms

    def on_probe_start(self) -> None:
        """Become half-open."""
        self._become(CircuitState.HALF_OPEN)
        self.probe_expected_until_ms = 0

    def on_probe_without_result(self, now_ms: int) -> None:
        """Take in that a probe ended for a reason unrelated to the endpoint: another one may start."""
        self.reopens_ms = now_ms

    def on_failure(self, now_ms: int, *, is_probe: bool) -> bool:
        """Take in a timeout or connection error. Return whether the breaker opened, or opened again for longer."""
        self.failures += 1
        if self.failures == 1:
            self._failing_since_ms = now_ms
        if is_probe or (self.is_closed and self.failures >= FAILURE_THRESHOLD):
            self._open(CircuitState.OPEN, now_ms)
            return True
        return False

    def on_response(self, now_ms: int, *, is_probe: bool, is_overloaded: bool) -> bool:
        """Take in a response of any status. Return whether the breaker closed."""
        self.failures = 0
        if self.is_closed:
            return False
        if is_overloaded:
            if is_probe:
                self._open(CircuitState.THROTTLED, now_ms)
            return False
        if self.state is CircuitState.THROTTLED and now_ms < self.reopens_ms:
            return False  # this request started before Retry-After arrived
        self._become(CircuitState.CLOSED)
        self._pause_ms = 0
        self.probe_expected_until_ms = 0
        return True

    def throttle(self, until_ms: int, now_ms: int) -> None:
        """Take in a Retry-After."""
        if self.is_closed:
            self.not_closed_since_ms = now_ms
        until_ms = min(until_ms, now_ms + self._longest_wait_ms)
        if self.state is CircuitState.THROTTLED:
            until_ms = max(until_ms, self.reopens_ms)
        self._become(CircuitState.THROTTLED)
        self.reopens_ms = until_ms
        self.failures = 0

    def defer_for_ms(self, now_ms: int) -> int:
        """Return for how long to defer a task.

        Throttled: until the end of Retry-After. Open: one task until the next probe, for which it is used; the others
        for about as long as the outage has lasted, or twice as long up to a minute. So a long outage causes few
        rewrites.
        """
        left_ms = max(0, self.reopens_ms - now_ms)
        if self.state is CircuitState.THROTTLED:
            return left_ms
        if self.state is CircuitState.OPEN and self.probe_expected_until_ms <= now_ms:
            self.probe_expected_until_ms = self.reopens_ms + FIRST_PAUSE_MS
            return left_ms
        return max(left_ms, outage_delay_ms(now_ms - self.not_closed_since_ms))

    def _open(self, state: CircuitState, now_ms: int) -> None:
        if self.is_closed:
            self.not_closed_since_ms = self._failing_since_ms if state is CircuitState.OPEN else now_ms
        self._pause_ms = min(LONGEST_PAUSE_MS, 2 * self._pause_ms or FIRST_PAUSE_MS)
        self._become(state)
        self.reopens_ms = now_ms + self._pause_ms

    def _become(self, state: CircuitState) -> None:
        self.state = state
        self.is_closed = state is CircuitState.CLOSED


def outage_delay_ms(outage_ms: int) -> int:
    """Return the delay of a task whose endpoint has not responded for `outage_ms`.

    The delay topic may be up to a quarter longer.
    """
    about_ms = max(min(2 * outage_ms, LONGEST_PAUSE_MS), min(outage_ms, _LONGEST_DELAY_MS))
    return max(FIRST_PAUSE_MS, about_ms * 4 // 5)
