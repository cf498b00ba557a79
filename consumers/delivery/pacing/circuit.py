"""Whether an endpoint is asked at all: not while it is away, or has told us to wait. Pure.

    closed ──(failures in a row)──► open ──(pause over)──► probing ──(answer)──► closed
       └──────(Retry-After)──────────►│ ◄──(failure: a longer pause)──┘

While it is open or a probe is under way, jobs are parked without an attempt counted.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

# Failures to get an answer, in a row, after which an endpoint counts as away.
FAILURES: Final = 5
# Pauses between probes: the first, doubled each time up to the last.
FIRST_PAUSE_MS: Final = 5_000
LONGEST_PAUSE_MS: Final = 60_000
# No job stays away for longer at a time, however long the outage: that is how late it may come after its end.
_LONGEST_AWAY_MS: Final = 1_800_000


class State(Enum):
    """Of a circuit."""

    CLOSED = "closed"
    FAILING = "failing"  # open: no answers
    TOLD_TO_WAIT = "told_to_wait"  # open: Retry-After
    PROBING = "probing"  # one request, or none yet, that shows whether it is back


class Circuit:
    """Of one endpoint; times are in ms. `longest_ms` bounds any wait, also when the clock is set back."""

    __slots__ = (
        "_failing_ms",
        "_longest_ms",
        "_pause_ms",
        "failures",
        "is_closed",
        "prober_until_ms",
        "reopens_ms",
        "since_ms",
        "state",
    )

    def __init__(self, longest_ms: int) -> None:
        self._longest_ms = max(longest_ms, LONGEST_PAUSE_MS)
        self._pause_ms = 0
        self._failing_ms = 0  # when the first of the failures in a row was
        self.state = State.CLOSED
        self.is_closed = True  # requests start as the limits let them
        self.failures = 0  # in a row
        self.since_ms = 0  # since when the endpoint is away, or waited for
        self.reopens_ms = 0  # when the next probe may start
        self.prober_until_ms = 0  # until when a parked job is expected back to be the next probe

    def lets_probe(self, now_ms: int) -> bool:
        """Tell whether a single request may start now (while the circuit is not closed)."""
        if self.reopens_ms - now_ms > self._longest_ms:  # the clock was set back
            self.reopens_ms = now_ms
        return now_ms >= self.reopens_ms

    def probes(self) -> None:
        """Note that a probe starts."""
        self._become(State.PROBING)
        self.prober_until_ms = 0

    def failed(self, now_ms: int, *, probe: bool) -> bool:
        """Take in that no answer came; True: the circuit has opened, or stays open for longer."""
        self.failures += 1
        if self.failures == 1:
            self._failing_ms = now_ms
        if probe or (self.is_closed and self.failures >= FAILURES):
            self._open(State.FAILING, now_ms)
            return True
        return False

    def answered(self, now_ms: int, *, probe: bool, overloaded: bool) -> bool:
        """Take in an answer of any status; True: the circuit has closed."""
        self.failures = 0
        if self.is_closed:
            return False
        if overloaded:
            if probe:
                self._open(State.TOLD_TO_WAIT, now_ms)
            return False
        if self.state is State.TOLD_TO_WAIT and now_ms < self.reopens_ms:
            return False  # asked before it told us to wait
        self._become(State.CLOSED)
        self._pause_ms = self.prober_until_ms = 0
        return True

    def told_to_wait(self, until_ms: int, now_ms: int) -> None:
        """Take in a Retry-After."""
        if self.is_closed:
            self.since_ms = now_ms
        until_ms = min(until_ms, now_ms + self._longest_ms)
        if self.state is State.TOLD_TO_WAIT:
            until_ms = max(until_ms, self.reopens_ms)
        self._become(State.TOLD_TO_WAIT)
        self.reopens_ms, self.failures = until_ms, 0

    def park_for_ms(self, now_ms: int) -> int:
        """Return how long a job should stay away.

        Until the end of the wait that we were told. Where an endpoint is away, one job until the next probe, to be it;
        the others for about as long as it has been away already (twice, up to a minute): a long outage is few rewrites.
        """
        left_ms = max(0, self.reopens_ms - now_ms)
        if self.state is State.TOLD_TO_WAIT:
            return left_ms
        if self.state is State.FAILING and self.prober_until_ms <= now_ms:
            self.prober_until_ms = self.reopens_ms + FIRST_PAUSE_MS
            return left_ms
        return max(left_ms, away_for_ms(now_ms - self.since_ms))

    def _open(self, state: State, now_ms: int) -> None:
        if self.is_closed:
            self.since_ms = self._failing_ms if state is State.FAILING else now_ms
        self._pause_ms = min(LONGEST_PAUSE_MS, 2 * self._pause_ms or FIRST_PAUSE_MS)
        self._become(state)
        self.reopens_ms = now_ms + self._pause_ms

    def _become(self, state: State) -> None:
        self.state, self.is_closed = state, state is State.CLOSED


def away_for_ms(gone_ms: int) -> int:
    """Return for how long a job stays away from an endpoint that has not answered for `gone_ms`.

    A tier is chosen that is up to a quarter longer.
    """
    about_ms = max(min(2 * gone_ms, LONGEST_PAUSE_MS), min(gone_ms, _LONGEST_AWAY_MS))
    return max(FIRST_PAUSE_MS, about_ms * 4 // 5)
