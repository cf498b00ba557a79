"""Pacing as a whole: which jobs start, wait and are parked, and who gets a place that is free."""

from __future__ import annotations

import pytest

from consumers.delivery.pacing import Result
from consumers.delivery.pacing.worst import worst
from tests.support.pacing import NOW, QUICK_US, TIERS_MS, Job, Who, pacing

pytestmark = pytest.mark.promise(4)

A, B = Who("a"), Who("b")


def test_a_subscription_starts_up_to_its_limit_then_waits_then_parks() -> None:
    """Beyond its limit a subscription's jobs wait in memory, and beyond a bound they are parked."""
    found = pacing().jobs(A, 1_100)
    assert {how: len(jobs) for how, jobs in found.items()} == {"start": 2, "wait": 1_000, "park": 98}


def test_another_subscription_is_not_held_up() -> None:
    """A subscription that is flooded takes no place from another."""
    paced = pacing()
    paced.jobs(A, 100)
    assert paced.admit(B, Job(), NOW)


def test_a_limit_of_the_subscription_counts_in_place_of_the_setting() -> None:
    """`max_in_flight` of a subscription may be lower and higher than the setting, and may change."""
    paced = pacing(subscription=16)
    low, high = Who("low", max_in_flight=1), Who("high", max_in_flight=40)
    paced.warm(low, high)
    assert len(paced.jobs(low, 50)["start"]) == 1
    assert len(paced.jobs(high, 50)["start"]) == 40
    paced.warm(Who("low", max_in_flight=3), answers=0)
    running = [job for job in (Job() for _ in range(50)) if paced.admit(Who("other", max_in_flight=3), job, NOW)]
    assert len(running) == 3


def test_a_fast_endpoint_may_have_much_waiting_and_a_slow_one_little() -> None:
    """What waits in memory is what the endpoint takes in 20 s, within bounds."""
    waiting = {}
    for took_us in (1_000, 400_000, 5_000_000):
        paced = pacing(subscription=16)
        paced.warm(A, took_us=took_us)
        waiting[took_us] = len(paced.jobs(A, 2_000)["wait"])
    assert waiting == {1_000: 1_000, 400_000: 800, 5_000_000: 64}


def test_nothing_waits_for_an_endpoint_that_does_not_answer() -> None:
    """After a second without an answer what waits is to be parked, and what comes is parked at once."""
    paced = pacing(subscription=1)
    dead = paced.jobs(A, 3)
    alive = paced.jobs(B, 3)
    paced.ended(alive["start"][0], Result.DELIVERED, QUICK_US, NOW + 900)
    assert paced.sweep(NOW + 1_000) == dead["wait"]
    assert len(paced.jobs(A, 1, NOW + 1_000)["park"]) == 1
    assert paced.next_waiting(NOW + 1_000) is alive["wait"][0]


def test_who_waited_longest_comes_next() -> None:
    """A place that becomes free goes to the job that waited longest, also before one that arrives then."""
    paced = pacing(subscription=1)
    found = paced.jobs(A, 3)
    paced.ended(found["start"][0], Result.DELIVERED, QUICK_US, NOW)
    assert len(paced.jobs(A, 1)["wait"]) == 1
    job = paced.next_waiting(NOW)
    assert job is found["wait"][0]
    paced.begin(A, job, NOW)
    assert paced.next_waiting(NOW) is None


def test_a_job_that_is_not_started_after_all_lets_the_next_one_start() -> None:
    """A waiting job that was cancelled meanwhile gives its place to the next."""
    paced = pacing(subscription=1)
    found = paced.jobs(A, 3)
    paced.ended(found["start"][0], Result.DELIVERED, QUICK_US, NOW)
    assert [paced.next_waiting(NOW), paced.next_waiting(NOW)] == found["wait"]


def test_what_waits_is_forgotten_with_its_partition() -> None:
    """Jobs of a lost partition are dropped, the others go on waiting."""
    paced = pacing(subscription=1)
    found = paced.jobs(A, 3)
    lost, kept = found["wait"]
    assert paced.drop(lambda job: job is lost) == [lost]
    assert paced.waiting == 1
    paced.ended(found["start"][0], Result.DELIVERED, QUICK_US, NOW)
    assert paced.next_waiting(NOW) is kept


def test_subscriptions_of_a_host_share_its_places_in_turn() -> None:
    """With the places of a host taken, each one that becomes free goes to the next of its subscriptions."""
    paced = pacing(subscription=4, host=4)
    several = [Who(name) for name in "abcd"]
    paced.warm(*several)
    running = [job for who in several for job in paced.jobs(who, 8)["start"]]
    assert len(running) == 4
    assert paced.admit(Who("elsewhere", host="two.example"), Job(), NOW)
    begun: list[str] = []
    while len(begun) < 16:
        paced.ended(running.pop(0), Result.DELIVERED, QUICK_US, NOW)
        while (job := paced.next_waiting(NOW)) is not None:
            who = next(who for who in several if job.name.startswith(who.subscription_id))
            paced.begin(who, job, NOW)
            running.append(job)
            begun.append(who.subscription_id)
        assert len(running) <= 4
    assert {name: begun.count(name) for name in "abcd"} == dict.fromkeys("abcd", 4)


def test_slow_endpoints_hold_at_most_three_eighths_of_the_places() -> None:
    """However many endpoints hang from the first request on, five eighths of the places stay for those that answer."""
    paced = pacing(subscription=16, process=512)
    quick = Who("quick", host="quick.example")
    paced.warm(quick)
    started = sum(len(paced.jobs(Who(f"hangs-{n}", host=f"{n}.example"), 100)["start"]) for n in range(500))
    assert started == paced.places.slow == 192
    paced.advance(NOW + 30_000)
    assert len(paced.jobs(quick, 50, NOW + 30_000)["start"]) == 16


def test_a_rate_limit_starts_what_waits_when_it_is_time() -> None:
    """What is over the rate waits for its time, which is told."""
    paced = pacing(subscription=16)
    who = Who("slowly", rate_limit=10)
    found = paced.jobs(who, 3)
    assert [len(jobs) for jobs in found.values()] == [1, 2, 0]
    assert paced.next_waiting(NOW) is None
    due_ms = paced.next_ms
    assert due_ms is not None
    assert NOW + 91 <= due_ms <= NOW + 101
    assert paced.next_waiting(due_ms) is found["wait"][0]


def test_an_endpoint_that_is_away_is_probed_by_single_requests() -> None:
    """After failures in a row jobs are parked; one probe at a time shows whether the endpoint is back."""
    paced = pacing(subscription=16)
    now_ms = NOW
    for _ in range(5):
        job = Job()
        assert paced.admit(A, job, now_ms)
        paced.ended(job, Result.UNREACHABLE, 100, now_ms)
    assert len(paced.jobs(A, 10, now_ms)["park"]) == 10
    now_ms += 5_000
    found = paced.jobs(A, 10, now_ms)
    assert [len(jobs) for jobs in found.values()] == [1, 0, 9]
    paced.ended(found["start"][0], Result.UNREACHABLE, 100, now_ms)
    assert not paced.jobs(A, 10, now_ms + 9_999)["start"]
    probe = paced.jobs(A, 10, now_ms + 10_000)["start"]
    assert len(probe) == 1
    paced.ended(probe[0], Result.ANSWERED, 100, now_ms + 10_001)
    assert len(paced.jobs(A, 10, now_ms + 10_002)["start"]) == 2  # it begins anew, carefully


def test_an_endpoint_that_asks_to_wait_is_left_alone_until_then() -> None:
    """After a Retry-After nothing starts until it is over, then single probes; what waited is parked."""
    paced = pacing(subscription=2)
    found = paced.jobs(A, 5)
    for job in found["start"]:
        paced.ended(job, Result.OVERLOADED, QUICK_US, NOW)
    paced.told_to_wait("a", NOW + 120_000, NOW)
    assert paced.sweep(NOW) == found["wait"]
    assert [paced.park(job, NOW) for job in found["wait"]] == [("retry_after", TIERS_MS.index(60_000))] * 3
    assert not paced.jobs(A, 10, NOW + 119_999)["start"]
    assert len(paced.jobs(A, 10, NOW + 120_000)["start"]) == 1


def test_no_endpoint_is_left_alone_for_longer_than_may_be() -> None:
    """A Retry-After of a year closes the endpoint for `max_endpoint_wait` only."""
    paced = pacing()
    paced.warm(A)
    paced.told_to_wait("a", NOW + 365 * 86_400_000, NOW)
    assert not paced.jobs(A, 1, NOW + 599_999)["start"]
    assert len(paced.jobs(A, 1, NOW + 600_000)["start"]) == 1


def test_a_wait_for_a_name_holds_no_place() -> None:
    """A request whose host is looked up gives its places back, and takes them again when it is sent."""
    paced = pacing(subscription=4, host=1, process=2)
    job = Job()
    assert paced.admit(A, job, NOW)
    paced.suspend(job)
    assert paced.places.taken == 0
    other = Job()
    assert paced.admit(B, other, NOW)
    assert not paced.resume(job, NOW)  # the host's only place is taken
    paced.ended(other, Result.DELIVERED, QUICK_US, NOW)
    assert paced.resume(job, NOW)
    paced.ended(job, Result.DELIVERED, QUICK_US, NOW)
    assert paced.places.taken == 0


def test_a_new_address_begins_anew() -> None:
    """A subscription that moves to another host has a new endpoint; requests to the old one end by themselves."""
    paced = pacing(subscription=4)
    paced.warm(A)
    old = paced.jobs(A, 4)["start"]
    moved = Who("a", host="two.example")
    assert len(paced.jobs(moved, 8)["start"]) == 4
    for job in old:
        paced.ended(job, Result.UNREACHABLE, 100, NOW)
    assert [view.failing_since_ms for view in worst(paced.paces, 5, NOW)] == [None]


def test_the_worst_endpoints_are_told() -> None:
    """For the operator: since when an endpoint fails, how, what waits for it, and what keeps it."""
    paced = pacing()
    paced.warm(B)
    for _ in range(5):
        job = Job()
        assert paced.admit(A, job, NOW)
        paced.ended(job, Result.UNREACHABLE, 100, NOW, "refused")
    paced.jobs(A, 3, NOW + 1_000)
    (view,) = worst(paced.paces, 5, NOW + 1_000)
    assert (view.subscription_id, view.failing_since_ms, view.last_answer) == ("a", NOW, "refused")
    assert (view.circuit, view.limited_by, view.parked, view.due_at_ms) == ("failing", "circuit_open", 3, NOW + 5_000)


def test_endpoints_that_are_idle_are_forgotten() -> None:
    """What is kept of endpoints does not grow with all that ever were."""
    paced = pacing()
    paced.warm(*(Who(str(number), host=f"{number}.example") for number in range(100)))
    paced.sweep(NOW + 299_000)
    assert len(list(paced.paces)) == 100
    paced.sweep(NOW + 320_000)
    assert not list(paced.paces)


def test_a_standstill_of_the_process_is_not_the_endpoints() -> None:
    """What was open while the process stood still says nothing of how quick its endpoint is, and nothing is parked."""
    paced = pacing(subscription=4)
    paced.warm(A)
    found = paced.jobs(A, 50)
    paced.stood_still(NOW + 20_000)
    assert paced.sweep(NOW + 20_000) == []
    for job in found["start"]:
        paced.ended(job, Result.DELIVERED, 20_000_000, NOW + 20_001)
    assert paced.sweep(NOW + 20_002) == []
    (pace,) = paced.paces
    assert pace.limit.mean_us == QUICK_US
    assert pace.limit.value == 4
    assert {paced.next_waiting(NOW + 20_003) for _ in range(4)} == set(found["wait"][:4])
