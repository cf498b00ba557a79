"""A model of one flooded endpoint: the real pacing, with tiers as queues and an endpoint as a number a second."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from consumers.delivery.pacing import Result
from tests.support.pacing import NOW, TIERS_MS, Job, Who, pacing

_STEP_MS = 100
_COMMIT_MS = 200
_RESUME_MS = 250  # half of what a lane waits at least between two looks, as the mean


@dataclass(frozen=True, slots=True)
class Flood:
    """What became of a flood."""

    seconds: float  # until the last delivery
    used: float  # of what the endpoint could have taken
    rewrites: float  # of a job, on average
    most_waiting: int


class Model:
    """So many jobs for one endpoint, at once; the process reads `reads` records a second."""

    def __init__(self, jobs: int, per_second: float, *, reads: int = 25_000, at_once: int = 16) -> None:
        self._paced = pacing(subscription=at_once)
        self._who = Who("flooded")
        self._jobs, self._per_second, self._reads = jobs, per_second, reads
        self._tiers: list[deque[tuple[int, Job]]] = [deque() for _ in TIERS_MS]
        self._fresh, self._done, self._rewrites, self._most = jobs, 0, 0, 0
        self._running: deque[tuple[float, Job]] = deque()
        self._took_ms = at_once * 1_000 / per_second
        self._free_ms = 0.0  # when the endpoint, which takes one after the other, is free again

    def run(self) -> Flood:
        """Let time pass until all is delivered."""
        now_ms = NOW
        while self._done < self._jobs:
            now_ms += _STEP_MS
            self._paced.advance(now_ms)
            for job in self._paced.sweep(now_ms):
                self._park(job, now_ms)
            budget = self._reads * _STEP_MS // 1_000
            while budget > 0:
                read = self._read(now_ms, min(256, budget))
                self._answer(now_ms)
                budget -= read or budget
            self._most = max(self._most, self._paced.waiting)
        seconds = (now_ms - NOW) / 1_000
        return Flood(seconds, self._jobs / self._per_second / seconds, self._rewrites / self._jobs, self._most)

    def _read(self, now_ms: int, limit: int) -> int:
        """Read a batch of new jobs and of what has come back."""
        fresh = min(self._fresh, limit)
        self._fresh -= fresh
        for _ in range(fresh):
            self._offer(Job(), now_ms)
        read = fresh
        for number, tier in enumerate(self._tiers):
            while tier and tier[0][0] <= now_ms and read < limit:
                read += 1
                self._paced.came_back("flooded", number)
                self._offer(tier.popleft()[1], now_ms)
        return read

    def _offer(self, job: Job, now_ms: int) -> None:
        if self._paced.admit(self._who, job, now_ms):
            self._start(job, now_ms)
        elif not self._paced.wait(job, now_ms):
            self._park(job, now_ms)

    def _park(self, job: Job, now_ms: int) -> None:
        _, tier = self._paced.park(job, now_ms)
        self._tiers[tier].append((now_ms + _COMMIT_MS + TIERS_MS[tier] + _RESUME_MS, job))
        self._rewrites += 1

    def _start(self, job: Job, now_ms: float) -> None:
        self._free_ms = max(self._free_ms + 1_000 / self._per_second, now_ms)
        self._running.append((self._free_ms, job))

    def _answer(self, now_ms: int) -> None:
        """Let end what ends in this step, and what waited start at that moment."""
        while self._running and self._running[0][0] <= now_ms:
            at_ms, job = self._running.popleft()
            self._done += 1
            self._paced.ended(job, Result.DELIVERED, int(self._took_ms * 1_000), int(at_ms))
            while (waited := self._paced.next_waiting(int(at_ms))) is not None:
                self._paced.begin(self._who, waited, int(at_ms))
                self._start(waited, at_ms)
