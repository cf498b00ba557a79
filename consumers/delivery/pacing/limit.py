"""How many requests of one subscription may run at once: as many as its endpoint takes without slowing down. Pure."""

from __future__ import annotations

from typing import Final

# Few while nothing is known of an endpoint: one that never answers then holds no more.
AT_FIRST: Final = 4
# What the endpoint's own times may grow by before it counts as slowed down: our loop, the network and a busy machine
# add that much to an answer that takes 1 ms.
_SLACK_US: Final = 100_000


class Limit:
    """Additive increase, multiplicative decrease, by the time to an answer; times are in µs.

    `base_us` is how long the endpoint takes when it is well: it follows quicker answers at once and slower ones by a
    256th of the way, so that a lasting change becomes the new measure after some hundred answers.
    """

    __slots__ = ("_begins", "_credit", "base_us", "mean_us", "most", "value")

    def __init__(self, most: int) -> None:
        self.most = most
        self.value = min(AT_FIRST, most)
        self.mean_us = 0  # the last eight or so answers counting most; 0: none yet
        self.base_us = 0
        self._credit = 0  # answers since the value changed
        self._begins = True  # doubles each round until the first sign of trouble

    def bound(self, most: int) -> None:
        """Take another upper bound."""
        self.most = most
        self.value = min(self.value, most)

    def restart(self) -> None:
        """Begin anew with one request: the endpoint was away."""
        self.value, self._credit, self._begins = 1, 0, True

    @property
    def is_restarting(self) -> bool:
        """Whether fewer requests are let through than a new endpoint gets, and none has shown that this is enough."""
        return self._begins and self.value < AT_FIRST and self.value < self.most

    def answered(self, took_us: int) -> None:
        """Take in the time to an answer that came; 0: nobody knows."""
        if not took_us:
            return
        mean, base = self.mean_us, self.base_us
        if mean == 0:
            self.mean_us = self.base_us = took_us
        else:
            self.mean_us = mean = mean + ((took_us - mean) >> 3)
            self.base_us = base = took_us if took_us < base else base + ((mean - base) >> 8)
            if mean > 2 * base + _SLACK_US:
                self._slowed()
                return
        if self.value < self.most:
            self._credit += 1
            if self._begins or self._credit >= self.value:
                self.value += 1
                self._credit = 0

    def overloaded(self) -> None:
        """Take in that the endpoint asked for less (429, 503), or did not answer in time."""
        self._begins = False
        self._decrease(2)

    def _slowed(self) -> None:
        self._begins = False
        self._decrease(4)

    def _decrease(self, part: int) -> None:
        """Give one `part`-th up, once for all that were on their way together."""
        self._credit += 1
        if self._credit >= self.value or self.value == self.most:
            self.value = max(1, self.value - max(1, self.value // part))
            self._credit = 0
