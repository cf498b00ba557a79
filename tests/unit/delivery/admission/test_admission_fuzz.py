"""Admission control in any order of events: counts are exact, and no task waits without a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from consumers.delivery.admission import AdmittedTask
from consumers.delivery.admission.endpoint_state import EndpointState, HostState
from consumers.delivery.classification import ResponseKind
from tests.support.admission import FAST_US, NOW, EndpointStub, admission_control

pytestmark = pytest.mark.promise(4)

SHORT, LONG = 60, 2_000
SEEDS = [pytest.param(seed, marks=() if seed < SHORT else pytest.mark.long) for seed in range(LONG)]
STEPS = 300
RESULTS = [*[ResponseKind.DELIVERED] * 6, *ResponseKind]
FAILURES = [ResponseKind.UNREACHABLE, ResponseKind.UNREACHABLE, ResponseKind.UNREACHABLE, ResponseKind.TIMEOUT]
TIMES_MS = [0, 1, 5, 30, 100, 300, 2_000, 6_000, 20_000]


class Turns:
    """An AdmissionControl, and the tasks that run, wait for the resolver, or wait in memory."""

    def __init__(self, rng: Random) -> None:
        self.rng, self.now_ms = rng, NOW
        self.numbers: dict[AdmittedTask, int] = {}
        self.control = admission_control(rng.choice([1, 2, 4, 16]), rng.choice([1, 3, 6, 40]), rng.randint(1, 80))
        self.subscribed = [
            EndpointStub(str(number), f"{number % 3}.example", None, rng.choice([None, None, 5, 0.5]))
            for number in range(rng.choice([1, 2, 7]))
        ]
        self.running: list[AdmittedTask] = []
        self.resolving: list[AdmittedTask] = []
        self.waiting: set[AdmittedTask] = set()
        self.events: dict[Callable[[], None], int] = {
            self.arrive: 24,
            self.respond: 20,
            self.look_up: 7,
            self.resolve: 8,
            self.end_unresolved: 4,
            self.lose: 3,
            self.change: 4,
            self.fail: 8,
            self.throttle: 2,
            self.stall: 1,
            self.look: 25,
        }

    def step(self) -> None:
        """Run one event."""
        self.rng.choices([*self.events], [*self.events.values()])[0]()

    def arrive(self) -> None:
        """Offer tasks."""
        endpoint = self.rng.choice(self.subscribed)
        for _ in range(self.rng.choice([1, 3, 30])):
            task = AdmittedTask()
            self.numbers[task] = len(self.numbers)
            if self.control.admit(endpoint, task, self.now_ms):
                self.running.append(task)
            elif self.control.wait(task, self.now_ms):
                self.waiting.add(task)
            else:
                self.control.defer(task, self.now_ms)

    def respond(self) -> None:
        """Let requests end in any way."""
        for _ in range(min(len(self.running), self.rng.randint(1, 4))):
            task = self.running.pop(self.rng.randrange(len(self.running)))
            duration_us = self.rng.choice([1_000, FAST_US, FAST_US, 3_000_000])
            self.control.completed(task, self.rng.choice(RESULTS), duration_us, self.now_ms, "x")

    def look_up(self) -> None:
        """Let a request wait for the resolver."""
        if self.running:
            self.resolving.append(self.running.pop())
            self.control.suspend(self.resolving[-1])

    def resolve(self) -> None:
        """Resume a request that waited for the resolver."""
        if self.resolving:
            task = self.resolving.pop(0)
            if self.control.resume(task, self.now_ms):
                self.running.append(task)
            else:
                self.control.completed(task, ResponseKind.UNRELATED, 0, self.now_ms)

    def end_unresolved(self) -> None:
        """Let a request end that waits for the resolver."""
        if self.resolving:
            self.control.completed(self.resolving.pop(), self.rng.choice([*ResponseKind]), 0, self.now_ms)

    def lose(self) -> None:
        """Lose a partition, with its tasks."""
        every = self.rng.randint(2, 5)

        def is_lost(task: AdmittedTask) -> bool:
            return self.numbers[task] % every == 0

        self.waiting.difference_update(self.control.drop(is_lost))
        assert not any(map(is_lost, self.waiting))
        for tasks in (self.running, self.resolving):
            for task in filter(is_lost, list(tasks)):
                tasks.remove(task)
                self.control.completed(task, ResponseKind.UNRELATED, 0, self.now_ms)

    def fail(self) -> None:
        """Let requests of an endpoint fail in a row."""
        failing = str(self.rng.randrange(len(self.subscribed)))
        tasks = [task for task in self.running if task.endpoint_state.id == failing]
        for task in tasks[-self.rng.randint(4, 6) :]:
            self.running.remove(task)
            self.control.completed(task, self.rng.choice(FAILURES), FAST_US, self.now_ms, "x")

    def change(self) -> None:
        """Change a subscription: its host, its limits."""
        rng = self.rng
        number = rng.randrange(len(self.subscribed))
        host, most, rate = f"{rng.randrange(4)}.example", rng.choice([None, 1, 10]), rng.choice([None, 1, 100])
        self.subscribed[number] = EndpointStub(str(number), host, most, rate)

    def throttle(self) -> None:
        """Let an endpoint send a Retry-After."""
        until_ms = self.now_ms + self.rng.choice([0, 1_000, 700_000])
        self.control.throttle(str(self.rng.randrange(len(self.subscribed))), until_ms, self.now_ms)

    def stall(self) -> None:
        """Let the process stall."""
        self.control.on_stall(self.now_ms)

    def look(self) -> None:
        """Let time pass, or set the clock back, and run a turn of the loop or a part of it."""
        rng = self.rng
        drawn = rng.random()
        self.now_ms += 400_000 if drawn < 0.02 else -3_000 if drawn < 0.04 else rng.choice(TIMES_MS)
        self.control.advance(self.now_ms)
        if rng.random() < 0.5:
            for task in self.control.sweep(self.now_ms):
                self.waiting.remove(task)
                self.control.defer(task, self.now_ms)
        for _ in range(rng.choice([1, 5, 1_000])):
            found: AdmittedTask | None = self.control.next_waiting(self.now_ms)
            if found is None:
                return
            self.waiting.remove(found)
            if rng.random() < 0.8:  # else it was cancelled
                self.control.start(self.subscribed[int(found.endpoint_state.id)], found, self.now_ms)
                self.running.append(found)

    @property
    def in_flight(self) -> list[AdmittedTask]:
        """All tasks that count for the concurrency limits of their endpoints."""
        return [*self.running, *self.resolving]

    @property
    def endpoints(self) -> list[EndpointState]:
        """All endpoint states, also those that are no longer known but have tasks in flight."""
        states = [*(task.endpoint_state for task in self.in_flight), *self.control.endpoints]
        return list({id(state): state for state in states}.values())

    @property
    def hosts(self) -> list[HostState]:
        """All hosts of these endpoints."""
        return list({id(state.host): state.host for state in self.endpoints}.values())


def count(permits: list[int], tick: int) -> tuple[int, int]:
    """Return how many permits are of requests that started as slow, and how many of overdue ones."""
    return sum(permit < 0 for permit in permits), sum(0 <= permit <= tick for permit in permits)


def check_bulkhead(turns: Turns) -> None:
    """Assert that the permits of the bulkhead are those of the running tasks."""
    bulkhead, running = turns.control.bulkhead, turns.running
    started_slow, overdue = count([task.permit for task in running], bulkhead.tick)
    assert bulkhead.in_flight == bulkhead.responsive + bulkhead.slow == len(running)
    assert (bulkhead.slow, bulkhead.responsive) == (started_slow + overdue, len(running) - started_slow - overdue)


def check_counts(turns: Turns) -> None:
    """Assert that the counts of hosts, endpoints and waiting tasks are exact."""
    control, running, known = turns.control, turns.running, list(turns.control.endpoints)
    tick = control.bulkhead.tick
    assert all(task.permit is not None for task in running)
    assert all(task.permit is None for task in turns.resolving)
    for host in turns.hosts:
        permits = [task.permit for task in running if task.endpoint_state.host is host]
        assert (host.in_flight, host.slow) == (len(permits), count(permits, tick)[0])
        assert host.endpoints == sum(state.host is host for state in known)
    for state in turns.endpoints:
        permits = [task.permit for task in running if task.endpoint_state is state]
        assert state.in_flight == sum(task.endpoint_state is state for task in turns.in_flight)
        assert state.overdue == count(permits, tick)[1]
        assert state.probe is None or state.probe in turns.in_flight
    assert control.waiting == sum(len(state.waiting) for state in known) == len(turns.waiting)
    assert control._waiting.imminent == sum(min(len(state.waiting), state.imminent) for state in known)


def check_queues(turns: Turns) -> None:
    """Assert that an endpoint with waiting tasks is in one queue, or will be woken by one of its own requests."""
    waiting = turns.control._waiting
    queued = Counter(map(id, [*waiting.runnable, *waiting.for_responsive, *waiting.for_slow]))
    queued.update(id(entry[2]) for entry in waiting._timed)
    queued.update(id(state) for host in turns.hosts for state in host.waiting)
    assert set(queued.values()) <= {1}
    for state in turns.control.endpoints:
        assert state.in_queue == (id(state) in queued)
        if state.waiting and not state.in_queue:
            assert state.in_flight or not state.breaker.is_closed


@pytest.mark.parametrize("seed", SEEDS)
def test_counts_are_exact_after_any_order_of_events(seed: int) -> None:
    """No permit is lost or given twice, no waiting task is forgotten, and no probe blocks its endpoint."""
    turns = Turns(Random(seed))
    for _ in range(STEPS):
        turns.step()
        check_bulkhead(turns)
        check_counts(turns)
        check_queues(turns)
