"""Pacing through any order of events: what it counts is what there is, and nobody waits for nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from consumers.delivery.pacing import Result
from consumers.delivery.pacing.pace import Pace
from tests.support.pacing import NOW, QUICK_US, Job, Paced, Who, pacing

pytestmark = pytest.mark.promise(4)

SHORT, LONG = 60, 2_000
SEEDS = [pytest.param(seed, marks=() if seed < SHORT else pytest.mark.long) for seed in range(LONG)]
STEPS = 300
RESULTS = [*[Result.DELIVERED] * 6, *Result]
FAILURES = [Result.UNREACHABLE, Result.UNREACHABLE, Result.UNREACHABLE, Result.TIMEOUT]
TIMES_MS = [0, 1, 5, 30, 100, 300, 2_000, 6_000, 20_000]


class Turns:
    """A pacing, and the jobs that run, wait for a name, or wait in memory by it."""

    def __init__(self, rng: Random) -> None:
        self.rng, self.now_ms, self.numbers = rng, NOW, 0
        self.paced = pacing(rng.choice([1, 2, 4, 16]), rng.choice([1, 3, 6, 40]), rng.randint(1, 80))
        self.everybody = [
            Who(str(number), f"{number % 3}.example", None, rng.choice([None, None, 5, 0.5]))
            for number in range(rng.choice([1, 2, 7]))
        ]
        self.running: list[Job] = []
        self.resolving: list[Job] = []
        self.waiting: set[Job] = set()
        self.ways: dict[Callable[[], None], int] = {
            self.arrive: 24,
            self.answer: 20,
            self.look_up: 7,
            self.resolve: 8,
            self.end_unresolved: 4,
            self.lose: 3,
            self.change: 4,
            self.fail: 8,
            self.told_to_wait: 2,
            self.stand_still: 1,
            self.look: 25,
        }

    def step(self) -> None:
        """Let one thing happen."""
        self.rng.choices([*self.ways], [*self.ways.values()])[0]()

    def arrive(self) -> None:
        """Offer jobs."""
        who = self.rng.choice(self.everybody)
        for _ in range(self.rng.choice([1, 3, 30])):
            self.numbers += 1
            job = Job(f"{who.subscription_id}-{self.numbers}")
            if self.paced.admit(who, job, self.now_ms):
                self.running.append(job)
            elif self.paced.wait(job, self.now_ms):
                self.waiting.add(job)
            else:
                self.paced.park(job, self.now_ms)

    def answer(self) -> None:
        """Let requests end, anyhow."""
        for _ in range(min(len(self.running), self.rng.randint(1, 4))):
            job = self.running.pop(self.rng.randrange(len(self.running)))
            took_us = self.rng.choice([1_000, QUICK_US, QUICK_US, 3_000_000])
            self.paced.ended(job, self.rng.choice(RESULTS), took_us, self.now_ms, "x")

    def look_up(self) -> None:
        """Have a request wait for a name."""
        if self.running:
            self.resolving.append(self.running.pop())
            self.paced.suspend(self.resolving[-1])

    def resolve(self) -> None:
        """Send a request that waited for a name, if it may be."""
        if self.resolving:
            job = self.resolving.pop(0)
            if self.paced.resume(job, self.now_ms):
                self.running.append(job)
            else:
                self.paced.ended(job, Result.NOTHING, 0, self.now_ms)

    def end_unresolved(self) -> None:
        """Let a request end that waits for a name."""
        if self.resolving:
            self.paced.ended(self.resolving.pop(), self.rng.choice([*Result]), 0, self.now_ms)

    def lose(self) -> None:
        """Lose a partition, with its jobs."""
        every = self.rng.randint(2, 5)

        def is_lost(job: Job) -> bool:
            return int(job.name.partition("-")[2]) % every == 0

        self.waiting.difference_update(self.paced.drop(is_lost))
        assert not any(map(is_lost, self.waiting))
        for jobs in (self.running, self.resolving):
            for job in filter(is_lost, list(jobs)):
                jobs.remove(job)
                self.paced.ended(job, Result.NOTHING, 0, self.now_ms)

    def fail(self) -> None:
        """Let some requests of an endpoint fail in a row: it is away."""
        failing = str(self.rng.randrange(len(self.everybody)))
        jobs = [job for job in self.running if job.name.startswith(f"{failing}-")]
        for job in jobs[-self.rng.randint(4, 6) :]:
            self.running.remove(job)
            self.paced.ended(job, self.rng.choice(FAILURES), QUICK_US, self.now_ms, "x")

    def change(self) -> None:
        """Change a subscription: its host, its limits."""
        rng = self.rng
        number = rng.randrange(len(self.everybody))
        host, most, rate = f"{rng.randrange(4)}.example", rng.choice([None, 1, 10]), rng.choice([None, 1, 100])
        self.everybody[number] = Who(str(number), host, most, rate)

    def told_to_wait(self) -> None:
        """Let an endpoint send a Retry-After."""
        until_ms = self.now_ms + self.rng.choice([0, 1_000, 700_000])
        self.paced.told_to_wait(str(self.rng.randrange(len(self.everybody))), until_ms, self.now_ms)

    def stand_still(self) -> None:
        """Tell that the process stood still."""
        self.paced.stood_still(self.now_ms)

    def look(self) -> None:
        """Let time pass (or the clock be set back), and do what a loop does, or a part of it."""
        rng = self.rng
        drawn = rng.random()
        self.now_ms += 400_000 if drawn < 0.02 else -3_000 if drawn < 0.04 else rng.choice(TIMES_MS)
        self.paced.advance(self.now_ms)
        if rng.random() < 0.5:
            for job in self.paced.sweep(self.now_ms):
                self.waiting.remove(job)
                self.paced.park(job, self.now_ms)
        for _ in range(rng.choice([1, 5, 1_000])):
            found: Job | None = self.paced.next_waiting(self.now_ms)
            if found is None:
                return
            self.waiting.remove(found)
            if rng.random() < 0.8:  # else it is told that it is not to be sent any more
                self.paced.begin(self.everybody[int(found.name.partition("-")[0])], found, self.now_ms)
                self.running.append(found)

    @property
    def begun(self) -> list[Job]:
        """All that hold a place of their subscription."""
        return [*self.running, *self.resolving]

    @property
    def paces(self) -> list[Pace[Job]]:
        """All endpoints, those that are forgotten while something of theirs is open included."""
        return list({id(pace): pace for pace in [*(job.pace for job in self.begun), *self.paced.paces]}.values())


def check_places(paced: Paced, running: list[Job]) -> None:
    """Assert that the places of the process are those of what runs."""
    places, tickets = paced.places, [job.ticket for job in running]
    assert places.taken == places.quick + places.slow == len(running)
    late = sum(0 <= ticket <= places.tick for ticket in tickets if ticket is not None)
    tagged = sum(ticket < 0 for ticket in tickets if ticket is not None)
    assert (places.slow, places.quick) == (tagged + late, len(running) - tagged - late)


def check_counts(turns: Turns) -> None:
    """Assert that what is counted of hosts, endpoints and jobs is what there is."""
    paced, running, known = turns.paced, turns.running, list(turns.paced.paces)
    for host in {id(pace.host): pace.host for pace in turns.paces}.values():
        tickets = [job.ticket for job in running if job.pace.host is host]
        assert host.in_flight == len(tickets)
        assert host.slow == sum(ticket < 0 for ticket in tickets if ticket is not None)
        assert host.paces == sum(pace.host is host for pace in known)
    for pace in turns.paces:
        assert pace.in_flight == sum(job.pace is pace for job in turns.begun)
        tickets = [job.ticket for job in running if job.pace is pace]
        assert pace.overdue == sum(0 <= ticket <= paced.places.tick for ticket in tickets if ticket is not None)
        assert pace.probe is None or pace.probe in turns.begun
    assert all(job.ticket is not None for job in running)
    assert all(job.ticket is None for job in turns.resolving)
    assert paced.waiting == sum(len(pace.waiting) for pace in known) == len(turns.waiting)
    assert paced.soon == sum(min(len(pace.waiting), pace.soon) for pace in known)


def check_queues(turns: Turns) -> None:
    """Assert that whoever has something waiting is in one queue, or will be woken by what is open."""
    paced = turns.paced
    blocked = [pace for host in {id(each.host): each.host for each in turns.paces}.values() for pace in host.blocked]
    timed = [one[2] for one in paced._timed]
    queued = Counter(map(id, [*paced._runnable, *paced._for_quick, *paced._for_slow, *timed, *blocked]))
    assert set(queued.values()) <= {1}
    for pace in paced.paces:
        assert pace.queued == (id(pace) in queued)
        if pace.waiting and not pace.queued:
            assert pace.in_flight or not pace.circuit.is_closed


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_pacing_counts_what_there_is(seed: int) -> None:
    """No place is lost or given twice, no job that waits is forgotten, and no probe stays that nobody sends."""
    turns = Turns(Random(seed))
    for _ in range(STEPS):
        turns.step()
        check_places(turns.paced, turns.running)
        check_counts(turns)
        check_queues(turns)
