"""What tests of pacing share: subscriptions, jobs, and a pacing with small limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from consumers.delivery.pacing import Pacing, PacingLimits, Result

NOW: Final = 1_000_000_000
TIERS_MS: Final = (1_000, 5_000, 20_000, 60_000, 300_000, 1_800_000, 7_200_000, 86_400_000)
QUICK_US: Final = 5_000


@dataclass(slots=True, eq=False)
class Job:
    """What pacing keeps of a job."""

    name: str = ""
    pace: Any = None
    ticket: int | None = None


@dataclass(frozen=True, slots=True)
class Who:
    """A subscription."""

    subscription_id: str
    host: str = "one.example"
    max_in_flight: int | None = None
    rate_limit: float | None = None


class Paced:
    """A pacing whose endpoints are known to be quick once `warm` was called."""

    def __init__(self, limits: PacingLimits, tiers_ms: Sequence[int]) -> None:
        self._pacing = Pacing[Job](limits, tiers_ms)

    def __getattr__(self, name: str) -> Any:
        # Not by inheritance: a class that is compiled lets no other one inherit from it.
        return getattr(self._pacing, name)

    def jobs(self, who: Who, count: int, now_ms: int = NOW) -> dict[str, list[Job]]:
        """Offer so many jobs; return those that started, wait and are parked."""
        found: dict[str, list[Job]] = {"start": [], "wait": [], "park": []}
        for number in range(count):
            job = Job(f"{who.subscription_id}-{number}")
            if self.admit(who, job, now_ms):
                found["start"].append(job)
            elif self.wait(job, now_ms):
                found["wait"].append(job)
            else:
                self.park(job, now_ms)
                found["park"].append(job)
        return found

    def warm(self, *who: Who, answers: int = 40, took_us: int = QUICK_US, now_ms: int = NOW) -> None:
        """Let endpoints answer for a while, one request at a time."""
        for one in who:
            for _ in range(answers):
                job = Job()
                assert self.admit(one, job, now_ms)
                self.ended(job, Result.DELIVERED, took_us, now_ms)


def pacing(subscription: int = 2, host: int = 1_000, process: int = 10_000) -> Paced:
    """Return a pacing with these limits."""
    return Paced(PacingLimits(subscription, host, process, 600_000), TIERS_MS)
