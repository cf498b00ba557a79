"""A model of one flooded endpoint: real admission control, queues for delay topics, a rate for the endpoint."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from consumers.delivery.admission import AdmittedTask
from consumers.delivery.classification import ResponseKind
from tests.support.admission import DELAYS_MS, NOW, EndpointStub, admission_control

_STEP_MS = 100
_COMMIT_MS = 200
_RESUME_MS = 250  # mean wait for the resume of a partition: half of the minimum interval


@dataclass(frozen=True, slots=True)
class Flood:
    """The result of a flood."""

    seconds: float  # until the last delivery
    used: float  # share of the capacity of the endpoint
    rewrites: float  # per job, on average
    most_waiting: int


class FloodModel:
    """`jobs` jobs at once for one endpoint that takes `per_second`. The process reads `reads` records per second."""

    def __init__(self, jobs: int, per_second: float, *, reads: int = 25_000, at_once: int = 16) -> None:
        self._control = admission_control(subscription=at_once)
        self._endpoint = EndpointStub("flooded")
        self._jobs = jobs
        self._per_second = per_second
        self._reads = reads
        self._delay_topics: list[deque[tuple[int, AdmittedTask]]] = [deque() for _ in DELAYS_MS]
        self._unread = jobs
        self._done = 0
        self._rewrites = 0
        self._most_waiting = 0
        self._running: deque[tuple[float, AdmittedTask]] = deque()
        self._took_ms = at_once * 1_000 / per_second
        self._free_ms = 0.0  # when the endpoint, which handles one request after the other, is free again

    def run(self) -> Flood:
        """Run until all jobs are delivered."""
        now_ms = NOW
        while self._done < self._jobs:
            now_ms += _STEP_MS
            self._control.advance(now_ms)
            for task in self._control.sweep(now_ms):
                self._defer(task, now_ms)
            budget = self._reads * _STEP_MS // 1_000
            while budget > 0:
                read = self._read(now_ms, min(256, budget))
                self._respond(now_ms)
                budget -= read or budget
            self._most_waiting = max(self._most_waiting, self._control.waiting)
        seconds = (now_ms - NOW) / 1_000
        return Flood(seconds, self._jobs / self._per_second / seconds, self._rewrites / self._jobs, self._most_waiting)

    def _read(self, now_ms: int, limit: int) -> int:
        """Read a batch of new jobs and of deferred ones that are due."""
        new = min(self._unread, limit)
        self._unread -= new
        for _ in range(new):
            self._offer(AdmittedTask(), now_ms)
        read = new
        for number, delay_topic in enumerate(self._delay_topics):
            while delay_topic and delay_topic[0][0] <= now_ms and read < limit:
                read += 1
                self._control.on_deferred_record("flooded", number)
                self._offer(delay_topic.popleft()[1], now_ms)
        return read

    def _offer(self, task: AdmittedTask, now_ms: int) -> None:
        if self._control.admit(self._endpoint, task, now_ms):
            self._start(task, now_ms)
        elif not self._control.wait(task, now_ms):
            self._defer(task, now_ms)

    def _defer(self, task: AdmittedTask, now_ms: int) -> None:
        _, delay_topic = self._control.defer(task, now_ms)
        self._delay_topics[delay_topic].append((now_ms + _COMMIT_MS + DELAYS_MS[delay_topic] + _RESUME_MS, task))
        self._rewrites += 1

    def _start(self, task: AdmittedTask, now_ms: float) -> None:
        self._free_ms = max(self._free_ms + 1_000 / self._per_second, now_ms)
        self._running.append((self._free_ms, task))

    def _respond(self, now_ms: int) -> None:
        """End the requests of this step; waiting tasks start at that moment."""
        while self._running and self._running[0][0] <= now_ms:
            at_ms, task = self._running.popleft()
            self._done += 1
            self._control.completed(task, ResponseKind.DELIVERED, int(self._took_ms * 1_000), int(at_ms))
            while (waited := self._control.next_waiting(int(at_ms))) is not None:
                self._control.start(self._endpoint, waited, int(at_ms))
                self._start(waited, at_ms)
