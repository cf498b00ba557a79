"""An endpoint that is not asked any more is asked again, however its last requests end."""

from __future__ import annotations

import pytest

from consumers.delivery.pacing import Result
from tests.support.pacing import NOW, QUICK_US, Job, Paced, Who, pacing

pytestmark = pytest.mark.promise(4)

A = Who("a")
A_DAY = range(0, 24 * 60 * 60_000, 60_000)  # in ms, by minutes


def start(paced: Paced, now_ms: int) -> Job | None:
    """Offer a job; return it if its request begins."""
    job = Job("a")
    return job if paced.admit(A, job, now_ms) else None


def go_down(paced: Paced, now_ms: int, result: Result, said: str) -> None:
    """Let requests end without an answer until none is begun any more."""
    for _ in range(100):
        job = start(paced, now_ms)
        if job is None:
            return
        paced.ended(job, result, 30_000_000, now_ms, said)
    raise AssertionError("requests are begun in spite of a hundred failures")


@pytest.mark.parametrize("outcome", Result)
def test_an_outage_that_ended_by_another_answer_than_the_probes_is_not_the_last_to_end(outcome: Result) -> None:
    """What hung is answered while a probe is open: whatever becomes of that, in its next outage who failed is asked."""
    paced = pacing(10, 10, 100)
    paced.warm(A)
    now_ms = NOW + 1_000
    hung = start(paced, now_ms)
    go_down(paced, now_ms, Result.TIMEOUT, "timeout_answer")
    now_ms += 5_000
    paced.advance(now_ms)
    probe = start(paced, now_ms)
    assert hung is not None
    assert probe is not None
    paced.ended(hung, Result.DELIVERED, 5_000_000, now_ms + 10)
    paced.ended(probe, outcome, QUICK_US, now_ms + 20)

    now_ms += 60_000
    paced.advance(now_ms)
    go_down(paced, now_ms, Result.UNREACHABLE, "refused")
    for later_ms in A_DAY:
        paced.advance(now_ms + later_ms)
        paced.sweep(now_ms + later_ms)
        if start(paced, now_ms + later_ms) is not None:
            return
    raise AssertionError("in a day it is not asked once")


def test_an_endpoint_in_an_outage_is_asked_by_one_request_at_a_time() -> None:
    """While a probe is open nothing else is begun, and after one that was lost to us there is another."""
    paced = pacing(10, 10, 100)
    paced.warm(A)
    go_down(paced, NOW + 1_000, Result.UNREACHABLE, "refused")
    for probes in range(3):
        now_ms = NOW + 1_000_000 * (probes + 1)
        paced.advance(now_ms)
        probe = start(paced, now_ms)
        assert probe is not None
        assert start(paced, now_ms) is None
        paced.ended(probe, Result.NOTHING, 0, now_ms, "local")
