"""Adaptive concurrency limit of one endpoint: grows until the endpoint slows down. Pure.

AIMD (additive increase, multiplicative decrease) on response times, with a slow start:

- Slow start: an endpoint begins with `INITIAL` requests. Each response adds one, until the first decrease.
- Additive increase: after that each full round of good responses adds one, up to `maximum`.
- Multiplicative decrease: a mean above twice the baseline plus a slack takes off a quarter; a 429, 503 or timeout takes
  off half. Requests that were in flight together decrease it once.

`mean_us` is a moving average with a weight of 1/8. `baseline_us` is the response time without overload. It follows
faster responses at once, and slower ones by 1/256 of the difference. So a lasting change becomes the new baseline after
some hundred responses: a slow endpoint does not count as overloaded.
"""

from __future__ import annotations

from typing import Final

# Low, because an endpoint that never responds holds this many permits.
INITIAL: Final = 4
# The event loop, the network and a busy machine can add this much to a response that takes 1 ms.
_SLACK_US: Final = 100_000


class ConcurrencyLimit:
    """The limit is `value`, from 1 to `maximum`; times are in µs."""

    __slots__ = ("_credit", "_slow_start", "baseline_us", "maximum", "mean_us", "value")

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.value = min(INITIAL, maximum)
        self.mean_us = 0  # 0: no response yet
        self.baseline_us = 0
        self._credit = 0  # responses since the value changed
        self._slow_start = True

    def set_maximum(self, maximum: int) -> None:
        """Change the upper bound."""
        self.maximum = maximum
        self.value = min(self.value, maximum)

    def restart(self) -> None:
        """Return to one request and slow start, after an outage of the endpoint."""
        self.value = 1
        self._credit = 0
        self._slow_start = True

    @property
    def is_restarting(self) -> bool:
        """Whether the limit is in slow start after an outage, still below the initial value."""
        return self._slow_start and self.value < INITIAL and self.value < self.maximum

    def on_response(self, duration_us: int) -> None:
        """Take in a response time; 0: unknown."""
        if not duration_us:
            return
        mean, baseline = self.mean_us, self.baseline_us
        if mean == 0:
            self.mean_us = duration_us
            self.baseline_us = duration_us
        else:
            mean += (duration_us - mean) >> 3
            baseline = duration_us if duration_us < baseline else baseline + ((mean - baseline) >> 8)
            self.mean_us = mean
            self.baseline_us = baseline
            if mean > 2 * baseline + _SLACK_US:
                self._slow_start = False
                self._decrease(4)
                return
        if self.value < self.maximum:
            self._credit += 1
            if self._slow_start or self._credit >= self.value:
                self.value += 1
                self._credit = 0

    def on_overload(self) -> None:
        """Take in a 429, a 503 or a timeout."""
        self._slow_start = False
        self._decrease(2)

    def _decrease(self, part: int) -> None:
        """Take one `part`-th off, once for all requests that were in flight together."""
        self._credit += 1
        if self._credit >= self.value or self.value == self.maximum:
            self.value = max(1, self.value - max(1, self.value // part))
            self._credit = 0
