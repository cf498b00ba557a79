"""What waits in memory for endpoints, and what keeps reading from going on meanwhile."""

from __future__ import annotations

import pytest

from consumers.delivery.pacing import Result
from tests.support.pacing import NOW, QUICK_US, Who, pacing

pytestmark = pytest.mark.promise(4)

A = Who("a")


def test_what_waits_for_a_place_of_new_endpoints_is_no_reason_to_read_no_further() -> None:
    """Thousands of endpoints of which nothing is known may wait for long: what is behind them is read all the same."""
    paced = pacing(subscription=16, process=512)
    crowd = [paced.jobs(Who(f"new-{number}", host=f"{number}.example"), 1) for number in range(4_000)]
    started = sum(len(found["start"]) for found in crowd)
    assert started == 192
    assert paced.waiting == 4_000 - started
    assert paced.pressing == 0
    last = crowd[-1]["wait"][0]
    assert not last.pace.starts_soon


def test_who_has_not_answered_yet_holds_up_reading_for_a_moment_only() -> None:
    """Jobs of an endpoint whose first requests are open are awaited for 0.2 s, then read past."""
    paced = pacing(subscription=16)
    paced.jobs(A, 200)
    assert paced.pressing > 0
    assert paced.sweep(NOW + 250) == []
    assert paced.pressing == 0


def test_a_burst_for_a_new_endpoint_waits_for_its_first_answer() -> None:
    """A thousand jobs at once for an endpoint of which nothing is known: none is parked while it may yet answer."""
    paced, who = pacing(subscription=16), Who("new")
    found = paced.jobs(who, 1_000)
    assert not found["park"]
    assert paced.pressing >= len(found["wait"])  # nothing more is read for the moment

    paced.ended(found["start"][0], Result.DELIVERED, QUICK_US, NOW + 50)
    paced.sweep(NOW + 50)
    assert not paced.jobs(Who("new"), 4, NOW + 50)["park"]


def test_an_endpoint_that_only_says_no_keeps_nobody_from_being_read() -> None:
    """Nothing but 503 has been heard: what waits for it in memory is no reason to read no further for others."""
    paced, who = pacing(subscription=16), Who("overloaded")
    running = paced.jobs(who, 1_000)["start"]
    for step in range(1, 20):
        now_ms = NOW + 150 * step
        paced.ended(running.pop(), Result.OVERLOADED, 150_000, now_ms, "status_503")
        for job in paced.sweep(now_ms):
            paced.park(job, now_ms)
        while (job := paced.next_waiting(now_ms)) is not None:
            paced.begin(who, job, now_ms)
            running.append(job)
    assert paced.waiting > 100
    assert paced.pressing < 32


def test_a_burst_for_an_endpoint_that_never_answers_is_parked() -> None:
    """After a moment without an answer what comes is parked, and reading goes on for others."""
    paced, who = pacing(subscription=16), Who("silent")
    paced.jobs(who, 1_000)
    assert paced.sweep(NOW + 250) == []
    assert paced.pressing == 0
    assert len(paced.jobs(who, 10, NOW + 250)["park"]) == 10
    assert len(paced.sweep(NOW + 1_100)) == 1_000 - 4


@pytest.mark.parametrize(("took_us", "soon"), [(QUICK_US, True), (5_000_000, False)])
def test_what_a_quick_endpoint_takes_is_not_judged_by_how_little_it_got(took_us: int, soon: bool) -> None:
    """An endpoint whose jobs we bring slowly is no slow one: what waits for it is about to start, and is not parked."""
    paced = pacing(subscription=16)
    paced.warm(A, took_us=took_us)
    found = paced.jobs(A, 100)
    running = found["start"]
    for turn in range(40):  # ten answers a second, while others wait
        now_ms = NOW + 100 * turn
        paced.ended(running.pop(0), Result.DELIVERED, took_us, now_ms)
        job = paced.next_waiting(now_ms)
        if job is not None:
            paced.begin(A, job, now_ms)
            running.append(job)
        paced.sweep(now_ms)
    paced.jobs(A, 100 - paced.waiting, NOW + 4_000)

    pace = running[0].pace
    assert pace.backlog.per_second < 20
    assert pace.starts_soon is soon


def test_what_waits_for_a_place_of_the_process_waits_in_memory() -> None:
    """Quick endpoints that got little, as all places are taken, are no slow ones: reading pauses, none is parked."""
    paced = pacing(subscription=16, process=64)
    many = [Who(f"quick-{number}", host=f"{number}.example") for number in range(50)]
    paced.warm(*many)
    running = [job for who in many for job in paced.jobs(who, 20)["start"]]
    for turn in range(40):  # a few answers of each a second, while others wait
        now_ms = NOW + 100 * turn
        for job in running:
            paced.ended(job, Result.DELIVERED, QUICK_US, now_ms)
        running = []
        while (waited := paced.next_waiting(now_ms)) is not None:
            who = waited.pace.who
            paced.begin(who, waited, now_ms)
            running.append(waited)
            assert not paced.jobs(who, 1, now_ms)["park"]
        paced.sweep(now_ms)

    waiting = [pace for pace in paced.paces if pace.waiting]
    assert max(pace.backlog.per_second for pace in waiting) < 50
    assert all(pace.starts_soon for pace in waiting)
    assert paced.pressing == paced.waiting > 500


@pytest.mark.parametrize("rate_limit", [None, 1_000.0])
def test_another_rate_limit_counts_at_once_for_what_waits(rate_limit: float | None) -> None:
    """Who lifts a limit of one in ten seconds does not wait for the end of the ten."""
    paced, limited = pacing(subscription=16), Who("limited", rate_limit=0.1)
    paced.warm(limited, answers=1)
    assert len(paced.jobs(limited, 5)["wait"]) == 5
    assert paced.next_waiting(NOW + 5) is None

    lifted = Who("limited", rate_limit=rate_limit)
    paced.jobs(lifted, 1, NOW + 20)
    started = 0
    for step in range(20):
        while (job := paced.next_waiting(NOW + 20 + step)) is not None:
            paced.begin(lifted, job, NOW + 20 + step)
            started += 1
    assert started >= 5


def test_what_was_dropped_is_not_waited_for() -> None:
    """When the partitions of all that waits for places are lost, nothing is said to wait."""
    paced = pacing(subscription=16, process=64)
    many = [Who(f"quick-{number}", host=f"{number}.example") for number in range(50)]
    paced.warm(*many)
    for who in many:
        paced.jobs(who, 20)
    assert paced.has_waiting
    paced.drop(lambda _job: True)
    assert not paced.has_waiting
