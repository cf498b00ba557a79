"""Admission control as a whole: which tasks start, wait and are deferred, and which endpoint gets a free permit."""

from __future__ import annotations

import pytest

from consumers.delivery.admission import AdmittedTask, worst_endpoints
from consumers.delivery.classification import ResponseKind
from tests.support.admission import DELAYS_MS, FAST_US, NOW, EndpointStub, admission_control

pytestmark = pytest.mark.promise(4)

A, B = EndpointStub("a"), EndpointStub("b")


def test_tasks_above_the_concurrency_limit_wait_and_are_then_deferred() -> None:
    """Above the concurrency limit tasks wait in memory, and above a bound they are deferred."""
    found = admission_control().offer(A, 1_100)
    assert {how: len(tasks) for how, tasks in found.items()} == {"start": 2, "wait": 1_000, "defer": 98}


def test_flooded_endpoint_takes_no_permit_of_another() -> None:
    """A flooded endpoint takes no permit of another endpoint."""
    control = admission_control()
    control.offer(A, 100)
    assert control.admit(B, AdmittedTask(), NOW)


def test_max_in_flight_of_a_subscription_replaces_the_setting() -> None:
    """`max_in_flight` of a subscription may be lower and higher than the setting, and may change."""
    control = admission_control(subscription=16)
    low, high = EndpointStub("low", max_in_flight=1), EndpointStub("high", max_in_flight=40)
    control.warm(low, high)
    assert len(control.offer(low, 50)["start"]) == 1
    assert len(control.offer(high, 50)["start"]) == 40
    control.warm(EndpointStub("low", max_in_flight=3), responses=0)
    running = [
        task
        for task in (AdmittedTask() for _ in range(50))
        if control.admit(EndpointStub("other", max_in_flight=3), task, NOW)
    ]
    assert len(running) == 3


def test_room_in_memory_depends_on_throughput() -> None:
    """As many tasks may wait in memory as the endpoint completes in 20 s, within bounds."""
    waiting = {}
    for duration_us in (1_000, 400_000, 5_000_000):
        control = admission_control(subscription=16)
        control.warm(A, duration_us=duration_us)
        waiting[duration_us] = len(control.offer(A, 2_000)["wait"])
    assert waiting == {1_000: 1_000, 400_000: 800, 5_000_000: 64}


def test_tasks_of_an_unresponsive_endpoint_are_deferred() -> None:
    """After a second without a response the waiting tasks are deferred, and new ones are deferred at once."""
    control = admission_control(subscription=1)
    dead = control.offer(A, 3)
    alive = control.offer(B, 3)
    control.completed(alive["start"][0], ResponseKind.DELIVERED, FAST_US, NOW + 900)
    assert control.sweep(NOW + 1_000) == dead["wait"]
    assert len(control.offer(A, 1, NOW + 1_000)["defer"]) == 1
    assert control.next_waiting(NOW + 1_000) is alive["wait"][0]


def test_task_that_waits_for_its_endpoint_is_limited() -> None:
    """A limit of endpoint or host marks a task that waits or is deferred. A task that starts at once has no mark."""
    for control in (admission_control(subscription=1), admission_control(subscription=8, host=1)):
        found = control.offer(A, 2)
        assert [task.limited for task in found["start"] + found["wait"]] == [False, True]
    broken = admission_control()
    broken.warm(A)
    broken.throttle(A.subscription_id, NOW + 60_000, NOW)
    (deferred,) = broken.offer(A, 1)["defer"]
    assert deferred.limited


def test_task_that_waits_for_the_process_is_not_limited() -> None:
    """A process without a permit is overloaded: its endpoints cannot help it."""
    control = admission_control(subscription=50, process=8)
    control.warm(A)
    found = control.offer(A, 20)
    assert len(found["wait"]) >= 12
    assert not any(task.limited for task in found["wait"])


def test_waiting_tasks_start_in_order() -> None:
    """A permit goes to the task that has waited longest, not to a task that arrives at this moment."""
    control = admission_control(subscription=1)
    found = control.offer(A, 3)
    control.completed(found["start"][0], ResponseKind.DELIVERED, FAST_US, NOW)
    assert len(control.offer(A, 1)["wait"]) == 1
    task = control.next_waiting(NOW)
    assert task is found["wait"][0]
    control.start(A, task, NOW)
    assert control.next_waiting(NOW) is None


def test_cancelled_task_leaves_its_turn_to_the_next() -> None:
    """A waiting task that was cancelled leaves its turn to the next task."""
    control = admission_control(subscription=1)
    found = control.offer(A, 3)
    control.completed(found["start"][0], ResponseKind.DELIVERED, FAST_US, NOW)
    assert [control.next_waiting(NOW), control.next_waiting(NOW)] == found["wait"]


def test_waiting_tasks_are_dropped_with_their_partition() -> None:
    """Tasks of a lost partition are dropped, the others still wait."""
    control = admission_control(subscription=1)
    found = control.offer(A, 3)
    lost, kept = found["wait"]
    assert control.drop(lambda task: task is lost) == [lost]
    assert control.waiting == 1
    control.completed(found["start"][0], ResponseKind.DELIVERED, FAST_US, NOW)
    assert control.next_waiting(NOW) is kept


def test_endpoints_of_a_host_share_its_limit_in_turn() -> None:
    """While the host limit is reached, each request that ends lets the next endpoint of the host start one."""
    control = admission_control(subscription=4, host=4)
    several = [EndpointStub(name) for name in "abcd"]
    control.warm(*several)
    running = [task for endpoint in several for task in control.offer(endpoint, 8)["start"]]
    assert len(running) == 4
    assert control.admit(EndpointStub("elsewhere", host="two.example"), AdmittedTask(), NOW)
    begun: list[str] = []
    while len(begun) < 16:
        control.completed(running.pop(0), ResponseKind.DELIVERED, FAST_US, NOW)
        while (task := control.next_waiting(NOW)) is not None:
            endpoint = next(endpoint for endpoint in several if task.endpoint_state.id == endpoint.subscription_id)
            control.start(endpoint, task, NOW)
            running.append(task)
            begun.append(endpoint.subscription_id)
        assert len(running) <= 4
    assert {name: begun.count(name) for name in "abcd"} == dict.fromkeys("abcd", 4)


def test_slow_endpoints_hold_at_most_three_eighths_of_the_permits() -> None:
    """However many endpoints hang from their first request on, 5/8 of the permits stay for responsive ones."""
    control = admission_control(subscription=16, process=512)
    responsive = EndpointStub("responsive", host="responsive.example")
    control.warm(responsive)
    started = sum(len(control.offer(EndpointStub(f"hangs-{n}", host=f"{n}.example"), 100)["start"]) for n in range(500))
    assert started == control.bulkhead.slow == 192
    control.advance(NOW + 30_000)
    assert len(control.offer(responsive, 50, NOW + 30_000)["start"]) == 16


def test_rate_limit_delays_tasks() -> None:
    """A task above the rate limit waits until the time that `next_start_ms` returns."""
    control = admission_control(subscription=16)
    endpoint = EndpointStub("slowly", rate_limit=10)
    found = control.offer(endpoint, 3)
    assert [len(tasks) for tasks in found.values()] == [1, 2, 0]
    assert control.next_waiting(NOW) is None
    due_ms = control.next_start_ms
    assert due_ms is not None
    assert NOW + 91 <= due_ms <= NOW + 101
    assert control.next_waiting(due_ms) is found["wait"][0]


def test_open_breaker_allows_single_probes() -> None:
    """After failures in a row tasks are deferred; one probe at a time shows whether the endpoint is back."""
    control = admission_control(subscription=16)
    now_ms = NOW
    for _ in range(5):
        task = AdmittedTask()
        assert control.admit(A, task, now_ms)
        control.completed(task, ResponseKind.UNREACHABLE, 100, now_ms)
    assert len(control.offer(A, 10, now_ms)["defer"]) == 10
    now_ms += 5_000
    found = control.offer(A, 10, now_ms)
    assert [len(tasks) for tasks in found.values()] == [1, 0, 9]
    control.completed(found["start"][0], ResponseKind.UNREACHABLE, 100, now_ms)
    assert not control.offer(A, 10, now_ms + 9_999)["start"]
    probe = control.offer(A, 10, now_ms + 10_000)["start"]
    assert len(probe) == 1
    control.completed(probe[0], ResponseKind.REJECTED, 100, now_ms + 10_001)
    assert len(control.offer(A, 10, now_ms + 10_002)["start"]) == 2  # slow start after the outage


def test_retry_after_is_honoured() -> None:
    """After a Retry-After nothing starts until it ends, then single probes start; waiting tasks are deferred."""
    control = admission_control(subscription=2)
    found = control.offer(A, 5)
    for task in found["start"]:
        control.completed(task, ResponseKind.OVERLOADED, FAST_US, NOW)
    control.throttle("a", NOW + 120_000, NOW)
    assert control.sweep(NOW) == found["wait"]
    assert [control.defer(task, NOW) for task in found["wait"]] == [("retry_after", DELAYS_MS.index(60_000))] * 3
    assert not control.offer(A, 10, NOW + 119_999)["start"]
    assert len(control.offer(A, 10, NOW + 120_000)["start"]) == 1


def test_retry_after_is_bounded() -> None:
    """A Retry-After of a year throttles the endpoint for `max_endpoint_wait` only."""
    control = admission_control()
    control.warm(A)
    control.throttle("a", NOW + 365 * 86_400_000, NOW)
    assert not control.offer(A, 1, NOW + 599_999)["start"]
    assert len(control.offer(A, 1, NOW + 600_000)["start"]) == 1


def test_request_in_the_resolver_queue_holds_no_permit() -> None:
    """A request that waits for the resolver releases its permit, and acquires one again when it is sent."""
    control = admission_control(subscription=4, host=1, process=2)
    task = AdmittedTask()
    assert control.admit(A, task, NOW)
    control.suspend(task)
    assert control.bulkhead.in_flight == 0
    other = AdmittedTask()
    assert control.admit(B, other, NOW)
    assert not control.resume(task, NOW)  # the only permit of the host is taken
    control.completed(other, ResponseKind.DELIVERED, FAST_US, NOW)
    assert control.resume(task, NOW)
    control.completed(task, ResponseKind.DELIVERED, FAST_US, NOW)
    assert control.bulkhead.in_flight == 0


def test_new_host_starts_with_a_new_state() -> None:
    """A subscription that moves to another host has a new endpoint state; requests to the old host do not change it."""
    control = admission_control(subscription=4)
    control.warm(A)
    old = control.offer(A, 4)["start"]
    moved = EndpointStub("a", host="two.example")
    assert len(control.offer(moved, 8)["start"]) == 4
    for task in old:
        control.completed(task, ResponseKind.UNREACHABLE, 100, NOW)
    assert [view.failing_since_ms for view in worst_endpoints(control.endpoints, 5, NOW)] == [None]


def test_worst_endpoints_are_listed() -> None:
    """The list shows since when an endpoint is failing, its last error, its deferred tasks, and what limits it."""
    control = admission_control()
    control.warm(B)
    for _ in range(5):
        task = AdmittedTask()
        assert control.admit(A, task, NOW)
        control.completed(task, ResponseKind.UNREACHABLE, 100, NOW, "refused")
    control.offer(A, 3, NOW + 1_000)
    (view,) = worst_endpoints(control.endpoints, 5, NOW + 1_000)
    assert (view.subscription_id, view.failing_since_ms, view.last_label) == ("a", NOW, "refused")
    assert (view.circuit, view.limited_by, view.deferred, view.due_at_ms) == ("open", "circuit_open", 3, NOW + 5_000)


def test_idle_endpoints_are_forgotten() -> None:
    """The registry does not grow with all endpoints that ever existed."""
    control = admission_control()
    control.warm(*(EndpointStub(str(number), host=f"{number}.example") for number in range(100)))
    control.sweep(NOW + 299_000)
    assert len(list(control.endpoints)) == 100
    control.sweep(NOW + 320_000)
    assert not list(control.endpoints)


def test_stall_of_the_process_does_not_count_against_endpoints() -> None:
    """Requests that were in flight during a stall change no response time, and no task is deferred."""
    control = admission_control(subscription=4)
    control.warm(A)
    found = control.offer(A, 50)
    control.on_stall(NOW + 20_000)
    assert control.sweep(NOW + 20_000) == []
    for task in found["start"]:
        control.completed(task, ResponseKind.DELIVERED, 20_000_000, NOW + 20_001)
    assert control.sweep(NOW + 20_002) == []
    (state,) = control.endpoints
    assert state.concurrency.mean_us == FAST_US
    assert state.concurrency.value == 4
    assert {control.next_waiting(NOW + 20_003) for _ in range(4)} == set(found["wait"][:4])


def test_jobs_of_slow_endpoints_are_limited_by_endpoints_and_not_by_the_process() -> None:
    """A job that waits for the quota of slow endpoints counts as limited, one of a responsive endpoint does not."""
    control = admission_control(subscription=100, process=16)
    control.warm(A, duration_us=5_000_000)
    control.warm(B)
    slow, responsive = control.offer(A, 20), control.offer(B, 20)
    assert slow["start"]
    assert responsive["start"]
    assert {task.limited for task in (*slow["wait"], *slow["defer"])} == {True}
    assert {task.limited for task in (*responsive["wait"], *responsive["defer"])} == {False}
    assert {task.limited for task in (*slow["start"], *responsive["start"])} == {False}
