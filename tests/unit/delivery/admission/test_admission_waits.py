"""Tasks that wait in memory, and backpressure on reading."""

from __future__ import annotations

import pytest

from consumers.delivery.classification import ResponseKind
from tests.support.admission import FAST_US, NOW, EndpointStub, admission_control

pytestmark = pytest.mark.promise(4)

A = EndpointStub("a")


def test_new_endpoints_without_permit_cause_no_backpressure() -> None:
    """Reading continues while thousands of new endpoints wait for permits."""
    control = admission_control(subscription=16, process=512)
    crowd = [control.offer(EndpointStub(f"new-{number}", host=f"{number}.example"), 1) for number in range(4_000)]
    started = sum(len(found["start"]) for found in crowd)
    assert started == 192
    assert control.waiting == 4_000 - started
    assert control.backpressure == 0
    last = crowd[-1]["wait"][0]
    assert not last.endpoint_state.starts_soon


def test_first_response_is_awaited_for_a_moment() -> None:
    """Tasks of an endpoint whose first requests are in flight cause backpressure for 0.2 s only."""
    control = admission_control(subscription=16)
    control.offer(A, 200)
    assert control.backpressure > 0
    assert control.sweep(NOW + 250) == []
    assert control.backpressure == 0


def test_burst_for_a_new_endpoint_waits_for_its_first_response() -> None:
    """Of a thousand tasks for a new endpoint none is deferred while the first response may come."""
    control, endpoint = admission_control(subscription=16), EndpointStub("new")
    found = control.offer(endpoint, 1_000)
    assert not found["defer"]
    assert control.backpressure >= len(found["wait"])  # reading stops for the moment

    control.completed(found["start"][0], ResponseKind.DELIVERED, FAST_US, NOW + 50)
    control.sweep(NOW + 50)
    assert not control.offer(EndpointStub("new"), 4, NOW + 50)["defer"]


def test_overloaded_endpoint_causes_no_backpressure() -> None:
    """An endpoint that only sends 503 does not stop reading for others."""
    control, endpoint = admission_control(subscription=16), EndpointStub("overloaded")
    running = control.offer(endpoint, 1_000)["start"]
    for step in range(1, 20):
        now_ms = NOW + 150 * step
        control.completed(running.pop(), ResponseKind.OVERLOADED, 150_000, now_ms, "status_503")
        for task in control.sweep(now_ms):
            control.defer(task, now_ms)
        while (task := control.next_waiting(now_ms)) is not None:
            control.start(endpoint, task, now_ms)
            running.append(task)
    assert control.waiting > 100
    assert control.backpressure < 32


def test_burst_for_an_unresponsive_endpoint_is_deferred() -> None:
    """After a moment without a response new tasks are deferred, and reading continues for others."""
    control, endpoint = admission_control(subscription=16), EndpointStub("silent")
    control.offer(endpoint, 1_000)
    assert control.sweep(NOW + 250) == []
    assert control.backpressure == 0
    assert len(control.offer(endpoint, 10, NOW + 250)["defer"]) == 10
    assert len(control.sweep(NOW + 1_100)) == 1_000 - 4


@pytest.mark.parametrize(("duration_us", "soon"), [(FAST_US, True), (5_000_000, False)])
def test_fast_endpoint_with_little_load_is_not_slow(duration_us: int, soon: bool) -> None:
    """An endpoint that gets tasks slowly is not slow: its waiting tasks start soon and are not deferred."""
    control = admission_control(subscription=16)
    control.warm(A, duration_us=duration_us)
    found = control.offer(A, 100)
    running = found["start"]
    for turn in range(40):  # ten responses a second, while others wait
        now_ms = NOW + 100 * turn
        control.completed(running.pop(0), ResponseKind.DELIVERED, duration_us, now_ms)
        task = control.next_waiting(now_ms)
        if task is not None:
            control.start(A, task, now_ms)
            running.append(task)
        control.sweep(now_ms)
    control.offer(A, 100 - control.waiting, NOW + 4_000)

    state = running[0].endpoint_state
    assert state.backlog.per_second < 20
    assert state.starts_soon is soon


def test_responsive_endpoints_wait_in_memory_for_permits() -> None:
    """While all permits are held, responsive endpoints cause backpressure; none of their tasks is deferred."""
    control = admission_control(subscription=16, process=64)
    many = [EndpointStub(f"responsive-{number}", host=f"{number}.example") for number in range(50)]
    control.warm(*many)
    running = [task for endpoint in many for task in control.offer(endpoint, 20)["start"]]
    for turn in range(40):  # a few responses of each a second, while others wait
        now_ms = NOW + 100 * turn
        for task in running:
            control.completed(task, ResponseKind.DELIVERED, FAST_US, now_ms)
        running = []
        while (waited := control.next_waiting(now_ms)) is not None:
            endpoint = waited.endpoint_state.limits
            control.start(endpoint, waited, now_ms)
            running.append(waited)
            assert not control.offer(endpoint, 1, now_ms)["defer"]
        control.sweep(now_ms)

    waiting = [state for state in control.endpoints if state.waiting]
    assert max(state.backlog.per_second for state in waiting) < 50
    assert all(state.starts_soon for state in waiting)
    assert control.backpressure == control.waiting > 500


@pytest.mark.parametrize("rate_limit", [None, 1_000.0])
def test_new_rate_limit_applies_to_waiting_tasks(rate_limit: float | None) -> None:
    """After a limit of one request in ten seconds is removed, no task waits for the ten seconds."""
    control, limited = admission_control(subscription=16), EndpointStub("limited", rate_limit=0.1)
    control.warm(limited, responses=1)
    assert len(control.offer(limited, 5)["wait"]) == 5
    assert control.next_waiting(NOW + 5) is None

    lifted = EndpointStub("limited", rate_limit=rate_limit)
    control.offer(lifted, 1, NOW + 20)
    started = 0
    for step in range(20):
        while (task := control.next_waiting(NOW + 20 + step)) is not None:
            control.start(lifted, task, NOW + 20 + step)
            started += 1
    assert started >= 5


def test_dropped_tasks_are_not_startable() -> None:
    """After the partitions of all waiting tasks are lost, nothing is startable."""
    control = admission_control(subscription=16, process=64)
    many = [EndpointStub(f"responsive-{number}", host=f"{number}.example") for number in range(50)]
    control.warm(*many)
    for endpoint in many:
        control.offer(endpoint, 20)
    assert control.has_startable
    control.drop(lambda _job: True)
    assert not control.has_startable
