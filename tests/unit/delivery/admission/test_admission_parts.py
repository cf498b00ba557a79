"""The parts of admission control: concurrency limit, rate limit, circuit breaker, backlog, bulkhead."""

from __future__ import annotations

from bisect import bisect_right
from math import ceil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumers.delivery.admission.backlog import Backlog
from consumers.delivery.admission.bulkhead import Bulkhead
from consumers.delivery.admission.circuit_breaker import FAILURE_THRESHOLD, CircuitBreaker, CircuitState
from consumers.delivery.admission.concurrency_limit import ConcurrencyLimit
from consumers.delivery.admission.rate_limit import RateLimit
from consumers.delivery.admission.types import AdmittedTask, TrafficClass
from tests.support.admission import DELAYS_MS, NOW

pytestmark = pytest.mark.promise(4)


def respond(limit: ConcurrencyLimit, duration_us: int, count: int) -> int:
    """Take in `count` responses, and return the limit after them."""
    for _ in range(count):
        limit.on_response(duration_us)
    return limit.value


def test_slow_start_grows_with_each_response() -> None:
    """A new endpoint gets few requests, a fast one its full limit after a dozen responses."""
    limit = ConcurrencyLimit(16)
    assert limit.value == 4
    assert respond(limit, 5_000, 12) == 16


def test_limit_decreases_while_an_endpoint_slows_down() -> None:
    """An endpoint that takes many times as long gets fewer requests, and all of them when it has recovered."""
    limit = ConcurrencyLimit(16)
    respond(limit, 20_000, 100)
    assert respond(limit, 2_000_000, 60) <= 4
    assert respond(limit, 20_000, 250) == 16


def test_lasting_slowness_is_the_new_baseline() -> None:
    """An endpoint that has become slower gets its full limit again: it is slow, not overloaded."""
    limit = ConcurrencyLimit(16)
    respond(limit, 20_000, 100)
    respond(limit, 500_000, 100)
    assert respond(limit, 500_000, 1_000) == 16


def test_few_slow_responses_leave_the_limit_alone() -> None:
    """Noise of a busy machine or network does not change the limit."""
    limit = ConcurrencyLimit(16)
    for _ in range(50):
        respond(limit, 1_000, 20)
        limit.on_response(80_000)
    assert limit.value == 16


def test_overload_halves_the_limit_once_a_round() -> None:
    """A round of 429s halves the limit once, not once for each of them."""
    limit = ConcurrencyLimit(16)
    respond(limit, 5_000, 20)
    values = []
    for _ in range(20):
        limit.on_overload()
        values.append(limit.value)
    assert values[:8] == [8] * 8
    assert min(values) >= 1


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 10**8)), max_size=300), st.integers(1, 50))
def test_limit_stays_within_its_bounds(steps: list[tuple[bool, int]], most: int) -> None:
    """At least one request may run, and never more than the maximum."""
    limit = ConcurrencyLimit(most)
    for overloaded, duration_us in steps:
        if overloaded:
            limit.on_overload()
        else:
            limit.on_response(duration_us)
        assert 1 <= limit.value <= most


@given(
    st.one_of(st.integers(1, 2_000).map(float), st.floats(0.1, 2_000)),
    st.lists(st.integers(0, 300), min_size=1, max_size=300),
)
@example(1.5, [0, 64, 300, 300])
@example(1_000.0, [5] * 250)
def test_rate_limit_holds_within_any_second(per_second: float, pauses: list[int]) -> None:
    """However often a loop looks, k seconds (below one a second: 1/N s) hold at most k * N starts, rounded up."""
    rate, now_ms = RateLimit(per_second), NOW
    spans_ms = [seconds * 1_000.0 for seconds in (1, 2, 8)] if per_second >= 1 else [1_000 / per_second]
    starts: list[int] = []
    for pause_ms in pauses:
        now_ms += pause_ms
        while rate.ready_at(now_ms) <= now_ms:
            rate.on_start(now_ms)
            starts.append(now_ms)
        for span_ms in spans_ms:
            within = len(starts) - bisect_right(starts, now_ms - span_ms)
            assert within <= ceil(round(span_ms * per_second / 1_000, 6))


def test_loop_that_looks_every_few_ms_reaches_the_rate() -> None:
    """A loop with enough tasks starts 99 % of what the rate limit allows."""
    for per_second in (1.0, 10.0, 250.0, 5_000.0):
        rate, started = RateLimit(per_second), 0
        for now_ms in range(NOW, NOW + 60_000, 4):
            while rate.ready_at(now_ms) <= now_ms:
                rate.on_start(now_ms)
                started += 1
        assert 0.98 * 60 * per_second <= started <= 60 * per_second + 1


def test_rate_limit_survives_a_clock_that_is_set_back() -> None:
    """If the clock is set back by an hour, requests are not blocked for an hour."""
    rate = RateLimit(2)
    rate.on_start(NOW)
    assert rate.ready_at(NOW - 3_600_000) <= NOW - 3_600_000 + 505


def test_breaker_opens_after_consecutive_failures() -> None:
    """Only failures in a row open the breaker: any response in between resets the count."""
    breaker = CircuitBreaker(600_000)
    for _ in range(20):
        for _ in range(FAILURE_THRESHOLD - 1):
            assert not breaker.on_failure(NOW, is_probe=False)
        breaker.on_response(NOW, is_probe=False, is_overloaded=False)
    assert breaker.is_closed
    assert any(breaker.on_failure(NOW, is_probe=False) for _ in range(FAILURE_THRESHOLD))
    assert breaker.state is CircuitState.OPEN


def test_pauses_between_probes_double_up_to_a_minute() -> None:
    """5, 10, 20, 40, 60, 60 s; after a response the pauses start at 5 s again."""
    breaker, now_ms, pauses = CircuitBreaker(600_000), NOW, []
    for _ in range(FAILURE_THRESHOLD):
        breaker.on_failure(now_ms, is_probe=False)
    for _ in range(6):
        pauses.append(breaker.reopens_ms - now_ms)
        now_ms = breaker.reopens_ms
        assert breaker.allows_probe(now_ms)
        assert not breaker.allows_probe(now_ms - 1)
        breaker.on_probe_start()
        breaker.on_failure(now_ms, is_probe=True)
    assert pauses == [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]
    breaker.on_probe_start()
    assert breaker.on_response(now_ms, is_probe=True, is_overloaded=False)
    for _ in range(FAILURE_THRESHOLD):
        breaker.on_failure(now_ms, is_probe=False)
    assert breaker.reopens_ms == now_ms + 5_000


def test_response_to_an_earlier_request_does_not_end_a_retry_after() -> None:
    """A request that started before the Retry-After may succeed: the endpoint stays throttled."""
    breaker = CircuitBreaker(600_000)
    breaker.throttle(NOW + 30_000, NOW)
    breaker.throttle(NOW + 20_000, NOW)
    assert not breaker.on_response(NOW + 1, is_probe=False, is_overloaded=False)
    assert not breaker.allows_probe(NOW + 29_999)
    assert breaker.on_response(NOW + 30_000, is_probe=True, is_overloaded=False)


def test_delay_grows_with_the_outage() -> None:
    """One task returns for the next probe, the others after as long as the outage has lasted."""
    breaker, now_ms = CircuitBreaker(600_000), NOW
    for _ in range(FAILURE_THRESHOLD):
        breaker.on_failure(now_ms, is_probe=False)
    assert breaker.defer_for_ms(now_ms) == 5_000  # the next probe
    assert breaker.defer_for_ms(now_ms) == 5_000
    waits = []
    for away_s in (20, 60, 600, 7_200):
        now_ms = NOW + away_s * 1_000
        breaker.reopens_ms = now_ms + 1_000
        breaker.probe_expected_until_ms = now_ms + 60_000
        waits.append(breaker.defer_for_ms(now_ms))
    assert waits == [32_000, 48_000, 480_000, 1_440_000]


def test_long_backlog_takes_longer_delay_topics() -> None:
    """The first tasks of a flood take the short delay topics, the later ones longer topics."""
    backlog, delay_topics = Backlog(DELAYS_MS, 100, NOW), []
    assert not any(backlog.on_completed(NOW + number * 10, is_busy=True) for number in range(50))
    assert backlog.on_completed(NOW + 500, is_busy=True)
    backlog.per_second = 100
    for _ in range(20_000):
        delay_topic = backlog.choose_delay_topic(400, 0, NOW + 1_000)
        backlog.add(delay_topic, NOW + 1_000)
        delay_topics.append(DELAYS_MS[delay_topic])
    assert delay_topics == sorted(delay_topics)
    counts = {wait_ms: delay_topics.count(wait_ms) for wait_ms in dict.fromkeys(delay_topics)}
    # 400 in memory and 50 in the first delay topic are what the endpoint completes in 90 % of 5 s, and so on.
    # 400 in memory and 50 in the first delay topic are what the endpoint completes in 90 % of 5 s, and so on.
    assert counts == {1_000: 50, 5_000: 1_350, 20_000: 3_600, 60_000: 15_000}


def test_wait_is_rounded_up_to_a_slightly_longer_delay_topic() -> None:
    """59 s are rounded up to one step of a minute."""
    backlog = Backlog(DELAYS_MS, 100, NOW)
    assert [
        DELAYS_MS[backlog.choose_delay_topic(0, blocked_ms, NOW)] for blocked_ms in (0, 4_100, 15_000, 47_000, 59_000)
    ] == [
        1_000,
        5_000,
        5_000,
        20_000,
        60_000,
    ]


def test_deferred_tasks_that_are_overdue_are_forgotten() -> None:
    """Deferred tasks that another process has read do not count for long."""
    backlog = Backlog(DELAYS_MS, 100, NOW)
    for _ in range(500):
        backlog.add(1, NOW)
    backlog.remove(1)
    assert backlog.deferred(NOW + 35_000) == 499
    assert backlog.deferred(NOW + 35_001) == 0


def test_throughput_is_measured_while_tasks_wait() -> None:
    """The throughput is measured while the endpoint is busy; idle time never lowers it."""
    backlog = Backlog(DELAYS_MS, 50, NOW)
    for number in range(1, 1_001):
        backlog.on_completed(NOW + number * 5, is_busy=True)
    assert 190 < backlog.per_second < 210
    for number in range(1, 100):
        backlog.on_completed(NOW + 5_000 + number * 100, is_busy=False)
    assert 190 < backlog.per_second < 210


def test_estimated_throughput_defers_nothing_for_long() -> None:
    """An estimate that is too low takes no long delay topic."""
    backlog = Backlog(DELAYS_MS, 0.1, NOW)
    for _ in range(1_000):
        backlog.add(backlog.choose_delay_topic(400, 0, NOW), NOW)
    assert DELAYS_MS[backlog.choose_delay_topic(400, 0, NOW)] == 5_000


def test_short_measurement_defers_nothing_for_hours() -> None:
    """Behind 18,000 tasks the delay is at most a hundred times as long as the throughput has been measured."""
    backlog = Backlog(DELAYS_MS, 1_000, NOW)
    for _ in range(18_000):
        backlog.add(3, NOW)
    backlog.restart(100, NOW)  # after an outage
    assert DELAYS_MS[backlog.choose_delay_topic(141, 5_000, NOW)] == 5_000
    assert backlog.on_completed(NOW + 600, is_busy=True)  # one in 0.6 s
    assert DELAYS_MS[backlog.choose_delay_topic(141, 5_000, NOW + 600)] == 60_000
    for half_seconds in range(1, 240):
        backlog.on_completed(NOW + 600 + 500 * half_seconds, is_busy=True)
    assert DELAYS_MS[backlog.choose_delay_topic(141, 0, NOW + 60_000)] == 7_200_000


def test_request_is_overdue_after_four_times_the_usual_time() -> None:
    """A responsive request counts as slow after four times the usual time, within 128 ms and a second."""
    for usual_us, early_ms, late_ms in [(1_000, 128, 192), (100_000, 352, 448), (2_000_000, 960, 1_088)]:
        bulkhead = Bulkhead(100)
        bulkhead.advance(NOW)
        task = AdmittedTask()
        permit = bulkhead.acquire(TrafficClass.RESPONSIVE, task, usual_us)
        assert not list(bulkhead.advance(NOW + early_ms))
        assert bulkhead.slow == 0
        assert list(bulkhead.advance(NOW + late_ms)) == [task]
        assert bulkhead.slow == 1
        bulkhead.release(permit, task)
        assert (bulkhead.slow, bulkhead.in_flight) == (0, 0)


def test_requests_become_overdue_though_the_clock_was_set_back() -> None:
    """After the clock was set back, requests become overdue by the time that passes from then on."""
    bulkhead = Bulkhead(100)
    bulkhead.advance(NOW)
    bulkhead.acquire(TrafficClass.RESPONSIVE, AdmittedTask(), 1_000)
    assert not list(bulkhead.advance(NOW - 3_600_000))
    assert len(list(bulkhead.advance(NOW - 3_600_000 + 200))) == 1
