"""The counts and quotas of the bulkhead, in any order of starts, ends and time."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consumers.delivery.admission.bulkhead import Bulkhead
from consumers.delivery.admission.types import AdmittedTask, TrafficClass
from tests.support.admission import NOW

pytestmark = pytest.mark.promise(4)

FREER = (TrafficClass.RESPONSIVE, TrafficClass.IDLE, TrafficClass.UNVERIFIED)


class BulkheadModel(RuleBasedStateMachine):
    """Any order of starts, ends and time. The requests are in a list."""

    bulkhead: Bulkhead

    @initialize(most=st.integers(16, 100))
    def begin(self, most: int) -> None:
        """Choose a capacity."""
        self.bulkhead, self.now_ms = Bulkhead(most), NOW
        self.bulkhead.advance(NOW)
        self.responsive: dict[AdmittedTask, int] = {}
        self.slow: dict[AdmittedTask, int] = {}

    @rule(
        traffic_class=st.sampled_from(list(TrafficClass)),
        usual_us=st.integers(0, 3_000_000),
        tasks=st.integers(1, 40),
    )
    def start(self, traffic_class: TrafficClass, usual_us: int, tasks: int) -> None:
        """Start requests while the class may; slow ones hold less than half."""
        for _ in range(tasks):
            if self.bulkhead.allows(traffic_class):
                assert traffic_class in FREER or self.bulkhead.slow < max(1, self.bulkhead.capacity // 2)
                task = AdmittedTask()
                task.permit = self.bulkhead.acquire(traffic_class, task, usual_us)
                (self.slow if traffic_class is not TrafficClass.RESPONSIVE else self.responsive)[task] = task.permit

    @rule(slow=st.booleans(), ends=st.integers(1, 40))
    def end(self, slow: bool, ends: int) -> None:
        """Let requests end."""
        held = self.slow if slow else self.responsive
        for _ in range(min(ends, len(held))):
            task, permit = held.popitem()
            assert (0 <= permit <= self.bulkhead.tick) == (slow and permit >= 0)
            self.bulkhead.release(permit, task)

    @rule(passes_ms=st.integers(-3_000, 1_500))
    def pass_time(self, passes_ms: int) -> None:
        """Let time pass, or set the clock back."""
        self.now_ms += passes_ms
        for task in self.bulkhead.advance(self.now_ms):
            self.slow[task] = self.responsive.pop(task)

    @invariant()
    def quotas_hold(self) -> None:
        """Counts are exact, RESPONSIVE holds at most 3/8, and above 3/4 there is headroom."""
        if hasattr(self, "now_ms"):
            responsive, slow, most = len(self.responsive), len(self.slow), self.bulkhead.capacity
            assert (self.bulkhead.responsive, self.bulkhead.slow, self.bulkhead.in_flight) == (
                responsive,
                slow,
                responsive + slow,
            )
            assert responsive + slow <= most
            assert responsive <= 1 or responsive <= (most - most // 4) // 2
            without_idle = slow - max(1, most // 16)  # the IDLE quota is beyond all others
            assert (
                responsive <= 1
                or responsive + without_idle <= most - most // 4
                or 2 * responsive + without_idle <= most
            )

    def teardown(self) -> None:
        """In the end every permit is free, the mass failure is over, and a responsive request may start."""
        if hasattr(self, "now_ms"):
            self.end(slow=True, ends=1_000)
            self.end(slow=False, ends=1_000)
            self.pass_time(10_000)
            assert self.bulkhead.allows(TrafficClass.RESPONSIVE)
            assert self.bulkhead.verified_since_ms == 0


BulkheadModel.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestBulkhead = BulkheadModel.TestCase
