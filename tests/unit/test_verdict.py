"""What an answer means: a table of answers and verdicts, and the schedule behind them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from consumers.delivery.answer import Answer, Responded, Unanswered
from consumers.delivery.tiers import Schedule, Tiers
from consumers.delivery.verdict import Delivered, Exhausted, Gone, Retry, Verdict, asked_to_wait_ms, judge
from schemas.sender import load_senders
from schemas.topics import TopicNames, tiers_of

pytestmark = pytest.mark.promise(3)

NOW_MS = 1_700_000_000_000
ZENOO = Schedule.of(load_senders()["zenoo"].schedule, 1)
MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS


def responded(status: int) -> Responded:
    return Responded(status, None, b"", False)


@pytest.mark.decision("Z5", "Z6", "O32", "D6", "R7")
@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (responded(200), Delivered()),
        (responded(204), Delivered()),
        (responded(299), Delivered()),
        (responded(301), Retry(NOW_MS + MINUTE_MS, "status_301")),
        (responded(400), Retry(NOW_MS + MINUTE_MS, "status_400")),
        (responded(404), Retry(NOW_MS + MINUTE_MS, "status_404")),
        (responded(410), Gone()),
        (responded(429), Retry(NOW_MS + MINUTE_MS, "status_429")),
        (responded(500), Retry(NOW_MS + MINUTE_MS, "status_500")),
        (responded(503), Retry(NOW_MS + MINUTE_MS, "status_503")),
        (Unanswered("timeout_answer", "no answer"), Retry(NOW_MS + MINUTE_MS, "timeout_answer")),
        (Unanswered("dns", "no such name"), Retry(NOW_MS + MINUTE_MS, "dns")),
        (Unanswered("tls_expired", "expired"), Retry(NOW_MS + MINUTE_MS, "tls_expired")),
    ],
)
def test_answers_and_verdicts(answer: Answer, verdict: Verdict) -> None:
    """Any 2xx is success, 410 the end, and everything else, redirects included, is tried again."""
    assert judge(1, answer, ZENOO, NOW_MS, DAY_MS) == verdict


@pytest.mark.decision("Z3", "Z4")
def test_six_attempts_spread_over_26_hours_and_36_minutes() -> None:
    """Each wait counts from the failure before it, without jitter; after the sixth attempt the job is dead."""
    now_ms, waits = NOW_MS, []
    for attempt in range(1, 6):
        verdict = judge(attempt, responded(500), ZENOO, now_ms, DAY_MS)
        assert isinstance(verdict, Retry)
        waits.append(verdict.due_at_ms - now_ms)
        now_ms = verdict.due_at_ms
    assert [wait // MINUTE_MS for wait in waits] == [1, 5, 30, 120, 1440]
    assert now_ms - NOW_MS == (26 * 60 + 36) * MINUTE_MS
    assert judge(6, responded(500), ZENOO, now_ms, DAY_MS) == Exhausted("status_500")


def test_a_retry_waits_in_the_tier_of_its_step() -> None:
    """Every step of a schedule is the delay of a tier, also when both are sped up."""
    steps = load_senders()["zenoo"].schedule
    for speedup in (1, 60, 10_000):
        tiers = Tiers(TopicNames(), tiers_of([steps]), speedup)
        schedule = Schedule.of(steps, speedup)
        found = [tiers.fit(wait_ms) for wait_ms in schedule.waits_ms]
        assert [tier.delay for tier in found if tier] == list(steps)


@pytest.mark.parametrize(
    ("remaining", "topic"),
    [
        (timedelta(seconds=0.999), None),
        (timedelta(seconds=4.999), "signpost.jobs.1s"),
        (timedelta(seconds=5), "signpost.jobs.5s"),
        (timedelta(seconds=59.9), "signpost.jobs.20s"),
        (timedelta(minutes=4), "signpost.jobs.1m"),
        (timedelta(minutes=6), "signpost.jobs.5m"),
        (timedelta(days=9), "signpost.jobs.24h"),
    ],
)
def test_a_wait_between_two_tiers_takes_the_longest_that_fits(remaining: timedelta, topic: str | None) -> None:
    """A job never waits in a tier past its time; what is shorter than the shortest tier waits in memory."""
    tiers = Tiers(TopicNames(), tiers_of([load_senders()["zenoo"].schedule]), 1)
    tier = tiers.fit(remaining // timedelta(milliseconds=1))
    assert (tier.topic if tier else None) == topic


def test_a_wait_that_ends_hardly_later_takes_one_step_instead_of_many() -> None:
    """With some lateness allowed the rest of a wait is rounded up to a tier, but never by more than that."""
    tiers = Tiers(TopicNames(), tiers_of([load_senders()["zenoo"].schedule]), 1)
    found = {remaining: tiers.fit(remaining, 1_000) for remaining in (59_000, 58_999)}
    assert [tier.delay.total_seconds() if tier else None for tier in found.values()] == [60, 20]


@pytest.mark.decision("Z7", "O34", "D22", "R9")
@pytest.mark.parametrize(
    ("status", "retry_after", "attempt", "wait_ms"),
    [
        (429, "120", 1, 120_000),  # later than the schedule's minute
        (503, "120", 1, 120_000),
        (429, "30", 1, MINUTE_MS),  # never earlier
        (429, None, 1, MINUTE_MS),
        (429, "soon", 1, MINUTE_MS),
        (500, "120", 1, MINUTE_MS),  # means nothing with other statuses
        (302, "120", 1, MINUTE_MS),
        (429, "9999999999999", 1, DAY_MS),  # within the longest tier
        (503, "Tue, 14 Nov 2023 22:23:20 GMT", 1, 600_000),
        (503, "Tue, 14 Nov 2023 22:03:20 GMT", 1, MINUTE_MS),  # it has passed
        (429, "120", 5, DAY_MS),
    ],
)
def test_retry_after_moves_an_attempt_later(status: int, retry_after: str | None, attempt: int, wait_ms: int) -> None:
    """Retry-After of 429 and 503 moves the next attempt later, never earlier, within the longest tier."""
    answer = Responded(status, retry_after, b"", False)
    assert judge(attempt, answer, ZENOO, NOW_MS, DAY_MS) == Retry(NOW_MS + wait_ms, f"status_{status}")


def test_retry_after_gives_no_further_attempt() -> None:
    """Where the last attempt is answered so, the job is dead all the same; the endpoint is left alone nevertheless."""
    answer = Responded(429, "120", b"", False)
    assert judge(6, answer, ZENOO, NOW_MS, DAY_MS) == Exhausted("status_429")
    assert asked_to_wait_ms(answer, NOW_MS) == 120_000
