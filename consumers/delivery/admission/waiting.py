"""Endpoints with tasks waiting in memory, queued by what they wait for; backpressure on reading. Pure.

An endpoint is in at most one queue. An endpoint in no queue is woken when one of its own requests ends, or, if its
breaker is not closed, the next sweep defers its tasks.

    runnable         may be able to start a task now
    for_responsive   wait for a permit of the bulkhead, as RESPONSIVE or IDLE
    for_slow         wait for a permit of the bulkhead, in another class
    HostState.waiting  wait for a request of their host to end
    timed            wait for their rate limit
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from consumers.delivery.admission.bulkhead import Bulkhead
from consumers.delivery.admission.endpoint_state import EndpointState, HostState
from consumers.delivery.admission.types import RESPONSIVE, AdmittedTask, LimitReason, TrafficClass

# A sweep checks at most this many endpoints, which takes a millisecond or two.
_SWEPT: Final = 1_000
# With at least this many tasks that start soon, reading stops while at least `_IMMINENT` of them are imminent. With
# twice as many, an endpoint gets only its minimum room.
MANY: Final = 2_048
# With this many imminent tasks nothing more is read: waiting is cheaper than deferring.
_IMMINENT: Final = 64
# Imminent tasks start within 0.1 s. Ten times as many start soon, which means within a second.
_SOON: Final = 10


class WaitingEndpoints:
    """Counts of waiting tasks: `tasks` in all; of them, `soon` start within a second and `imminent` within 0.1 s.

    Tasks of endpoints that do not respond, or that wait for the slow quota, are neither. They cause no backpressure.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, EndpointState] = {}
        self._timed: list[tuple[int, int, EndpointState]] = []
        self._number = 0
        self._swept_ms = 0
        self.runnable: deque[EndpointState] = deque()
        self.for_responsive: deque[EndpointState] = deque()
        self.for_slow: deque[EndpointState] = deque()
        self.tasks = 0
        self.soon = 0
        self.imminent = 0

    @property
    def has_startable(self) -> bool:
        """Whether a task may be able to start now, or after the bulkhead has advanced."""
        return self.tasks > 0 and bool(self.runnable or self.for_responsive)

    @property
    def backpressure(self) -> int:
        """Number of waiting tasks that count against reading. Tasks of a few full endpoints do not stop it."""
        return self.soon if self.soon >= MANY and self.imminent >= _IMMINENT else self.imminent

    @property
    def next_start_ms(self) -> int | None:
        """When a waiting task may start by its rate limit; None: none waits for a rate limit."""
        return self._timed[0][0] if self._timed else None

    def add(self, state: EndpointState) -> None:
        """Add an endpoint with waiting tasks."""
        self._by_id[state.id] = state

    def push(self, state: EndpointState, task: AdmittedTask) -> None:
        """Add a waiting task."""
        state.waiting.append(task)
        self.tasks += 1
        self._count(state, len(state.waiting) - 1, len(state.waiting))

    def pop(self, state: EndpointState) -> AdmittedTask:
        """Take the first waiting task of an endpoint that was runnable; it is runnable again if more tasks wait."""
        waiting = state.waiting
        task = waiting.popleft()
        self.tasks -= 1
        self._count(state, len(waiting) + 1, len(waiting))
        if waiting:
            state.in_queue = True
            self.runnable.append(state)
        else:
            self._by_id.pop(state.id, None)
        return task

    def remove(self, state: EndpointState, is_removed: Callable[[AdmittedTask], bool]) -> list[AdmittedTask]:
        """Remove waiting tasks of an endpoint and return them."""
        removed = [task for task in state.waiting if is_removed(task)]
        if removed:
            before = len(state.waiting)
            state.waiting = deque(task for task in state.waiting if not is_removed(task))
            self.tasks -= len(removed)
            self._count(state, before, len(state.waiting))
            if not state.waiting:
                self._by_id.pop(state.id, None)
        return removed

    def enqueue(self, state: EndpointState, now_ms: int) -> None:
        """Put an endpoint in the queue of what limits it."""
        reason = state.limited_by
        if state.in_queue or reason is LimitReason.IN_FLIGHT:
            return
        if reason is LimitReason.HOST:
            state.host.waiting.append(state)
        elif reason is LimitReason.PROCESS:
            is_responsive = state.traffic_class is RESPONSIVE or state.traffic_class is TrafficClass.IDLE
            queue = self.for_responsive if is_responsive else self.for_slow
            queue.append(state)
        elif reason is LimitReason.RATE:
            assert state.rate_limit is not None
            self._number += 1
            heapq.heappush(self._timed, (state.rate_limit.ready_at(now_ms), self._number, state))
        else:
            return  # the breaker is not closed
        state.in_queue = True

    def wake(self, state: EndpointState) -> None:
        """Make an endpoint runnable if it has waiting tasks. It must be in no other queue."""
        state.in_queue = bool(state.waiting)
        if state.in_queue:
            self.runnable.append(state)

    def wake_some(self, queue: deque[EndpointState], count: int) -> None:
        """Wake up to `count` endpoints of a queue."""
        for _ in range(min(count, len(queue))):
            self.wake(queue.popleft())

    def wake_timed(self, now_ms: int) -> None:
        """Wake the endpoints whose rate limits let a task start now."""
        while self._timed and self._timed[0][0] <= now_ms:
            self.wake(heapq.heappop(self._timed)[2])

    def on_released(self, host: HostState, bulkhead: Bulkhead, *, was_slow: bool) -> None:
        """Wake endpoints after a permit was released: one of each queue that may use it."""
        for_slow = self.for_slow
        if for_slow and (was_slow or self._may_start_slow(bulkhead)):
            self.wake(for_slow.popleft())
        if host.waiting:
            self.wake(host.waiting.popleft())
        if self.for_responsive:
            self.wake(self.for_responsive.popleft())

    def on_limits_changed(self, state: EndpointState) -> None:
        """Wake an endpoint whose limits or host have changed."""
        self._by_id[state.id] = state
        timed = [entry for entry in self._timed if entry[2] is not state]
        if len(timed) < len(self._timed):
            self._timed = sorted(timed)
            state.in_queue = False
        if not state.in_queue:
            self.wake(state)

    def sweep(self, bulkhead: Bulkhead, now_ms: int) -> list[AdmittedTask]:
        """Remove and return the tasks of unresponsive endpoints; wake others for free permits.

        Otherwise an endpoint that was woken, but did not use its permit, would keep the next one waiting.
        """
        removed: list[AdmittedTask] = []
        for state in self._next_swept():
            if state.is_unresponsive(now_ms) or not state.breaker.is_closed:
                state.limited_by = state.closed_by or LimitReason.NO_RESPONSE
                removed += self.remove(state, lambda _task: True)
            else:
                self._recount(state, now_ms)
            self.wake_some(state.host.waiting, state.host.capacity - state.host.in_flight)
        self.wake_some(self.for_responsive, bulkhead.free)
        self.wake_some(self.for_slow, bulkhead.free)
        while self._timed and now_ms < self._swept_ms:  # the clock was set back
            self.wake(self._timed.pop()[2])
        self._swept_ms = now_ms
        return removed

    def drop(self, is_lost: Callable[[AdmittedTask], bool]) -> list[AdmittedTask]:
        """Remove and return the tasks of lost partitions."""
        removed = [task for state in list(self._by_id.values()) for task in self.remove(state, is_lost)]
        # Endpoints without tasks leave the queue: `has_startable` would keep the loop awake for them.
        self.wake_some(self.for_responsive, len(self.for_responsive))
        return removed

    def _may_start_slow(self, bulkhead: Bulkhead) -> bool:
        """Return whether the end of a responsive request lets a slow one start, because it raises the slow quota."""
        if self.for_responsive or bulkhead.slow >= bulkhead.slow_ceiling:
            return False
        return bulkhead.allows(self.for_slow[0].traffic_class)

    def _count(self, state: EndpointState, before: int, after: int) -> None:
        """Count a change of the number of waiting tasks of an endpoint."""
        imminent = state.imminent
        if imminent:
            self.imminent += min(after, imminent) - min(before, imminent)
            self.soon += min(after, _SOON * imminent) - min(before, _SOON * imminent)

    def _recount(self, state: EndpointState, now_ms: int) -> None:
        """Estimate again how many tasks of an endpoint are imminent."""
        waiting = len(state.waiting)
        self._count(state, waiting, 0)
        state.imminent = state.count_imminent(state.backlog, now_ms)
        self._count(state, 0, waiting)

    def _next_swept(self) -> list[EndpointState]:
        """Return the endpoints to sweep; if there are too many, those that were swept longest ago."""
        found = list(islice(self._by_id.values(), _SWEPT))
        if len(self._by_id) > _SWEPT:
            for state in found:
                self._by_id[state.id] = self._by_id.pop(state.id)
        return found
