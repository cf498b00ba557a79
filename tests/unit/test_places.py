"""The places of a process: what endpoints that stop answering can take from those that answer, whatever they do."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consumers.delivery.pacing import Result
from consumers.delivery.pacing.places import Pacer, Places
from tests.support.pacing import NOW, Job, Paced, Who, pacing

PLACES = 512
OVERDUE_MS = 1_100  # whatever its endpoint usually takes, a request is overdue by then


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
        pacer=st.sampled_from([Pacer.QUICK, Pacer.SLOW, Pacer.NEW, Pacer.OVERDUE]),
        usual_us=st.integers(0, 3_000_000),
        jobs=st.integers(1, 40),
    )
    def start(self, pacer: Pacer, usual_us: int, jobs: int) -> None:
        """Start requests while there are places; a slow one takes none of those that are not for slow ones."""
        for _ in range(jobs):
            if self.places.lets(pacer):
                assert pacer in (Pacer.QUICK, Pacer.UNPROVEN) or self.places.slow < max(1, self.places.most // 2)
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
            assert quick <= 1 or quick + slow <= most - most // 4 or 2 * quick + slow <= most

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


@dataclass
class World:
    """Endpoints that answer after their usual time, until some of them stop."""

    paced: Paced
    usual_ms: dict[Who, int]
    stopped: set[Who] = field(default_factory=set)
    now_ms: int = NOW
    held: Counter[Who] = field(default_factory=Counter)
    answered: Counter[Who] = field(default_factory=Counter)
    running: deque[tuple[int, Job, Who]] = field(default_factory=deque)

    def arrive(self, who: Who, jobs: int) -> None:
        """Offer jobs to an endpoint; what does not start waits or is parked."""
        for job in self.paced.jobs(who, jobs, self.now_ms)["start"]:
            self._started(job, who)

    def pass_time(self, ms: int) -> None:
        """Let time pass in steps of a loop: answers come, what waits starts."""
        for _ in range(max(1, ms // 8)):
            self.now_ms += 8
            ends = sorted((one for one in self.running if one[0] <= self.now_ms), key=lambda one: one[0])
            self.running = deque(one for one in self.running if one[0] > self.now_ms)
            for _, job, who in ends:
                self.held[who] -= 1
                self.answered[who] += 1
                self.paced.ended(job, Result.DELIVERED, self.usual_ms[who] * 1_000, self.now_ms)
            self.paced.advance(self.now_ms)
            if self.now_ms % 256 == 0:
                for job in self.paced.sweep(self.now_ms):
                    self.paced.park(job, self.now_ms)
            names = {who.subscription_id: who for who in self.usual_ms}
            while (waited := self.paced.next_waiting(self.now_ms)) is not None:
                who = names[waited.name.rpartition("-")[0]]
                self.paced.begin(who, waited, self.now_ms)
                self._started(waited, who)

    def stop(self, *who: Who) -> None:
        """Let endpoints answer no more, not even what is open."""
        self.stopped.update(who)
        self.running = deque(one for one in self.running if one[2] not in self.stopped)

    @property
    def held_by_stopped(self) -> int:
        """How many places those hold."""
        return sum(self.held[who] for who in self.stopped)

    def _started(self, job: Job, who: Who) -> None:
        self.held[who] += 1
        if who not in self.stopped:
            self.running.append((self.now_ms + self.usual_ms[who], job, who))


def world(usual_ms: list[int]) -> World:
    """Return endpoints that are known to answer after so many ms each, all at hosts of their own."""
    paced = pacing(subscription=16, host=128, process=PLACES)
    everybody = {Who(f"{n}", host=f"{n}.example"): ms for n, ms in enumerate(usual_ms)}
    for who, ms in everybody.items():
        paced.warm(who, took_us=ms * 1_000)
    paced.advance(NOW)
    return World(paced, everybody)


@settings(max_examples=25, deadline=None)
@given(
    usual_ms=st.lists(st.sampled_from([1, 5, 20, 60, 150, 400, 900]), min_size=20, max_size=120),
    loads=st.lists(st.integers(0, 20), min_size=1, max_size=8),
    stays=st.integers(1, 7),
    steps=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 6)), min_size=3, max_size=12),
)
def test_endpoints_that_stop_together_hold_at_most_half(
    usual_ms: list[int], loads: list[int], stays: int, steps: list[tuple[int, int]]
) -> None:
    """However many quick endpoints stop in one moment, they hold half, and one request each while a quarter is free."""
    scene = world(usual_ms)
    everybody = list(scene.usual_ms)
    for number, who in enumerate(everybody):
        scene.arrive(who, loads[number % len(loads)])
    scene.pass_time(200)
    scene.stop(*(who for number, who in enumerate(everybody) if number % 8 >= stays))
    for number, (pause_ms, jobs) in enumerate(steps):
        scene.pass_time(pause_ms)
        for who in everybody[number % 3 :: 3]:
            scene.arrive(who, jobs)
        assert scene.held_by_stopped <= min(PLACES // 2 + len(scene.stopped), 3 * PLACES // 4)


def test_forty_that_stop_together_leave_half_of_the_places_to_others() -> None:
    """Forty flooded endpoints that stop hold half of the places at most, and whoever answers goes on at its limit."""
    scene = world([5] * 60)
    everybody = list(scene.usual_ms)
    stopping, healthy = everybody[:40], everybody[40:]
    for who in stopping:
        scene.arrive(who, 100)
    scene.pass_time(16)
    scene.stop(*stopping)
    scene.pass_time(OVERDUE_MS)
    assert 150 <= scene.held_by_stopped <= PLACES // 2 + 40
    for _ in range(10):
        for who in [*healthy, *stopping]:
            scene.arrive(who, 10)
        scene.pass_time(120)
    assert scene.held_by_stopped <= PLACES // 2 + 40
    assert [scene.answered[who] for who in healthy] == [100] * 20


def test_a_thousand_that_stop_together_leave_a_quarter_of_the_places_to_those_that_answer() -> None:
    """A thousand endpoints with a job now and then stop: others that have answered since are not held up."""
    scene = world([5] * 1_020)
    everybody = list(scene.usual_ms)
    stopping, healthy = everybody[:1_000], everybody[1_000:]
    scene.stop(*stopping)
    for turn in range(100):
        for number, who in enumerate(everybody):
            if number % 25 == turn % 25 or who in healthy:
                scene.arrive(who, 1)
        scene.pass_time(40)
        assert scene.held_by_stopped <= 3 * PLACES // 4
    assert [scene.answered[who] for who in healthy] == [100] * 20


def test_those_that_were_idle_when_others_stopped_show_that_they_answer() -> None:
    """Endpoints that had nothing to do while forty flooded ones stopped get a place as soon as they have."""
    scene = world([5] * 60)
    everybody = list(scene.usual_ms)
    stopping, idle = everybody[:40], everybody[40:]
    scene.stop(*stopping)
    for _ in range(20):
        for who in stopping:
            scene.arrive(who, 50)
        scene.pass_time(160)
    for who in idle:
        scene.arrive(who, 100)
    scene.pass_time(1_000)
    assert [scene.answered[who] for who in idle] == [100] * 20


def test_those_that_wait_for_a_place_of_slow_ones_do_not_keep_others_from_being_read() -> None:
    """What waits for endpoints that get no place is no reason to read no more: it does not start soon."""
    scene = world([5] * 600)
    stopping = list(scene.usual_ms)
    scene.stop(*stopping)
    for who in stopping:
        scene.arrive(who, 6)
    assert scene.paced.pressing >= 1_024
    scene.pass_time(2_500)
    assert scene.paced.waiting >= 500
    assert scene.paced.pressing == 0


def test_one_slow_request_of_a_quick_endpoint_stops_nothing() -> None:
    """An endpoint with a request that hangs gets its other jobs as before, while there are places for slow ones."""
    scene = world([5])
    (who,) = scene.usual_ms
    hangs = Job("0-hangs")
    assert scene.paced.admit(who, hangs, NOW)
    for _ in range(50):
        scene.arrive(who, 15)
        scene.pass_time(40)
    assert scene.answered[who] == 750


def test_endpoints_of_which_nothing_is_known_wait_for_a_place_that_slow_ones_may_hold() -> None:
    """Endpoints never seen before that do not answer hold three eighths at most; those that answer are quick then."""
    paced = pacing(subscription=16, host=128, process=PLACES)
    hanging = [Who(f"h{n}", host=f"h{n}.example") for n in range(500)]
    started = sum(len(paced.jobs(who, 20)["start"]) for who in hanging)
    assert started == paced.places.slow == 3 * PLACES // 8
    quick = Who("quick", host="quick.example")
    assert not paced.admit(quick, Job(), NOW)


def test_slow_endpoints_take_nothing_from_quick_ones() -> None:
    """With all places that they may hold taken by slow endpoints, quick ones have as many at once as without them."""
    held = []
    for slow in (0, 600):
        scene = world([20_000] * slow + [5] * 60)
        everybody = list(scene.usual_ms)
        for who in [*everybody[:slow], *everybody[slow:] * 2]:
            scene.arrive(who, 8)
        scene.pass_time(80)
        assert scene.paced.places.slow == (144 if slow else 0)
        for who in everybody[slow:]:
            scene.arrive(who, 16)
        held.append(scene.paced.places.quick)
    assert held == [192, 192]
