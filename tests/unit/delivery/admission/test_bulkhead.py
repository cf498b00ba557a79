"""The bulkhead: how many permits endpoints that stop responding can take from responsive ones."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.delivery.admission import AdmittedTask
from consumers.delivery.classification import ResponseKind
from tests.support.admission import NOW, EndpointStub, TestedControl, admission_control

pytestmark = pytest.mark.promise(4)

PERMITS = 512
OVERDUE_MS = 1_100  # every request is overdue by then


@dataclass
class World:
    """Endpoints that respond after their usual time, until some of them stop."""

    control: TestedControl
    usual_ms: dict[EndpointStub, int]
    stopped: set[EndpointStub] = field(default_factory=set)
    now_ms: int = NOW
    held: Counter[EndpointStub] = field(default_factory=Counter)
    responses: Counter[EndpointStub] = field(default_factory=Counter)
    running: deque[tuple[int, EndpointStub]] = field(default_factory=deque)

    def arrive(self, endpoint: EndpointStub, tasks: int) -> None:
        """Offer tasks to an endpoint."""
        for task in self.control.offer(endpoint, tasks, self.now_ms)["start"]:
            self._started(task, endpoint)

    def pass_time(self, ms: int) -> None:
        """Let time pass in turns of a loop: responses arrive, waiting tasks start."""
        for _ in range(max(1, ms // 8)):
            self.now_ms += 8
            ends = sorted((one for one in self.running if one[0] <= self.now_ms), key=lambda one: one[0])
            self.running = deque(one for one in self.running if one[0] > self.now_ms)
            for _, task, endpoint in ends:
                self.held[endpoint] -= 1
                self.responses[endpoint] += 1
                self.control.completed(task, ResponseKind.DELIVERED, self.usual_ms[endpoint] * 1_000, self.now_ms)
            self.control.advance(self.now_ms)
            if self.now_ms % 256 == 0:
                for task in self.control.sweep(self.now_ms):
                    self.control.defer(task, self.now_ms)
            names = {endpoint.subscription_id: endpoint for endpoint in self.usual_ms}
            while (waited := self.control.next_waiting(self.now_ms)) is not None:
                endpoint = names[waited.endpoint_state.id]
                self.control.start(endpoint, waited, self.now_ms)
                self._started(waited, endpoint)

    def stop(self, *endpoint: EndpointStub) -> None:
        """Let endpoints stop responding, also to requests in flight."""
        self.stopped.update(endpoint)
        self.running = deque(one for one in self.running if one[2] not in self.stopped)

    @property
    def held_by_stopped(self) -> int:
        """Number of permits that the stopped endpoints hold."""
        return sum(self.held[endpoint] for endpoint in self.stopped)

    def _started(self, task: AdmittedTask, endpoint: EndpointStub) -> None:
        self.held[endpoint] += 1
        if endpoint not in self.stopped:
            self.running.append((self.now_ms + self.usual_ms[endpoint], task, endpoint))


def world(usual_ms: list[int]) -> World:
    """Return a world of endpoints, each on its own host, with these usual response times."""
    control = admission_control(subscription=16, host=128, process=PERMITS)
    everybody = {EndpointStub(f"{n}", host=f"{n}.example"): ms for n, ms in enumerate(usual_ms)}
    for endpoint, ms in everybody.items():
        control.warm(endpoint, duration_us=ms * 1_000)
    control.advance(NOW)
    return World(control, everybody)


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
    """Responsive endpoints that stop at once hold at most half of the permits, or one each while a quarter is free."""
    scene = world(usual_ms)
    everybody = list(scene.usual_ms)
    for number, endpoint in enumerate(everybody):
        scene.arrive(endpoint, loads[number % len(loads)])
    scene.pass_time(200)
    scene.stop(*(endpoint for number, endpoint in enumerate(everybody) if number % 8 >= stays))
    for number, (pause_ms, tasks) in enumerate(steps):
        scene.pass_time(pause_ms)
        for endpoint in everybody[number % 3 :: 3]:
            scene.arrive(endpoint, tasks)
        assert scene.held_by_stopped <= min(PERMITS // 2 + len(scene.stopped), 3 * PERMITS // 4)


def test_forty_endpoints_that_stop_leave_half_of_the_permits() -> None:
    """Forty flooded endpoints that stop hold at most half of the permits. Others continue at their limit."""
    scene = world([5] * 60)
    everybody = list(scene.usual_ms)
    stopping, healthy = everybody[:40], everybody[40:]
    for endpoint in stopping:
        scene.arrive(endpoint, 100)
    scene.pass_time(16)
    scene.stop(*stopping)
    scene.pass_time(OVERDUE_MS)
    assert 150 <= scene.held_by_stopped <= PERMITS // 2 + 40
    for _ in range(10):
        for endpoint in [*healthy, *stopping]:
            scene.arrive(endpoint, 10)
        scene.pass_time(120)
    assert scene.held_by_stopped <= PERMITS // 2 + 40
    assert [scene.responses[endpoint] for endpoint in healthy] == [100] * 20


def test_thousand_endpoints_that_stop_leave_a_quarter_of_the_permits() -> None:
    """A thousand endpoints with few tasks stop: endpoints that still respond are not delayed."""
    scene = world([5] * 1_020)
    everybody = list(scene.usual_ms)
    stopping, healthy = everybody[:1_000], everybody[1_000:]
    scene.stop(*stopping)
    for turn in range(100):
        for number, endpoint in enumerate(everybody):
            if number % 25 == turn % 25 or endpoint in healthy:
                scene.arrive(endpoint, 1)
        scene.pass_time(40)
        assert scene.held_by_stopped <= 3 * PERMITS // 4
    assert [scene.responses[endpoint] for endpoint in healthy] == [100] * 20


def test_idle_endpoints_get_a_permit_during_a_mass_failure() -> None:
    """Endpoints that were idle while forty flooded ones stopped get a permit as soon as they have tasks."""
    scene = world([5] * 60)
    everybody = list(scene.usual_ms)
    stopping, idle = everybody[:40], everybody[40:]
    scene.stop(*stopping)
    for _ in range(20):
        for endpoint in stopping:
            scene.arrive(endpoint, 50)
        scene.pass_time(160)
    for endpoint in idle:
        scene.arrive(endpoint, 100)
    scene.pass_time(1_000)
    assert [scene.responses[endpoint] for endpoint in idle] == [100] * 20


def test_tasks_that_wait_for_the_slow_quota_cause_no_backpressure() -> None:
    """Tasks of endpoints without a permit do not stop reading: they do not start soon."""
    scene = world([5] * 600)
    stopping = list(scene.usual_ms)
    scene.stop(*stopping)
    for endpoint in stopping:
        scene.arrive(endpoint, 6)
    assert scene.control.backpressure >= 1_024
    scene.pass_time(2_500)
    assert scene.control.waiting >= 500
    assert scene.control.backpressure == 0


def test_one_hanging_request_does_not_block_its_endpoint() -> None:
    """An endpoint with one hanging request gets its other tasks as before, within the slow quota."""
    scene = world([5])
    (endpoint,) = scene.usual_ms
    hangs = AdmittedTask()
    assert scene.control.admit(endpoint, hangs, NOW)
    for _ in range(50):
        scene.arrive(endpoint, 15)
        scene.pass_time(40)
    assert scene.responses[endpoint] == 750


def test_new_endpoints_count_against_the_slow_quota() -> None:
    """New endpoints that do not respond hold at most 3/8 of the permits."""
    control = admission_control(subscription=16, host=128, process=PERMITS)
    hanging = [EndpointStub(f"h{n}", host=f"h{n}.example") for n in range(500)]
    started = sum(len(control.offer(endpoint, 20)["start"]) for endpoint in hanging)
    assert started == control.bulkhead.slow == 3 * PERMITS // 8
    responsive = EndpointStub("responsive", host="responsive.example")
    assert not control.admit(responsive, AdmittedTask(), NOW)


def test_slow_endpoints_take_nothing_from_responsive_ones() -> None:
    """While slow endpoints hold their whole quota, responsive ones have as many permits as without them."""
    held = []
    for slow in (0, 600):
        scene = world([20_000] * slow + [5] * 60)
        everybody = list(scene.usual_ms)
        for endpoint in [*everybody[:slow], *everybody[slow:] * 2]:
            scene.arrive(endpoint, 8)
        scene.pass_time(80)
        assert scene.control.bulkhead.slow == (144 if slow else 0)
        for endpoint in everybody[slow:]:
            scene.arrive(endpoint, 16)
        held.append(scene.control.bulkhead.responsive)
    assert held == [192, 192]


def test_endpoints_with_a_hanging_request_take_one_permit_each() -> None:
    """A dozen endpoints with one hanging request each: all others have as many permits as without them."""
    scene = world([5] * 80)
    everybody = list(scene.usual_ms)
    hanging, healthy = everybody[:12], everybody[12:]
    for endpoint in hanging:
        assert scene.control.admit(endpoint, AdmittedTask(), NOW)
    scene.pass_time(OVERDUE_MS)
    for _ in range(5):
        for endpoint in [*hanging, *healthy]:
            scene.arrive(endpoint, 8)
        scene.pass_time(8)
    for endpoint in healthy:
        scene.arrive(endpoint, 8)
    assert scene.control.bulkhead.responsive == 192


@pytest.mark.parametrize(("slow", "new"), [(0, 600), (600, 0), (600, 600)])
def test_idle_endpoints_get_a_permit_though_all_quotas_are_used(slow: int, new: int) -> None:
    """Slow and new endpoints use their quotas when forty responsive ones stop. Idle endpoints still get permits."""
    scene = world([20_000] * slow + [5] * 60)
    everybody = list(scene.usual_ms)
    stopping, idle = everybody[slow : slow + 40], everybody[slow + 40 :]
    hanging = [EndpointStub(f"h{number}", host=f"h{number}.example") for number in range(new)]
    scene.usual_ms |= dict.fromkeys(hanging, 30_000)
    scene.stop(*hanging)
    for endpoint in [*hanging, *everybody[:slow]]:
        scene.arrive(endpoint, 4)
    scene.pass_time(40)
    scene.stop(*stopping)
    for turn in range(25):
        for endpoint in stopping:
            scene.arrive(endpoint, 3 if turn else 50)
        for endpoint in idle:
            scene.arrive(endpoint, 2)
        scene.pass_time(160)
    assert min(scene.responses[endpoint] for endpoint in idle) >= 40
