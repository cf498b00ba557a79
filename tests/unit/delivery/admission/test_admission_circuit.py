"""The circuit breaker within admission control: an endpoint is always probed again."""

from __future__ import annotations

import pytest

from consumers.delivery.admission import AdmittedTask
from consumers.delivery.classification import ResponseKind
from tests.support.admission import FAST_US, NOW, EndpointStub, TestedControl, admission_control

pytestmark = pytest.mark.promise(4)

A = EndpointStub("a")
A_DAY = range(0, 24 * 60 * 60_000, 60_000)  # in ms, by minutes


def start(control: TestedControl, now_ms: int) -> AdmittedTask | None:
    """Offer a task; return it if its request starts."""
    task = AdmittedTask()
    return task if control.admit(A, task, now_ms) else None


def go_down(control: TestedControl, now_ms: int, result: ResponseKind, label: str) -> None:
    """Let requests fail until none starts any more."""
    for _ in range(100):
        task = start(control, now_ms)
        if task is None:
            return
        control.completed(task, result, 30_000_000, now_ms, label)
    raise AssertionError("requests are begun in spite of a hundred failures")


@pytest.mark.parametrize("outcome", ResponseKind)
def test_late_response_closes_the_breaker_while_a_probe_is_in_flight(outcome: ResponseKind) -> None:
    """A response to a hanging request closes the breaker: however the probe ends, the next outage is probed."""
    control = admission_control(10, 10, 100)
    control.warm(A)
    now_ms = NOW + 1_000
    hung = start(control, now_ms)
    go_down(control, now_ms, ResponseKind.TIMEOUT, "timeout_answer")
    now_ms += 5_000
    control.advance(now_ms)
    probe = start(control, now_ms)
    assert hung is not None
    assert probe is not None
    control.completed(hung, ResponseKind.DELIVERED, 5_000_000, now_ms + 10)
    control.completed(probe, outcome, FAST_US, now_ms + 20)

    now_ms += 60_000
    control.advance(now_ms)
    go_down(control, now_ms, ResponseKind.UNREACHABLE, "refused")
    for later_ms in A_DAY:
        control.advance(now_ms + later_ms)
        control.sweep(now_ms + later_ms)
        if start(control, now_ms + later_ms) is not None:
            return
    raise AssertionError("in a day it is not asked once")


def test_one_probe_at_a_time() -> None:
    """While a probe is in flight no other request starts; after a cancelled probe another one starts."""
    control = admission_control(10, 10, 100)
    control.warm(A)
    go_down(control, NOW + 1_000, ResponseKind.UNREACHABLE, "refused")
    for probes in range(3):
        now_ms = NOW + 1_000_000 * (probes + 1)
        control.advance(now_ms)
        probe = start(control, now_ms)
        assert probe is not None
        assert start(control, now_ms) is None
        control.completed(probe, ResponseKind.UNRELATED, 0, now_ms, "local")
