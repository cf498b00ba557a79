"""AdmissionControl: decides for all endpoints which task starts, waits in memory, or is deferred. Pure.

    admit ──► in flight ─────────────────────────────────────► completed
      └─► wait ──► next_waiting ──► start ──► in flight ──► completed
            └─► defer: returns the delay topic and the reason

A task starts if nothing limits it. The limits are checked in this order: the adaptive concurrency limit of the endpoint
(AIMD), its circuit breaker and Retry-After, its rate limit (GCRA), the limit of its host, the bulkhead of the process.
Endpoints that wait for a permit of the bulkhead or of a host are queued and get one in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from consumers.delivery.admission.bulkhead import Bulkhead
from consumers.delivery.admission.endpoint_state import EndpointState
from consumers.delivery.admission.registry import EndpointRegistry
from consumers.delivery.admission.types import (
    RESPONSIVE,
    AdmissionLimits,
    AdmittedTask,
    EndpointLimits,
    LimitReason,
)
from consumers.delivery.admission.waiting import MANY, WaitingEndpoints
from consumers.delivery.classification import Classified

# An endpoint always has room for this many tasks in memory.
_LEAST_ROOM: Final = 64
_IN_FLIGHT, _HOST, _PROCESS = LimitReason.IN_FLIGHT, LimitReason.HOST, LimitReason.PROCESS  # see types.RESPONSIVE


class AdmissionControl:
    """Admits tasks. `delays_ms` are the delays of the topics for deferred tasks, ascending. Times are in ms."""

    def __init__(self, limits: AdmissionLimits, delays_ms: Sequence[int]) -> None:
        self._delays_ms = delays_ms
        self._registry = EndpointRegistry(limits)
        self._endpoints = self._registry.endpoints
        self._waiting = WaitingEndpoints()
        self.bulkhead = Bulkhead(limits.per_process)

    @property
    def endpoints(self) -> Iterable[EndpointState]:
        """The state of every known endpoint."""
        return self._endpoints.values()

    @property
    def waiting(self) -> int:
        """Number of tasks that wait in memory."""
        return self._waiting.tasks

    @property
    def soon(self) -> int:
        """Number of waiting tasks that start within a second."""
        return self._waiting.soon

    @property
    def backpressure(self) -> int:
        """Number of waiting tasks that count against reading."""
        return self._waiting.backpressure

    @property
    def has_startable(self) -> bool:
        """Whether `next_waiting` may return a task, now or as soon as `advance` finds requests overdue."""
        return self._waiting.has_startable

    @property
    def next_start_ms(self) -> int | None:
        """When a waiting task may start by its rate limit; None: none waits for a rate limit."""
        return self._waiting.next_start_ms

    def advance(self, now_ms: int) -> None:
        """Advance to `now_ms`. Call it before tasks are admitted."""
        if overdue := self.bulkhead.advance(now_ms):
            for task in overdue:
                assert task.endpoint_state is not None
                task.endpoint_state.overdue += 1
            self._waiting.wake_some(self._waiting.for_responsive, self.bulkhead.free)

    def admit(self, limits: EndpointLimits, task: AdmittedTask, now_ms: int) -> bool:
        """Start a task. Return False if it may not start: the caller calls `wait` or `defer`."""
        state = self._endpoints.get(limits.subscription_id)
        if state is None or state.limits is not limits:
            state = self._update(limits, now_ms)
        if not state.waiting:
            reason = self._limit_reason(state, now_ms)
            if reason is None:
                self._start(state, task, now_ms)
                return True
            state.limited_by = reason
        elif not state.breaker.is_closed:
            state.limited_by = state.closed_by
        task.endpoint_state = state
        # Slow endpoints share a quota of the permits. A job that waits for it waits because endpoints are slow.
        task.limited = state.limited_by is not _PROCESS or state.traffic_class is not RESPONSIVE
        return False

    def wait(self, task: AdmittedTask, now_ms: int) -> bool:
        """Keep a task that was not admitted in memory. Return False if it may not wait: the caller calls `defer`."""
        state = task.endpoint_state
        assert state is not None
        if not state.breaker.is_closed:
            return False
        if state.is_unresponsive(now_ms):
            state.limited_by = LimitReason.NO_RESPONSE
            return False
        waiting = len(state.waiting)
        if waiting >= _LEAST_ROOM:
            # Tasks that wait for long take no room from endpoints whose tasks start soon.
            others = self._waiting.soon if state.imminent else self._waiting.tasks
            if others >= 2 * MANY or waiting >= state.room(now_ms):
                return False
        if not waiting:
            backlog = state.ensure_backlog(self._delays_ms, now_ms)
            state.imminent = state.count_imminent(backlog, now_ms)
            self._waiting.add(state)
            self._waiting.enqueue(state, now_ms)
        self._waiting.push(state, task)
        return True

    def defer(self, task: AdmittedTask, now_ms: int) -> tuple[str, int]:
        """Return why a task is deferred, and the index of its delay topic."""
        state = task.endpoint_state
        assert state is not None
        task.endpoint_state = None
        backlog = state.ensure_backlog(self._delays_ms, now_ms)
        delay_topic = backlog.choose_delay_topic(len(state.waiting), state.blocked_for_ms(now_ms), now_ms)
        backlog.add(delay_topic, now_ms)
        return (state.limited_by or LimitReason.IN_FLIGHT).value, delay_topic

    def on_deferred_record(self, subscription_id: str, delay_topic: int) -> None:
        """Take in that a deferred task was read from its delay topic."""
        state = self._endpoints.get(subscription_id)
        if state is not None and state.backlog is not None:
            state.backlog.remove(delay_topic)

    def next_waiting(self, now_ms: int) -> AdmittedTask | None:
        """Return the next waiting task that may start. The caller calls `start`, unless the task is cancelled."""
        waiting = self._waiting
        waiting.wake_timed(now_ms)
        runnable = waiting.runnable
        while runnable:
            state = runnable.popleft()
            state.in_queue = False
            if not state.waiting:
                continue
            state.limited_by = self._limit_reason(state, now_ms)
            if state.limited_by is None:
                return waiting.pop(state)
            waiting.enqueue(state, now_ms)
        return None

    def start(self, limits: EndpointLimits, task: AdmittedTask, now_ms: int) -> None:
        """Start a task that `next_waiting` returned."""
        state = self._endpoints.get(limits.subscription_id)
        if state is None or state.limits is not limits:
            state = self._update(limits, now_ms)
        self._start(state, task, now_ms)

    def completed(self, task: AdmittedTask, classified: Classified, duration_us: int, now_ms: int) -> None:
        """Release the permit of a request, and take in how the request ended. Retry-After throttles its endpoint."""
        state = task.endpoint_state
        assert state is not None
        if task.permit is not None:
            self._release(state, task)
        state.on_completed(task, classified, duration_us, now_ms)
        if classified.retry_after_ms:
            state.throttle(now_ms + classified.retry_after_ms, now_ms)
        if state.waiting and not state.in_queue:
            self._waiting.wake(state)
        task.endpoint_state = None

    def suspend(self, task: AdmittedTask) -> None:
        """Release the permit while the request waits for the resolver. It still counts for its endpoint's limit."""
        assert task.endpoint_state is not None
        self._release(task.endpoint_state, task)

    def resume(self, task: AdmittedTask, now_ms: int) -> bool:
        """Acquire a permit again after `suspend`. Return False if there is none now."""
        state = task.endpoint_state
        assert state is not None
        if state.rate_limit is not None:  # requests that waited for the same name must not start together
            if state.rate_limit.ready_at(now_ms) > now_ms:
                return False
            state.rate_limit.on_start(now_ms)
        traffic_class = state.classify(self.bulkhead.verified_since_ms)
        if not (state.host.allows(traffic_class) and self.bulkhead.allows(traffic_class)):
            return False
        self._acquire(state, task)
        return True

    def on_stall(self, now_ms: int) -> None:
        """Account for a stall of this process: its time does not count against endpoints."""
        self._registry.on_stall(now_ms)

    def sweep(self, now_ms: int) -> list[AdmittedTask]:
        """Return the waiting tasks of unresponsive endpoints, to be deferred; wake others for free permits."""
        removed = self._waiting.sweep(self.bulkhead, now_ms)
        self._registry.forget_idle(now_ms)
        return removed

    def drop(self, is_lost: Callable[[AdmittedTask], bool]) -> list[AdmittedTask]:
        """Remove and return the waiting tasks of lost partitions."""
        return self._waiting.drop(is_lost)

    def _limit_reason(self, state: EndpointState, now_ms: int) -> LimitReason | None:
        """Return what keeps the next task of an endpoint from starting; None: it may start."""
        if state.in_flight >= state.concurrency.value:
            return state.closed_by or _IN_FLIGHT
        if not state.fast_path:
            breaker, rate_limit = state.breaker, state.rate_limit
            if not breaker.is_closed and (state.probe is not None or not breaker.allows_probe(now_ms)):
                return state.closed_by
            if rate_limit is not None and rate_limit.ready_at(now_ms) > now_ms:
                return LimitReason.RATE
        traffic_class = state.classify(self.bulkhead.verified_since_ms)
        if not state.host.allows(traffic_class):
            return _HOST
        return None if self.bulkhead.allows(traffic_class) else _PROCESS

    def _start(self, state: EndpointState, task: AdmittedTask, now_ms: int) -> None:
        task.endpoint_state = state
        state.on_start(task, now_ms)
        self._acquire(state, task)

    def _acquire(self, state: EndpointState, task: AdmittedTask) -> None:
        permit = self.bulkhead.acquire(state.traffic_class, task, state.concurrency.mean_us)
        task.permit = permit
        host = state.host
        host.in_flight += 1
        if permit < 0:
            host.slow += 1

    def _release(self, state: EndpointState, task: AdmittedTask) -> None:
        host, permit, waiting = state.host, task.permit, self._waiting
        assert permit is not None
        task.permit = None
        host.in_flight -= 1
        if permit < 0:
            host.slow -= 1
        elif permit <= self.bulkhead.tick:
            state.overdue -= 1
        self.bulkhead.release(permit, task)
        if waiting.for_slow or host.waiting or waiting.for_responsive:
            waiting.on_released(host, self.bulkhead, was_slow=permit < 0)

    def _update(self, limits: EndpointLimits, now_ms: int) -> EndpointState:
        """Return the state of an endpoint that is new, or whose subscription has changed."""
        state = self._registry.update(limits, now_ms)
        if state.waiting:
            self._waiting.on_limits_changed(state)
        return state
