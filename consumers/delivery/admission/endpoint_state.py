"""State of one endpoint, and how its responses change it. Pure.

An endpoint is the URL of one subscription. Its state joins the adaptive concurrency limit, the rate limit, the circuit
breaker, the backlog, and the tasks that wait for it in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from consumers.delivery.admission.backlog import IMMINENT_S, Backlog
from consumers.delivery.admission.circuit_breaker import CircuitBreaker, CircuitState, outage_delay_ms
from consumers.delivery.admission.concurrency_limit import ConcurrencyLimit
from consumers.delivery.admission.rate_limit import RateLimit
from consumers.delivery.admission.types import (
    RESPONSES,
    RESPONSIVE,
    AdmittedTask,
    EndpointLimits,
    LimitReason,
    TrafficClass,
)
from consumers.delivery.classification import DELIVERED, Classified, ResponseKind

UNRESPONSIVE_AFTER_MS: Final = 1_000
_SLOW_US: Final = UNRESPONSIVE_AFTER_MS * 1_000
# How long the first response of an endpoint counts as imminent.
_FIRST_RESPONSE_MS: Final = 200
# Tasks that may wait in memory: as many as the endpoint completes in 20 s, within bounds.
_ROOM_S: Final = 20
_MAX_ROOM: Final = 1_000
_MIN_ROOM: Final = 64
_ROOM_UNMEASURED: Final = 256
_PROCESS, _HOST = LimitReason.PROCESS, LimitReason.HOST


class HostState:
    """State that the endpoints of one host share in this process."""

    __slots__ = ("capacity", "endpoints", "in_flight", "name", "slow", "waiting")

    def __init__(self, name: str, capacity: int) -> None:
        self.name = name
        self.capacity = capacity  # concurrent requests
        self.in_flight = 0
        self.slow = 0  # requests in flight that started in another class than RESPONSIVE
        self.endpoints = 0  # known endpoints of the host
        self.waiting: deque[EndpointState] = deque()  # endpoints that wait for a request of the host to end

    def allows(self, traffic_class: TrafficClass) -> bool:
        """Return whether another request may start. Half of the capacity is reserved for responsive endpoints."""
        if self.in_flight >= self.capacity:
            return False
        return traffic_class is RESPONSIVE or self.slow < max(1, self.capacity // 2)


class EndpointState:
    """State of the endpoint of one subscription. Times are in ms.

    AdmissionControl, WaitingEndpoints and EndpointRegistry write `limited_by`, `in_queue`, `imminent`, `waiting` and
    `overdue`.
    """

    __slots__ = (
        "backlog",
        "breaker",
        "concurrency",
        "failing_since_ms",
        "fast_path",
        "host",
        "id",
        "imminent",
        "in_flight",
        "in_flight_at_stall",
        "in_queue",
        "last_label",
        "last_progress_ms",
        "last_response_ms",
        "limited_by",
        "limits",
        "observed_class",
        "overdue",
        "probe",
        "rate_limit",
        "traffic_class",
        "waiting",
    )

    def __init__(
        self, limits: EndpointLimits, host: HostState, max_in_flight: int, longest_wait_ms: int, now_ms: int
    ) -> None:
        self.id = limits.subscription_id
        self.host = host
        self.breaker = CircuitBreaker(longest_wait_ms)
        self.concurrency = ConcurrencyLimit(max_in_flight)
        self.rate_limit: RateLimit | None = None
        self.backlog: Backlog | None = None  # created for the first task that cannot start at once
        self.waiting: deque[AdmittedTask] = deque()
        self.imminent = 0  # number of waiting tasks that start within 0.1 s
        self.in_queue = False  # in a queue of WaitingEndpoints or of its host
        self.limited_by: LimitReason | None = None  # the last reason that kept a task from starting
        self.in_flight = 0
        self.overdue = 0  # responsive requests in flight that are overdue
        self.in_flight_at_stall = 0  # requests in flight during a stall of the process: their durations do not count
        self.probe: AdmittedTask | None = None  # in flight while the breaker is half-open
        self.observed_class = TrafficClass.NEW  # by its responses: NEW, RESPONSIVE or SLOW
        self.traffic_class = TrafficClass.NEW  # of its next request
        self.last_response_ms = 0
        self.last_progress_ms = now_ms  # when the last request ended, or the first of those in flight started
        self.failing_since_ms: int | None = None
        self.last_label = ""  # of the last response that was no delivery: status_503, refused
        self.fast_path = True  # breaker closed and no rate limit: neither has to be checked
        self.set_limits(limits, max_in_flight)

    def set_limits(self, limits: EndpointLimits, max_in_flight: int) -> None:
        """Set the current limits of the subscription."""
        self.limits = limits
        if self.concurrency.maximum != max_in_flight:
            self.concurrency.set_maximum(max_in_flight)
        per_second = limits.rate_limit
        if per_second is None:
            self.rate_limit = None
        elif self.rate_limit is None or self.rate_limit.per_second != per_second:
            self.rate_limit = RateLimit(per_second)
        self._update_fast_path()

    @property
    def is_idle(self) -> bool:
        """Whether no task of it runs or waits."""
        return self.in_flight == 0 and not self.waiting

    @property
    def closed_by(self) -> LimitReason | None:
        """Why the circuit breaker lets only probes start; None: it is closed."""
        if self.breaker.is_closed:
            return None
        return LimitReason.THROTTLED if self.breaker.state is CircuitState.THROTTLED else LimitReason.CIRCUIT_OPEN

    def classify(self, verified_since_ms: int) -> TrafficClass:
        """Return the traffic class of its next request; see bulkhead.py."""
        found = self.observed_class
        if found is RESPONSIVE:
            if self.overdue:
                found = TrafficClass.OVERDUE
            elif self.last_response_ms < verified_since_ms:
                found = TrafficClass.NEW if self.in_flight else TrafficClass.IDLE
        elif verified_since_ms and not self.in_flight and found is TrafficClass.NEW:
            found = TrafficClass.UNVERIFIED
        self.traffic_class = found
        return found

    def is_unresponsive(self, now_ms: int) -> bool:
        """Whether requests are in flight and none has ended for a second, or for twice the usual response time."""
        passed_ms = now_ms - self.last_progress_ms
        return (
            passed_ms >= UNRESPONSIVE_AFTER_MS and self.in_flight > 0 and passed_ms >= self.concurrency.mean_us // 500
        )

    @property
    def awaits_slow_quota(self) -> bool:
        """Whether it waits for a permit of the slow quota, which may take any time."""
        return self.traffic_class is not RESPONSIVE and (self.limited_by is _PROCESS or self.limited_by is _HOST)

    def may_respond_yet(self, now_ms: int) -> bool:
        """Whether its first response may arrive at any moment. False for an endpoint that only sends 429 or 503."""
        if self.last_response_ms or self.failing_since_ms is not None:
            return False
        return now_ms - self.last_progress_ms < _FIRST_RESPONSE_MS

    def count_imminent(self, backlog: Backlog | None, now_ms: int) -> int:
        """Return how many waiting tasks start within 0.1 s."""
        if backlog is None or self.awaits_slow_quota:
            return 0
        if self.may_respond_yet(now_ms):
            return _MAX_ROOM
        if not self.concurrency.mean_us or now_ms - self.last_progress_ms >= UNRESPONSIVE_AFTER_MS:
            return 0
        if self.limited_by is _PROCESS:
            # The process was the bottleneck: the endpoint takes more than was measured, so its tasks are not deferred.
            return max(backlog.imminent, int(self._possible_per_second() * IMMINENT_S))
        return backlog.imminent

    @property
    def starts_soon(self) -> bool:
        """Whether the waiting tasks start within a second or so."""
        if self.awaits_slow_quota:
            return False
        if self.backlog is None or not self.waiting:
            return True
        per_second = max(self.backlog.per_second, self.backlog.imminent, self._possible_per_second())
        return bool(self.imminent or self.concurrency.mean_us) and len(self.waiting) <= per_second

    def room(self, now_ms: int) -> int:
        """Return how many tasks may wait in memory."""
        if self.backlog is None or not self.concurrency.mean_us:
            return _MAX_ROOM if self.may_respond_yet(now_ms) else _ROOM_UNMEASURED
        return min(_MAX_ROOM, max(self.concurrency.maximum, _MIN_ROOM, int(self.backlog.per_second * _ROOM_S)))

    def blocked_for_ms(self, now_ms: int) -> int:
        """Return for how long no task is likely to start."""
        if not self.breaker.is_closed:
            return self.breaker.defer_for_ms(now_ms)
        return outage_delay_ms(now_ms - self.last_progress_ms) if self.is_unresponsive(now_ms) else 0

    def ensure_backlog(self, delays_ms: Sequence[int], now_ms: int) -> Backlog:
        """Return the backlog; create it when the first task cannot start at once."""
        if self.backlog is None:
            self.backlog = Backlog(delays_ms, self._estimated_per_second(), now_ms)
        return self.backlog

    def on_start(self, task: AdmittedTask, now_ms: int) -> None:
        """Count a request that starts."""
        if not self.in_flight:
            self.last_progress_ms = now_ms
        self.in_flight += 1
        if not self.fast_path:
            if not self.breaker.is_closed:
                self.breaker.on_probe_start()
                self.probe = task
            if self.rate_limit is not None:
                self.rate_limit.on_start(now_ms)

    def on_completed(self, task: AdmittedTask, classified: Classified, duration_us: int, now_ms: int) -> None:
        """Take in how a request ended."""
        kind = classified.kind
        self.in_flight -= 1
        self.last_progress_ms = now_ms
        if self.in_flight_at_stall:
            self.in_flight_at_stall -= 1
            duration_us = 0
        if kind is DELIVERED and self.fast_path:
            concurrency = self.concurrency
            concurrency.on_response(duration_us)
            self.last_response_ms = now_ms
            self.breaker.failures = 0
            self.failing_since_ms = None
            self.observed_class = RESPONSIVE if concurrency.mean_us <= _SLOW_US else TrafficClass.SLOW
        else:
            if kind is not ResponseKind.UNRELATED:
                self.last_label = "" if kind is DELIVERED else classified.label
            self._on_other_end(task, kind, duration_us, now_ms)
        if self.backlog is not None and self.breaker.is_closed and kind in RESPONSES:  # counts for the throughput
            is_busy = bool(self.waiting) and not self.concurrency.is_restarting
            if not self.backlog.on_completed(now_ms, is_busy=is_busy):
                self.backlog.raise_estimate(self._estimated_per_second())

    def on_stall(self, now_ms: int) -> None:
        """Account for a stall of this process: its time does not count against the endpoint."""
        self.in_flight_at_stall = self.in_flight
        self.last_progress_ms = now_ms
        if self.backlog is not None:
            self.backlog.restart(self._estimated_per_second(), now_ms)

    def throttle(self, until_ms: int, now_ms: int) -> None:
        """Take in a Retry-After."""
        self.breaker.throttle(until_ms, now_ms)
        self._update_fast_path()

    def _on_other_end(self, task: AdmittedTask, kind: ResponseKind, duration_us: int, now_ms: int) -> None:
        """Take in a failure; or any response under a rate limit, or while the breaker is not closed."""
        is_probe = self.probe is task and not self.breaker.is_closed
        if self.probe is task:
            self.probe = None
        if kind is ResponseKind.UNRELATED:
            if is_probe:
                self.breaker.on_probe_without_result(now_ms)
            return
        if kind is DELIVERED:
            self.failing_since_ms = None
        elif self.failing_since_ms is None:
            self.failing_since_ms = now_ms
        if kind is ResponseKind.TIMEOUT or kind is ResponseKind.UNREACHABLE:
            self.breaker.on_failure(now_ms, is_probe=is_probe)
            if kind is ResponseKind.TIMEOUT:
                self.concurrency.on_overload()
                self.observed_class = TrafficClass.SLOW
        else:
            self._on_response(kind, duration_us, now_ms, is_probe=is_probe)
        self._update_fast_path()

    def _on_response(self, kind: ResponseKind, duration_us: int, now_ms: int, *, is_probe: bool) -> None:
        is_overloaded = kind is ResponseKind.OVERLOADED
        self.last_response_ms = now_ms
        if self.breaker.on_response(now_ms, is_probe=is_probe, is_overloaded=is_overloaded):
            self.probe = None  # a probe that is still in flight does not count for the next outage
            self.concurrency.restart()
            if self.backlog is not None:
                self.backlog.restart(self._estimated_per_second(), now_ms)
        if is_overloaded:
            self.concurrency.on_overload()
        else:
            self.concurrency.on_response(duration_us)
            self.observed_class = RESPONSIVE if self.concurrency.mean_us <= _SLOW_US else TrafficClass.SLOW

    def _estimated_per_second(self) -> float:
        """Return the throughput that maximum concurrency and response time allow, within the rate limit."""
        per_second = self.concurrency.maximum * 1_000_000 / (self.concurrency.mean_us or 1_000_000)
        return per_second if self.rate_limit is None else min(per_second, self.rate_limit.per_second)

    def _possible_per_second(self) -> float:
        """Return the throughput that current concurrency and response time allow; 0: unknown.

        The measured throughput is lower if this process, or the order of its partitions, is the bottleneck.
        """
        mean_us = self.concurrency.mean_us
        if not mean_us:
            return 0
        concurrency = float(self.concurrency.value)
        if self.limited_by is _HOST:
            concurrency = min(concurrency, self.host.capacity / self.host.endpoints)
        per_second = concurrency * 1_000_000 / mean_us
        return per_second if self.rate_limit is None else min(per_second, self.rate_limit.per_second)

    def _update_fast_path(self) -> None:
        self.fast_path = self.rate_limit is None and self.breaker.is_closed
