"""Pacing: how many requests of a subscription run, what waits in memory, and what is parked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.delivery.pacing import Admission, Pacing


def pacing(limit: int = 2, waiting: int = 2) -> Pacing[str]:
    return Pacing(per_subscription=limit, waiting=waiting)


def test_a_subscription_starts_up_to_its_limit_then_waits_then_parks() -> None:
    """Beyond its limit a subscription's jobs wait in memory, and beyond that bound they are parked."""
    paced = pacing()
    assert [paced.admit("a", f"job{number}", may_wait=True) for number in range(5)] == [
        Admission.START,
        Admission.START,
        Admission.WAIT,
        Admission.WAIT,
        Admission.PARK,
    ]


def test_another_subscription_is_not_held_up() -> None:
    """A subscription that is flooded takes no place from another."""
    paced = pacing()
    for number in range(9):
        paced.admit("flooded", f"job{number}", may_wait=True)
    assert paced.admit("other", "job", may_wait=True) is Admission.START


def test_nothing_waits_in_memory_where_that_is_not_allowed() -> None:
    """In a partition with much unfinished, a job that may not start is parked at once."""
    paced = pacing(limit=1)
    paced.admit("a", "first", may_wait=False)
    assert paced.admit("a", "second", may_wait=False) is Admission.PARK


def test_who_waited_longest_comes_next() -> None:
    """A place that becomes free goes to the job that waited longest, also before one that arrives then."""
    paced = pacing(limit=1)
    for job in ("first", "second", "third"):
        paced.admit("a", job, may_wait=True)
    paced.done("a")
    assert paced.admit("a", "fourth", may_wait=True) is Admission.PARK
    assert paced.next_waiting() == "second"
    paced.retake("a")
    assert paced.next_waiting() is None


def test_a_job_that_is_not_started_after_all_lets_the_next_one_start() -> None:
    """A waiting job that was cancelled meanwhile gives its place to the next."""
    paced = pacing(limit=1)
    for job in ("first", "second", "third"):
        paced.admit("a", job, may_wait=True)
    paced.done("a")
    assert paced.next_waiting() == "second"
    paced.skip("a")
    assert paced.next_waiting() == "third"


@given(st.lists(st.sampled_from(["arrive", "end"]), max_size=200), st.integers(1, 4), st.integers(0, 4))
def test_no_job_is_forgotten_and_no_limit_exceeded(steps: list[str], limit: int, room: int) -> None:
    """In any order of arrivals and ends, each job is started once or parked, and never more run than may."""
    paced = Pacing[int](per_subscription=limit, waiting=room)
    running, ended, parked, arrived = 0, 0, 0, 0
    for step in steps:
        if step == "arrive":
            arrived += 1
            admission = paced.admit("a", arrived, may_wait=True)
            running += admission is Admission.START
            parked += admission is Admission.PARK
        elif running:
            paced.done("a")
            running, ended = running - 1, ended + 1
        while paced.next_waiting() is not None:
            paced.retake("a")
            running += 1
        assert running <= limit
    while running:
        paced.done("a")
        running, ended = running - 1, ended + 1
        while paced.next_waiting() is not None:
            paced.retake("a")
            running += 1
    assert ended + parked == arrived
