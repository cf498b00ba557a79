"""Pacing against a model: any order of arrivals, answers, look-ups, waits and time."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consumers.delivery.pacing import Result
from tests.support.pacing import NOW, QUICK_US, Job, Paced, Who, pacing

pytestmark = pytest.mark.promise(4)

WHO = st.integers(0, 5)


class PacingModel(RuleBasedStateMachine):
    """What runs, by whose it is; everything else is asked of the pacing."""

    paced: Paced

    @initialize(subscription=st.integers(1, 4), host=st.integers(1, 6), process=st.integers(1, 12))
    def begin(self, subscription: int, host: int, process: int) -> None:
        """Take limits; two hosts, and a rate limit for every third subscription."""
        self.limits = (subscription, host, process)
        self.paced = pacing(subscription, host, process)
        self.everybody = [Who(str(n), f"{n % 2}.example", None, None if n % 3 else 5) for n in range(6)]
        self.now_ms, self.arrived, self.parked, self.ended = NOW, 0, 0, 0
        self.running: dict[Job, Who] = {}
        self.resolving: dict[Job, Who] = {}

    @rule(who=WHO, jobs=st.integers(1, 20))
    def arrive(self, who: int, jobs: int) -> None:
        """Offer jobs."""
        found = self.paced.jobs(self.everybody[who], jobs, self.now_ms)
        self.arrived += jobs
        self.parked += len(found["park"])
        self.running.update(dict.fromkeys(found["start"], self.everybody[who]))

    @rule(result=st.sampled_from(Result), took_us=st.sampled_from([1_000, QUICK_US, 3_000_000]))
    def answer(self, result: Result, took_us: int) -> None:
        """Let the request that runs for longest end."""
        if self.running:
            job = next(iter(self.running))
            del self.running[job]
            self.paced.ended(job, result, took_us, self.now_ms)
            self.ended += 1

    @rule()
    def look_up(self) -> None:
        """Have a request wait for a name."""
        if self.running:
            job, who = self.running.popitem()
            self.paced.suspend(job)
            self.resolving[job] = who

    @rule()
    def resolve(self) -> None:
        """Send a request that waited for a name, if it may be."""
        if self.resolving:
            job, who = self.resolving.popitem()
            if self.paced.resume(job, self.now_ms):
                self.running[job] = who
            else:
                self.paced.ended(job, Result.NOTHING, 0, self.now_ms)
                self.ended += 1

    @rule(who=WHO, wait_ms=st.integers(0, 700_000))
    def told_to_wait(self, who: int, wait_ms: int) -> None:
        """Let an endpoint send a Retry-After."""
        self.paced.told_to_wait(str(who), self.now_ms + wait_ms, self.now_ms)

    @rule(passes_ms=st.integers(-5_000, 20_000))
    def look(self, passes_ms: int) -> None:
        """Let time pass (or the clock be set back), and do what a loop does."""
        self.now_ms += passes_ms
        self.paced.advance(self.now_ms)
        for job in self.paced.sweep(self.now_ms):
            self.paced.park(job, self.now_ms)
            self.parked += 1
        while (job_ := self.paced.next_waiting(self.now_ms)) is not None:
            who = self.everybody[int(job_.name.partition("-")[0])]
            self.paced.begin(who, job_, self.now_ms)
            self.running[job_] = who

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        """Never do more requests run than a subscription, a host or the process may have."""
        if not hasattr(self, "limits"):
            return
        subscription, host, process = self.limits
        assert self.paced.places.taken == len(self.running) <= process
        for name in ("0.example", "1.example"):
            assert sum(who.host == name for who in self.running.values()) <= host
        for who in self.everybody:
            assert sum(one is who for one in [*self.running.values(), *self.resolving.values()]) <= subscription

    def teardown(self) -> None:
        """In the end every job has started once or was parked, and every place is free again."""
        if not hasattr(self, "limits"):
            return
        for _ in range(10_000):
            if not (self.running or self.resolving or self.paced.waiting):
                break
            self.resolve()
            self.answer(Result.DELIVERED, QUICK_US)
            self.look(300)
        assert self.paced.waiting == self.paced.soon == self.paced.places.taken == 0
        assert self.ended + self.parked == self.arrived


PacingModel.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
TestPacing = PacingModel.TestCase
