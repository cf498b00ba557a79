"""The places of a process: what endpoints that stop answering can take from those that answer, whatever they do."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.delivery.pacing import Result
from tests.support.pacing import NOW, Job, Paced, Who, pacing

pytestmark = pytest.mark.promise(4)

PLACES = 512
OVERDUE_MS = 1_100  # whatever its endpoint usually takes, a request is overdue by then


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


def test_endpoints_with_a_request_that_hangs_take_one_place_each() -> None:
    """A dozen quick endpoints with one request each that hangs: all others have as many places as without them."""
    scene = world([5] * 80)
    everybody = list(scene.usual_ms)
    hanging, healthy = everybody[:12], everybody[12:]
    for who in hanging:
        assert scene.paced.admit(who, Job(), NOW)
    scene.pass_time(OVERDUE_MS)
    for _ in range(5):
        for who in [*hanging, *healthy]:
            scene.arrive(who, 8)
        scene.pass_time(8)
    for who in healthy:
        scene.arrive(who, 8)
    assert scene.paced.places.quick == 192


@pytest.mark.parametrize(("slow", "new"), [(0, 600), (600, 0), (600, 600)])
def test_who_was_idle_shows_that_it_answers_though_all_shares_are_taken(slow: int, new: int) -> None:
    """Slow and unknown endpoints hold all that they may when forty quick ones stop: others that had nothing go on."""
    scene = world([20_000] * slow + [5] * 60)
    everybody = list(scene.usual_ms)
    stopping, idle = everybody[slow : slow + 40], everybody[slow + 40 :]
    hanging = [Who(f"h{number}", host=f"h{number}.example") for number in range(new)]
    scene.usual_ms |= dict.fromkeys(hanging, 30_000)
    scene.stop(*hanging)
    for who in [*hanging, *everybody[:slow]]:
        scene.arrive(who, 4)
    scene.pass_time(40)
    scene.stop(*stopping)
    for turn in range(25):
        for who in stopping:
            scene.arrive(who, 3 if turn else 50)
        for who in idle:
            scene.arrive(who, 2)
        scene.pass_time(160)
    assert min(scene.answered[who] for who in idle) >= 40
