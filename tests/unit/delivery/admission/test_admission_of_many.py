"""Thousands of waiting endpoints: swept in turn, none forgotten, and cheap while they wait."""

from __future__ import annotations

import pytest

from consumers.delivery.admission import AdmittedTask
from consumers.delivery.classification import ResponseKind
from tests.support.admission import FAST_US, NOW, EndpointStub, TestedControl, admission_control

pytestmark = pytest.mark.promise(4)

MANY = 10_000
PERMITS = 64


def crowd(control: TestedControl, count: int = MANY) -> tuple[list[AdmittedTask], list[AdmittedTask]]:
    """Offer one task for each of many new endpoints and hosts; return those that started and those that wait."""
    found = [control.offer(EndpointStub(f"s{number}", f"h{number}.example"), 1) for number in range(count)]
    return [task for one in found for task in one["start"]], [task for one in found for task in one["wait"]]


def started(control: TestedControl, now_ms: int) -> list[AdmittedTask]:
    """Start every task that may start."""
    tasks = []
    while (task := control.next_waiting(now_ms)) is not None:
        control.start(task.endpoint_state.limits, task, now_ms)
        tasks.append(task)
    return tasks


def test_sweep_wakes_as_many_as_there_are_free_permits() -> None:
    """Of ten thousand endpoints that wait for permits, a sweep wakes as many as there are free permits."""
    control = admission_control(process=PERMITS)
    running, waiting = crowd(control)
    assert len(waiting) == MANY - len(running)
    assert started(control, NOW) == []

    control.sweep(NOW)

    runnable = len(control._waiting.runnable)
    assert 0 < runnable <= PERMITS - len(running)


def test_ten_thousand_endpoints_start_in_order() -> None:
    """Ten thousand endpoints start in order as responses free permits."""
    control = admission_control(process=PERMITS)
    running, waiting = crowd(control)
    order: list[AdmittedTask] = []
    for step in range(2 * MANY):
        if not running:
            break
        now_ms = NOW + step
        control.completed(running.pop(0), ResponseKind.DELIVERED, FAST_US, now_ms)
        new = started(control, now_ms)
        order += new
        running += new

    assert order == waiting
    assert control.waiting == 0


def test_unresponsive_endpoint_is_found_among_very_many() -> None:
    """Tasks of an unresponsive endpoint are deferred within a few sweeps, though ten thousand other endpoints wait."""
    control = admission_control(process=PERMITS)
    stuck = EndpointStub("stuck", "stuck.example")
    of_stuck = control.offer(stuck, 10)
    assert of_stuck["start"]
    assert of_stuck["wait"]
    crowd(control)

    found = [task for sweep in range(11) for task in control.sweep(NOW + 2_000 + 250 * sweep)]

    assert set(of_stuck["wait"]) <= set(found)


def test_sweep_wakes_rate_limited_endpoints_only_if_the_clock_was_set_back() -> None:
    """A sweep leaves rate-limited endpoints alone, unless the clock was set back."""
    control = admission_control(subscription=4)
    limited = EndpointStub("s", rate_limit=1.0)
    control.warm(limited, responses=1, now_ms=NOW - 5_000)
    control.offer(limited, 3)
    assert started(control, NOW) == []
    control.sweep(NOW)
    assert not control.has_startable

    control.sweep(NOW - 60_000)

    assert control.has_startable
