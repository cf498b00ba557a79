"""How many requests may run at once: 16 for a subscription, 512 for the process; what comes of the rest.

A job that finds its subscription busy waits in memory, up to a bound; behind that it is parked: written to the parking
tier, without an attempt counted. So an endpoint that is flooded holds up neither its partition nor the process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")


class Admission(Enum):
    """What becomes of a job that is due."""

    START = "start"
    WAIT = "wait"
    PARK = "park"


@dataclass(slots=True)
class _Pace(Generic[T]):
    in_flight: int = 0
    waiting: deque[T] = field(default_factory=deque)


class Pacing(Generic[T]):
    """Counts what runs and keeps what waits, per subscription; `T` is whatever waits."""

    def __init__(self, *, per_subscription: int, waiting: int) -> None:
        self._limit = per_subscription
        self._room = waiting
        self._paces: dict[str, _Pace[T]] = {}
        self._freed: deque[str] = deque()  # subscriptions with something waiting and a place free

    def admit(self, subscription: str, job: T, *, may_wait: bool) -> Admission:
        """Start a job (and count it), keep it waiting, or have it parked."""
        pace = self._paces.get(subscription)
        if pace is None:
            pace = self._paces[subscription] = _Pace()
        if pace.in_flight < self._limit and not pace.waiting:
            pace.in_flight += 1
            return Admission.START
        if may_wait and len(pace.waiting) < self._room:
            pace.waiting.append(job)
            return Admission.WAIT
        return Admission.PARK

    def done(self, subscription: str) -> None:
        """Give the place of an ended request back."""
        pace = self._paces[subscription]
        pace.in_flight -= 1
        if pace.waiting:
            self._freed.append(subscription)
        elif pace.in_flight == 0:
            del self._paces[subscription]

    def next_waiting(self) -> T | None:
        """Take the job that waited longest for a place that is free now; it has to be admitted with `retake`."""
        while self._freed:
            pace = self._paces.get(self._freed.popleft())
            if pace is not None and pace.waiting and pace.in_flight < self._limit:
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

    def drop(self, is_lost: Callable[[T], bool]) -> list[T]:
        """Forget, and return, what waits and is lost with its partition."""
        dropped: list[T] = []
        for pace in self._paces.values():
            lost = [job for job in pace.waiting if is_lost(job)]
            if lost:
                dropped += lost
                pace.waiting = deque(job for job in pace.waiting if not is_lost(job))
        return dropped
