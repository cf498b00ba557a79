"""The parts of pacing, each by itself: limit, rate, circuit, backlog, places."""

from __future__ import annotations

from bisect import bisect_right
from math import ceil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumers.delivery.pacing.backlog import Backlog
from consumers.delivery.pacing.circuit import FAILURES, Circuit, State
from consumers.delivery.pacing.limit import Limit
from consumers.delivery.pacing.places import Pacer, Places
from consumers.delivery.pacing.rate import Rate
from tests.support.pacing import NOW, TIERS_MS, Job

pytestmark = pytest.mark.promise(4)


def answers(limit: Limit, took_us: int, count: int) -> int:
    """Let so many answers come, and return the limit then."""
    for _ in range(count):
        limit.answered(took_us)
    return limit.value


def test_a_limit_begins_low_and_grows_with_each_answer() -> None:
    """An endpoint of which nothing is known gets few requests, a quick one its full limit after a dozen answers."""
    limit = Limit(16)
    assert limit.value == 4
    assert answers(limit, 5_000, 12) == 16


def test_a_limit_shrinks_while_an_endpoint_slows_down_and_grows_again() -> None:
    """What takes many times as long as before gets fewer requests at once, and all of them when it is well again."""
    limit = Limit(16)
    answers(limit, 20_000, 100)
    assert answers(limit, 2_000_000, 60) <= 4
    assert answers(limit, 20_000, 250) == 16


def test_what_is_slow_for_good_is_the_new_measure() -> None:
    """An endpoint that lastingly takes longer gets its full limit again: it is slow, not overloaded."""
    limit = Limit(16)
    answers(limit, 20_000, 100)
    answers(limit, 500_000, 100)
    assert answers(limit, 500_000, 1_000) == 16


def test_a_few_slow_answers_are_no_trouble() -> None:
    """Noise of a busy machine or network leaves the limit alone."""
    limit = Limit(16)
    for _ in range(50):
        answers(limit, 1_000, 20)
        limit.answered(80_000)
    assert limit.value == 16


def test_an_overloaded_endpoint_gets_half_once_a_round() -> None:
    """A round of 429s halves the limit once, not once for each of them."""
    limit = Limit(16)
    answers(limit, 5_000, 20)
    values = []
    for _ in range(20):
        limit.overloaded()
        values.append(limit.value)
    assert values[:8] == [8] * 8
    assert min(values) >= 1


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 10**8)), max_size=300), st.integers(1, 50))
def test_a_limit_stays_within_its_bounds(steps: list[tuple[bool, int]], most: int) -> None:
    """Whatever comes, at least one request may run, and never more than allowed."""
    limit = Limit(most)
    for overloaded, took_us in steps:
        if overloaded:
            limit.overloaded()
        else:
            limit.answered(took_us)
        assert 1 <= limit.value <= most


@given(
    st.one_of(st.integers(1, 2_000).map(float), st.floats(0.1, 2_000)),
    st.lists(st.integers(0, 300), min_size=1, max_size=300),
)
@example(1.5, [0, 64, 300, 300])
@example(1_000.0, [5] * 250)
def test_never_more_than_the_rate_starts_within_any_second(per_second: float, pauses: list[int]) -> None:
    """However often a loop looks, k seconds (below one a second: 1/N s) hold at most k * N starts, rounded up."""
    rate, now_ms = Rate(per_second), NOW
    spans_ms = [seconds * 1_000.0 for seconds in (1, 2, 8)] if per_second >= 1 else [1_000 / per_second]
    starts: list[int] = []
    for pause_ms in pauses:
        now_ms += pause_ms
        while rate.ready_at(now_ms) <= now_ms:
            rate.begin(now_ms)
            starts.append(now_ms)
        for span_ms in spans_ms:
            within = len(starts) - bisect_right(starts, now_ms - span_ms)
            assert within <= ceil(round(span_ms * per_second / 1_000, 6))


def test_a_rate_is_reached_by_a_loop_that_looks_every_few_milliseconds() -> None:
    """A loop that has work all the time starts 99 % of what may start."""
    for per_second in (1.0, 10.0, 250.0, 5_000.0):
        rate, started = Rate(per_second), 0
        for now_ms in range(NOW, NOW + 60_000, 4):
            while rate.ready_at(now_ms) <= now_ms:
                rate.begin(now_ms)
                started += 1
        assert 0.98 * 60 * per_second <= started <= 60 * per_second + 1


def test_a_rate_survives_a_clock_that_is_set_back() -> None:
    """A clock that jumps back by an hour holds nothing up for an hour."""
    rate = Rate(2)
    rate.begin(NOW)
    assert rate.ready_at(NOW - 3_600_000) <= NOW - 3_600_000 + 505


def test_a_circuit_opens_on_failures_in_a_row_only() -> None:
    """An endpoint that answers now and then, whatever, is not away."""
    circuit = Circuit(600_000)
    for _ in range(20):
        for _ in range(FAILURES - 1):
            assert not circuit.failed(NOW, probe=False)
        circuit.answered(NOW, probe=False, overloaded=False)
    assert circuit.is_closed
    assert any(circuit.failed(NOW, probe=False) for _ in range(FAILURES))
    assert circuit.state is State.FAILING


def test_pauses_between_probes_double_up_to_a_minute() -> None:
    """5, 10, 20, 40, 60, 60 s; an answer begins anew."""
    circuit, now_ms, pauses = Circuit(600_000), NOW, []
    for _ in range(FAILURES):
        circuit.failed(now_ms, probe=False)
    for _ in range(6):
        pauses.append(circuit.reopens_ms - now_ms)
        now_ms = circuit.reopens_ms
        assert circuit.lets_probe(now_ms)
        assert not circuit.lets_probe(now_ms - 1)
        circuit.probes()
        circuit.failed(now_ms, probe=True)
    assert pauses == [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]
    circuit.probes()
    assert circuit.answered(now_ms, probe=True, overloaded=False)
    for _ in range(FAILURES):
        circuit.failed(now_ms, probe=False)
    assert circuit.reopens_ms == now_ms + 5_000


def test_answers_from_before_a_wait_do_not_end_it() -> None:
    """What was asked before the endpoint told us to wait may still succeed: it is left alone all the same."""
    circuit = Circuit(600_000)
    circuit.told_to_wait(NOW + 30_000, NOW)
    circuit.told_to_wait(NOW + 20_000, NOW)
    assert not circuit.answered(NOW + 1, probe=False, overloaded=False)
    assert not circuit.lets_probe(NOW + 29_999)
    assert circuit.answered(NOW + 30_000, probe=True, overloaded=False)


def test_jobs_of_an_endpoint_that_is_away_stay_away_for_about_as_long() -> None:
    """One job comes back to be the next probe, the others after as long as the outage has lasted: few rewrites."""
    circuit, now_ms = Circuit(600_000), NOW
    for _ in range(FAILURES):
        circuit.failed(now_ms, probe=False)
    assert circuit.park_for_ms(now_ms) == 5_000  # the next probe
    assert circuit.park_for_ms(now_ms) == 5_000
    waits = []
    for away_s in (20, 60, 600, 7_200):
        now_ms = NOW + away_s * 1_000
        circuit.reopens_ms = now_ms + 1_000
        circuit.prober_until_ms = now_ms + 60_000
        waits.append(circuit.park_for_ms(now_ms))
    assert waits == [32_000, 48_000, 480_000, 1_440_000]


def test_a_job_is_parked_as_far_away_as_what_is_nearer_keeps_the_endpoint_busy() -> None:
    """The first jobs of a flood wait near, the later ones further away."""
    backlog, tiers = Backlog(TIERS_MS, 100, NOW), []
    assert not any(backlog.ended(NOW + number * 10, busy=True) for number in range(50))
    assert backlog.ended(NOW + 500, busy=True)
    backlog.per_second = 100
    for _ in range(20_000):
        tier = backlog.tier_for(400, 0, NOW + 1_000)
        backlog.put(tier, NOW + 1_000)
        tiers.append(TIERS_MS[tier])
    assert tiers == sorted(tiers)
    counts = {wait_ms: tiers.count(wait_ms) for wait_ms in dict.fromkeys(tiers)}
    # 400 at hand and 50 in the first tier are what the endpoint takes in 90 % of 5 s, and so on.
    # 400 at hand and 50 in the first tier are what the endpoint takes in 90 % of 5 s, and so on.
    assert counts == {1_000: 50, 5_000: 1_350, 20_000: 3_600, 60_000: 15_000}


def test_a_wait_is_rounded_up_to_a_tier_that_ends_a_little_later() -> None:
    """59 s are one step of a minute, not a dozen of shorter ones."""
    backlog = Backlog(TIERS_MS, 100, NOW)
    assert [TIERS_MS[backlog.tier_for(0, closed_ms, NOW)] for closed_ms in (0, 4_100, 15_000, 47_000, 59_000)] == [
        1_000,
        5_000,
        5_000,
        20_000,
        60_000,
    ]


def test_what_has_not_come_back_in_time_is_forgotten() -> None:
    """Jobs that another process has read meanwhile do not count for ever."""
    backlog = Backlog(TIERS_MS, 100, NOW)
    for _ in range(500):
        backlog.put(1, NOW)
    backlog.came_back(1)
    assert backlog.parked(NOW + 35_000) == 499
    assert backlog.parked(NOW + 35_001) == 0


def test_the_rate_is_measured_while_others_wait() -> None:
    """What the endpoint takes is measured when it has enough to do, and never made smaller by idleness."""
    backlog = Backlog(TIERS_MS, 50, NOW)
    for number in range(1, 1_001):
        backlog.ended(NOW + number * 5, busy=True)
    assert 190 < backlog.per_second < 210
    for number in range(1, 100):
        backlog.ended(NOW + 5_000 + number * 100, busy=False)
    assert 190 < backlog.per_second < 210


def test_jobs_stay_near_while_an_endpoint_is_not_measured() -> None:
    """A guess that is too low sends nothing far away."""
    backlog = Backlog(TIERS_MS, 0.1, NOW)
    for _ in range(1_000):
        backlog.put(backlog.tier_for(400, 0, NOW), NOW)
    assert TIERS_MS[backlog.tier_for(400, 0, NOW)] == 5_000


def test_what_is_measured_in_the_first_second_sends_nothing_away_for_hours() -> None:
    """Behind 18,000 jobs nobody comes back later than the time that the rate has been seen for makes believable."""
    backlog = Backlog(TIERS_MS, 1_000, NOW)
    for _ in range(18_000):
        backlog.put(3, NOW)
    backlog.restart(100, NOW)  # it was away
    assert TIERS_MS[backlog.tier_for(141, 5_000, NOW)] == 5_000
    assert backlog.ended(NOW + 600, busy=True)  # one in 0.6 s
    assert TIERS_MS[backlog.tier_for(141, 5_000, NOW + 600)] == 60_000
    for half_seconds in range(1, 240):
        backlog.ended(NOW + 600 + 500 * half_seconds, busy=True)
    assert TIERS_MS[backlog.tier_for(141, 0, NOW + 60_000)] == 7_200_000


def test_a_request_is_overdue_after_four_times_the_usual_time() -> None:
    """A quick request is slow once it takes far longer than usual, from 128 ms on, and surely after a second."""
    for usual_us, early_ms, late_ms in [(1_000, 128, 192), (100_000, 352, 448), (2_000_000, 960, 1_088)]:
        places = Places[Job](100)
        places.advance(NOW)
        job = Job()
        ticket = places.take(Pacer.QUICK, job, usual_us)
        assert not list(places.advance(NOW + early_ms))
        assert places.slow == 0
        assert list(places.advance(NOW + late_ms)) == [job]
        assert places.slow == 1
        places.give_back(ticket, job)
        assert (places.slow, places.taken) == (0, 0)


def test_a_clock_that_is_set_back_makes_nothing_overdue_and_keeps_nothing_from_it() -> None:
    """Time goes on from where a clock was set back to."""
    places = Places[Job](100)
    places.advance(NOW)
    places.take(Pacer.QUICK, Job(), 1_000)
    assert not list(places.advance(NOW - 3_600_000))
    assert len(list(places.advance(NOW - 3_600_000 + 200))) == 1
