"""Admission control against a model: any order of arrivals, responses, look-ups, waits and time."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consumers.delivery.admission import AdmittedTask
from consumers.delivery.classification import ResponseKind
from tests.support.admission import FAST_US, NOW, EndpointStub, TestedControl, admission_control

pytestmark = pytest.mark.promise(4)

WHO = st.integers(0, 5)


class AdmissionModel(RuleBasedStateMachine):
    """The running tasks by endpoint; everything else is read from admission control."""

    control: TestedControl

    @initialize(subscription=st.integers(1, 4), host=st.integers(1, 6), process=st.integers(1, 12))
    def begin(self, subscription: int, host: int, process: int) -> None:
        """Create a control with these limits, two hosts, and a rate limit for every third subscription."""
        self.limits = (subscription, host, process)
        self.control = admission_control(subscription, host, process)
        self.everybody = [EndpointStub(str(n), f"{n % 2}.example", None, None if n % 3 else 5) for n in range(6)]
        self.now_ms, self.arrived, self.deferred, self.ended = NOW, 0, 0, 0
        self.running: dict[AdmittedTask, EndpointStub] = {}
        self.resolving: dict[AdmittedTask, EndpointStub] = {}

    @rule(endpoint=WHO, tasks=st.integers(1, 20))
    def arrive(self, endpoint: int, tasks: int) -> None:
        """Offer tasks."""
        found = self.control.offer(self.everybody[endpoint], tasks, self.now_ms)
        self.arrived += tasks
        self.deferred += len(found["defer"])
        self.running.update(dict.fromkeys(found["start"], self.everybody[endpoint]))

    @rule(result=st.sampled_from(ResponseKind), duration_us=st.sampled_from([1_000, FAST_US, 3_000_000]))
    def respond(self, result: ResponseKind, duration_us: int) -> None:
        """Let the oldest running request end."""
        if self.running:
            task = next(iter(self.running))
            del self.running[task]
            self.control.completed(task, result, duration_us, self.now_ms)
            self.ended += 1

    @rule()
    def look_up(self) -> None:
        """Let a request wait for the resolver."""
        if self.running:
            task, endpoint = self.running.popitem()
            self.control.suspend(task)
            self.resolving[task] = endpoint

    @rule()
    def resolve(self) -> None:
        """Resume a request that waited for the resolver."""
        if self.resolving:
            task, endpoint = self.resolving.popitem()
            if self.control.resume(task, self.now_ms):
                self.running[task] = endpoint
            else:
                self.control.completed(task, ResponseKind.UNRELATED, 0, self.now_ms)
                self.ended += 1

    @rule(endpoint=WHO, wait_ms=st.integers(0, 700_000))
    def throttle(self, endpoint: int, wait_ms: int) -> None:
        """Let an endpoint send a Retry-After."""
        self.control.throttle(str(endpoint), self.now_ms + wait_ms, self.now_ms)

    @rule(passes_ms=st.integers(-5_000, 20_000))
    def look(self, passes_ms: int) -> None:
        """Let time pass or set the clock back, and run a turn of the loop."""
        self.now_ms += passes_ms
        self.control.advance(self.now_ms)
        for task in self.control.sweep(self.now_ms):
            self.control.defer(task, self.now_ms)
            self.deferred += 1
        while (task := self.control.next_waiting(self.now_ms)) is not None:
            endpoint = self.everybody[int(task.endpoint_state.id)]
            self.control.start(endpoint, task, self.now_ms)
            self.running[task] = endpoint

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        """The limits of endpoints, hosts and the process are never exceeded."""
        if not hasattr(self, "limits"):
            return
        subscription, host, process = self.limits
        assert self.control.bulkhead.in_flight == len(self.running) <= process
        for name in ("0.example", "1.example"):
            assert sum(endpoint.host == name for endpoint in self.running.values()) <= host
        for endpoint in self.everybody:
            assert sum(one is endpoint for one in [*self.running.values(), *self.resolving.values()]) <= subscription

    def teardown(self) -> None:
        """In the end each task has started once or was deferred, and every permit is free."""
        if not hasattr(self, "limits"):
            return
        for _ in range(10_000):
            if not (self.running or self.resolving or self.control.waiting):
                break
            self.resolve()
            self.respond(ResponseKind.DELIVERED, FAST_US)
            self.look(300)
        assert self.control.waiting == self.control._waiting.imminent == self.control.bulkhead.in_flight == 0
        assert self.ended + self.deferred == self.arrived


AdmissionModel.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestAdmission = AdmissionModel.TestCase
