"""How many requests may run at once: 16 for a subscription, 512 for the process; what comes of the rest.

A job that finds its subscription busy waits in memory, if that will take no longer than a blink at the rate at which
the endpoint answers lately; behind that it is parked: written to the parking tier, without an attempt counted. Nothing
waits for an endpoint that has not answered for a second. So an endpoint that is flooded, slow or dead holds up neither
its partition nor the process, and one that is fast gets its jobs without a detour.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Generic, TypeVar

T = TypeVar("T")
# What may wait in memory is what the endpoint takes in so long, within the bounds below.
_BLINK_US: Final = 500_000
_AT_MOST: Final = 512
_AT_FIRST: Final = 64  # while nothing is known of its rate
STUCK_AFTER_MS: Final = 1_000


class Admission(Enum):
    """What becomes of a job that is due."""

    START = "start"
    WAIT = "wait"
    PARK = "park"


@dataclass(slots=True)
class _Pace(Generic[T]):
    in_flight: int = 0
    waiting: deque[T] = field(default_factory=deque)
    room: int = _AT_FIRST  # how many may wait
    mean_us: int = 0  # of the time to an answer, the last eight or so counting most
    moved_ms: int = 0  # when the last request began or ended


class Pacing(Generic[T]):
    """Counts what runs and keeps what waits, per subscription; `T` is whatever waits. Times are in ms."""

    def __init__(self, *, per_subscription: int) -> None:
        self._limit = per_subscription
        self._paces: dict[str, _Pace[T]] = {}
        self._freed: deque[str] = deque()  # subscriptions with something waiting and a place free
        self.waiting = 0

    def admit(self, subscription: str, job: T, now_ms: int, *, may_wait: bool = True) -> Admission:
        """Start a job (and count it), keep it waiting (where that may be), or have it parked."""
        pace = self._paces.get(subscription)
        if pace is None:
            pace = self._paces[subscription] = _Pace()
        if pace.in_flight < self._limit and not pace.waiting:
            pace.in_flight += 1
            pace.moved_ms = now_ms
            return Admission.START
        if may_wait and len(pace.waiting) < pace.room and not self._is_stuck(pace, now_ms):
            pace.waiting.append(job)
            self.waiting += 1
            return Admission.WAIT
        return Admission.PARK

    def done(self, subscription: str, took_us: int, now_ms: int) -> None:
        """Give the place of an ended request back."""
        pace = self._paces[subscription]
        pace.in_flight -= 1
        pace.moved_ms = now_ms
        if pace.waiting:
            pace.mean_us += (took_us - pace.mean_us) >> 3 if pace.mean_us else took_us
            pace.room = min(_AT_MOST, max(self._limit, self._limit * _BLINK_US // (pace.mean_us or 1)))
            self._freed.append(subscription)
        elif pace.in_flight == 0:
            del self._paces[subscription]

    def next_waiting(self) -> T | None:
        """Take the job that waited longest for a place that is free now; it has to be admitted with `retake`."""
        while self._freed:
            pace = self._paces.get(self._freed.popleft())
            if pace is not None and pace.waiting and pace.in_flight < self._limit:
                self.waiting -= 1
                return pace.waiting.popleft()
        return None

    def retake(self, subscription: str) -> None:
        """Count a job that `next_waiting` gave as running."""
        self._paces[subscription].in_flight += 1

    def skip(self, subscription: str) -> None:
        """Note that a job that `next_waiting` gave is not started: the next one of its subscription may."""
        pace = self._paces[subscription]
        if pace.waiting:
            self._freed.append(subscription)
        elif pace.in_flight == 0:
            del self._paces[subscription]

    @property
    def has_waiting(self) -> bool:
        """Whether `next_waiting` may give something."""
        return bool(self._freed)

    def take_stuck(self, now_ms: int) -> list[T]:
        """Take what waits for endpoints that have not answered for a second: it is to be parked."""
        return self._take(lambda pace: self._is_stuck(pace, now_ms), lambda _job: True)

    def drop(self, is_lost: Callable[[T], bool]) -> list[T]:
        """Forget, and return, what waits and is lost with its partition."""
        return self._take(lambda _pace: True, is_lost)

    def _is_stuck(self, pace: _Pace[T], now_ms: int) -> bool:
        return pace.in_flight >= self._limit and now_ms - pace.moved_ms >= STUCK_AFTER_MS

    def _take(self, of: Callable[[_Pace[T]], bool], which: Callable[[T], bool]) -> list[T]:
        taken: list[T] = []
        for subscription, pace in list(self._paces.items()):
            if pace.waiting and of(pace):
                taken += [job for job in pace.waiting if which(job)]
                pace.waiting = deque(job for job in pace.waiting if not which(job))
                if not pace.waiting and pace.in_flight == 0:
                    del self._paces[subscription]
        self.waiting -= len(taken)
        return taken
