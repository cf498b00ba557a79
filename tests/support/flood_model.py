"""A model of one flooded endpoint: real admission control, queues as delay topics, an endpoint as a rate."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from consumers.delivery.admission import AdmittedTask
from consumers.delivery.classification import ResponseKind
from tests.support.admission import DELAYS_MS, NOW, EndpointStub, admission_control

_STEP_MS = 100
_COMMIT_MS = 200
_RESUME_MS = 250  # half of what a lane waits at least between two looks, as the mean


@dataclass(frozen=True, slots=True)
class Flood:
    """What became of a flood."""

    seconds: float  # until the last delivery
    used: float  # of what the endpoint could have taken
    rewrites: float  # of a task, on average
    most_waiting: int


class Model:
    """So many jobs for one endpoint at once; the process reads `reads` records a second."""

    def __init__(self, jobs: int, per_second: float, *, reads: int = 25_000, at_once: int = 16) -> None:
        self._control = admission_control(subscription=at_once)
        self._endpoint = EndpointStub("flooded")
        self._jobs, self._per_second, self._reads = jobs, per_second, reads
        self._delay_topics: list[deque[tuple[int, AdmittedTask]]] = [deque() for _ in DELAYS_MS]
        self._fresh, self._done, self._rewrites, self._most = jobs, 0, 0, 0
        self._running: deque[tuple[float, AdmittedTask]] = deque()
        self._took_ms = at_once * 1_000 / per_second
        self._free_ms = 0.0  # when the endpoint, which takes one after the other, is free again

    def run(self) -> Flood:
        """Let time pass until all is delivered."""
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
            self._most = max(self._most, self._control.waiting)
        seconds = (now_ms - NOW) / 1_000
        return Flood(seconds, self._jobs / self._per_second / seconds, self._rewrites / self._jobs, self._most)

    def _read(self, now_ms: int, limit: int) -> int:
        """Read a batch of new jobs and of what has come back."""
        fresh = min(self._fresh, limit)
        self._fresh -= fresh
        for _ in range(fresh):
            self._offer(AdmittedTask(), now_ms)
        read = fresh
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
        """Let end what ends in this step, and what waited start at that moment."""
        while self._running and self._running[0][0] <= now_ms:
            at_ms, task = self._running.popleft()
            self._done += 1
            self._control.completed(task, ResponseKind.DELIVERED, int(self._took_ms * 1_000), int(at_ms))
            while (waited := self._control.next_waiting(int(at_ms))) is not None:
                self._control.start(self._endpoint, waited, int(at_ms))
                self._start(waited, at_ms)
