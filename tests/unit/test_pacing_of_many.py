"""Thousands of endpoints that wait at a time: looked at in turn, none forgotten, and cheap while they wait."""

from __future__ import annotations

import pytest

from consumers.delivery.pacing import Result
from tests.support.pacing import NOW, QUICK_US, Job, Paced, Who, pacing

pytestmark = pytest.mark.promise(4)

MANY = 10_000
PLACES = 64


def crowd(paced: Paced, count: int = MANY) -> tuple[list[Job], list[Job]]:
    """Offer a job each for new endpoints on hosts of their own; return what started and what waits."""
    found = [paced.jobs(Who(f"s{number}", f"h{number}.example"), 1) for number in range(count)]
    return [job for one in found for job in one["start"]], [job for one in found for job in one["wait"]]


def started(paced: Paced, now_ms: int) -> list[Job]:
    """Start what may be started."""
    jobs = []
    while (job := paced.next_waiting(now_ms)) is not None:
        paced.begin(job.pace.who, job, now_ms)
        jobs.append(job)
    return jobs


def test_a_sweep_looks_at_few_of_very_many() -> None:
    """Where ten thousand wait for places that others hold, a sweep lets as many look as there are free places."""
    paced = pacing(process=PLACES)
    running, waiting = crowd(paced)
    assert len(waiting) == MANY - len(running)
    assert started(paced, NOW) == []

    paced.sweep(NOW)

    runnable = len(paced._runnable)
    assert 0 < runnable <= PLACES - len(running)


def test_each_of_very_many_has_its_turn() -> None:
    """All of ten thousand start as places become free, those first that came first, by answers alone."""
    paced = pacing(process=PLACES)
    running, waiting = crowd(paced)
    order: list[Job] = []
    for step in range(2 * MANY):
        if not running:
            break
        now_ms = NOW + step
        paced.ended(running.pop(0), Result.DELIVERED, QUICK_US, now_ms)
        new = started(paced, now_ms)
        order += new
        running += new

    assert order == waiting
    assert paced.waiting == 0


def test_those_that_do_not_answer_are_found_among_very_many() -> None:
    """Endpoints that stop are parked within a few sweeps, though ten thousand others wait as well."""
    paced = pacing(process=PLACES)
    stuck = Who("stuck", "stuck.example")
    of_stuck = paced.jobs(stuck, 10)
    assert of_stuck["start"]
    assert of_stuck["wait"]
    crowd(paced)

    found = [job for sweep in range(11) for job in paced.sweep(NOW + 2_000 + 250 * sweep)]

    assert set(of_stuck["wait"]) <= set(found)


def test_who_waits_for_its_rate_is_left_until_then_but_for_a_clock_that_is_set_back() -> None:
    """A sweep does not ask those again who wait for a second of theirs; where the clock was set back all are asked."""
    paced = pacing(subscription=4)
    limited = Who("s", rate_limit=1.0)
    paced.warm(limited, answers=1, now_ms=NOW - 5_000)
    paced.jobs(limited, 3)
    assert started(paced, NOW) == []
    paced.sweep(NOW)
    assert not paced.has_waiting

    paced.sweep(NOW - 60_000)

    assert paced.has_waiting
