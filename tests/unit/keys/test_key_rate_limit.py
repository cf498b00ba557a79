"""The rate limit of API keys."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from producers.keys.rate_limit import RateLimiter


@given(
    st.sampled_from([0.1, 0.5, 1, 1.5, 3, 7, 50]),
    st.lists(st.floats(0, 0.7, allow_nan=False), min_size=1, max_size=300),
)
def test_rate_holds_over_any_time(rate, gaps):
    """In t seconds at most rate * (t + 1) requests are let through, with a rate below one at most rate * t + 1."""
    limiter = RateLimiter(rate)
    now_s, allowed = 1_000.0, []
    for gap_s in gaps:
        now_s += gap_s
        if limiter.wait_s("a", now_s) == 0.0:
            allowed.append(now_s)
    for first, started_s in enumerate(allowed):
        for count, ended_s in enumerate(allowed[first:], 1):
            assert count <= max(1.0, rate) + rate * (ended_s - started_s) + 0.01


@given(st.sampled_from([0.1, 0.5, 1, 1.5, 3, 7, 50]), st.lists(st.floats(0, 0.1), max_size=100))
def test_request_is_allowed_after_the_wait(rate, gaps):
    """A caller that waits as long as it is asked to is let through: `Retry-After` is never too short."""
    limiter = RateLimiter(rate)
    now_s = 1_000.0
    for gap_s in gaps:
        now_s += gap_s
        limiter.wait_s("a", now_s)
    while (wait_s := limiter.wait_s("a", now_s)) == 0.0:
        pass
    assert 0.0 < wait_s <= 1 / rate + 1e-5
    assert limiter.wait_s("a", now_s + wait_s) == 0.0


def test_burst_is_one_second():
    """A rate of 50 allows 50 requests at once, then one every 20 ms. Refused requests do not count."""
    limiter = RateLimiter(50)
    assert [limiter.wait_s("a", 10.0) for _ in range(50)] == [0.0] * 50
    waits = [limiter.wait_s("a", 10.0) for _ in range(1_000)]
    assert all(0.019 < wait_s <= 0.02 for wait_s in waits)
    assert [limiter.wait_s("a", 10.021) > 0 for _ in range(2)] == [False, True]


def test_keys_have_their_own_buckets():
    """One key's requests cost another one nothing."""
    limiter = RateLimiter(1)
    assert limiter.wait_s("a", 10.0) == 0.0
    assert limiter.wait_s("a", 10.0) > 0.0
    assert limiter.wait_s("b", 10.0) == 0.0


def test_zero_is_no_limit():
    """A rate of 0 limits nothing and keeps nothing."""
    limiter = RateLimiter(0)
    assert {limiter.wait_s("a", 10.0) for _ in range(10_000)} == {0.0}
    assert limiter._full_at_s == {}


def test_memory_is_bounded():
    """Buckets of keys that have stopped are forgotten, and those that are not full are kept."""
    limiter = RateLimiter(1)
    for number in range(50_000):
        assert limiter.wait_s(f"key-{number}", number / 10) == 0.0
        assert len(limiter._full_at_s) <= 1_024
    assert limiter.wait_s("key-49999", 4_999.9) > 0.0
