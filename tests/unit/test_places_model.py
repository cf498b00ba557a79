"""The counts of places, in any order of starts, ends and time."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consumers.delivery.pacing.places import Pacer, Places
from tests.support.pacing import NOW, Job

pytestmark = pytest.mark.promise(4)

FREER = (Pacer.QUICK, Pacer.IDLE, Pacer.UNPROVEN)


class PlacesModel(RuleBasedStateMachine):
    """Any order of starts, ends and time, with the requests themselves in a list."""

    places: Places[Job]

    @initialize(most=st.integers(16, 100))
    def begin(self, most: int) -> None:
        """Take places."""
        self.places, self.now_ms = Places(most), NOW
        self.places.advance(NOW)
        self.quick: dict[Job, int] = {}
        self.slow: dict[Job, int] = {}

    @rule(
        pacer=st.sampled_from(list(Pacer)),
        usual_us=st.integers(0, 3_000_000),
        jobs=st.integers(1, 40),
    )
    def start(self, pacer: Pacer, usual_us: int, jobs: int) -> None:
        """Start requests while there are places; a slow one takes none of those that are not for slow ones."""
        for _ in range(jobs):
            if self.places.lets(pacer):
                assert pacer in FREER or self.places.slow < max(1, self.places.most // 2)
                job = Job()
                job.ticket = self.places.take(pacer, job, usual_us)
                (self.slow if pacer is not Pacer.QUICK else self.quick)[job] = job.ticket

    @rule(slow=st.booleans(), ends=st.integers(1, 40))
    def end(self, slow: bool, ends: int) -> None:
        """Let requests end."""
        held = self.slow if slow else self.quick
        for _ in range(min(ends, len(held))):
            job, ticket = held.popitem()
            assert (0 <= ticket <= self.places.tick) == (slow and ticket >= 0)
            self.places.give_back(ticket, job)

    @rule(passes_ms=st.integers(-3_000, 1_500))
    def pass_time(self, passes_ms: int) -> None:
        """Let time pass, or have the clock set back."""
        self.now_ms += passes_ms
        for job in self.places.advance(self.now_ms):
            self.slow[job] = self.quick.pop(job)

    @invariant()
    def places_are_kept(self) -> None:
        """Counts are exact; quick ones hold three eighths at most, and beyond three quarters of all another is kept."""
        if hasattr(self, "now_ms"):
            quick, slow, most = len(self.quick), len(self.slow), self.places.most
            assert (self.places.quick, self.places.slow, self.places.taken) == (quick, slow, quick + slow)
            assert quick + slow <= most
            assert quick <= 1 or quick <= (most - most // 4) // 2
            beside = slow - max(1, most // 16)  # so many may show that they answer, whatever is taken
            assert quick <= 1 or quick + beside <= most - most // 4 or 2 * quick + beside <= most

    def teardown(self) -> None:
        """In the end every place is free again, and what is quick may start."""
        if hasattr(self, "now_ms"):
            self.end(slow=True, ends=1_000)
            self.end(slow=False, ends=1_000)
            self.pass_time(10_000)
            assert self.places.lets(Pacer.QUICK)
            assert self.places.proven_ms == 0


PlacesModel.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestPlaces = PlacesModel.TestCase
