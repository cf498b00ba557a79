"""Pacing: how many requests of a subscription run, what waits in memory, and what is parked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.delivery.pacing import Admission, Pacing

NOW = 1_000_000
QUICK_US = 5_000


def pacing(limit: int = 2) -> Pacing[str]:
    return Pacing(per_subscription=limit)


def admitted(paced: Pacing[str], subscription: str, jobs: int, now_ms: int = NOW) -> list[Admission]:
    return [paced.admit(subscription, f"job{number}", now_ms) for number in range(jobs)]


def test_a_subscription_starts_up_to_its_limit_then_waits_then_parks() -> None:
    """Beyond its limit a subscription's jobs wait in memory, and beyond a bound they are parked."""
    found = admitted(pacing(), "a", 100)
    assert found[:2] == [Admission.START] * 2
    assert found[2:66] == [Admission.WAIT] * 64
    assert found[66:] == [Admission.PARK] * 34


def test_another_subscription_is_not_held_up() -> None:
    """A subscription that is flooded takes no place from another."""
    paced = pacing()
    admitted(paced, "flooded", 100)
    assert paced.admit("other", "job", NOW) is Admission.START


def test_a_fast_endpoint_may_have_much_waiting_and_a_slow_one_little() -> None:
    """What waits in memory is what the endpoint takes in half a second, but never less than its limit."""
    waiting = {}
    for took_us in (1_000, 100_000, 5_000_000):
        paced = pacing(limit=16)
        admitted(paced, "a", 50)
        for _ in range(40):
            paced.done("a", took_us, NOW)
            assert paced.next_waiting() is not None or took_us
            paced.retake("a")
            paced.admit("a", "another", NOW)
        admitted(paced, "a", 1_000)
        waiting[took_us] = paced.waiting
    assert waiting == {1_000: 512, 100_000: 80, 5_000_000: 16}


def test_nothing_waits_for_an_endpoint_that_does_not_answer() -> None:
    """After a second without an answer what waits is to be parked, and what comes is parked at once."""
    paced = pacing(limit=1)
    admitted(paced, "dead", 3)
    admitted(paced, "alive", 3)
    paced.done("alive", QUICK_US, NOW + 900)
    assert paced.take_stuck(NOW + 1_000) == ["job1", "job2"]
    assert paced.admit("dead", "late", NOW + 1_000) is Admission.PARK
    assert paced.next_waiting() == "job1"  # of the one that is alive


def test_who_waited_longest_comes_next() -> None:
    """A place that becomes free goes to the job that waited longest, also before one that arrives then."""
    paced = pacing(limit=1)
    for job in ("first", "second", "third"):
        paced.admit("a", job, NOW)
    paced.done("a", QUICK_US, NOW)
    assert paced.admit("a", "fourth", NOW) is Admission.WAIT
    assert paced.next_waiting() == "second"
    paced.retake("a")
    assert paced.next_waiting() is None


def test_a_job_that_is_not_started_after_all_lets_the_next_one_start() -> None:
    """A waiting job that was cancelled meanwhile gives its place to the next."""
    paced = pacing(limit=1)
    for job in ("first", "second", "third"):
        paced.admit("a", job, NOW)
    paced.done("a", QUICK_US, NOW)
    assert paced.next_waiting() == "second"
    paced.skip("a")
    assert paced.next_waiting() == "third"


def test_what_waits_is_forgotten_with_its_partition() -> None:
    """Jobs of a lost partition are dropped, the others go on waiting."""
    paced = pacing(limit=1)
    for job in ("first", "lost", "kept"):
        paced.admit("a", job, NOW)
    assert paced.drop(lambda job: job == "lost") == ["lost"]
    assert paced.waiting == 1
    paced.done("a", QUICK_US, NOW)
    assert paced.next_waiting() == "kept"


@given(st.lists(st.sampled_from(["arrive", "end"]), max_size=300), st.integers(1, 4), st.integers(100, 10**8))
def test_no_job_is_forgotten_and_no_limit_exceeded(steps: list[str], limit: int, took_us: int) -> None:
    """In any order of arrivals and ends, each job is started once or parked, and never more run than may."""
    paced = Pacing[int](per_subscription=limit)
    running, ended, parked, arrived = 0, 0, 0, 0
    for step in [*steps, *["end"] * len(steps)]:
        if step == "arrive":
            arrived += 1
            admission = paced.admit("a", arrived, NOW)
            running += admission is Admission.START
            parked += admission is Admission.PARK
        elif running:
            paced.done("a", took_us, NOW)
            running, ended = running - 1, ended + 1
        while paced.next_waiting() is not None:
            paced.retake("a")
            running += 1
        assert running <= limit
    assert paced.waiting == 0
    assert ended + parked == arrived
