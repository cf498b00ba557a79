"""Retry policy: a table of responses and dispositions, and the schedules behind it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from consumers.delivery.classification import ResponseKind, classify
from consumers.delivery.delay_topics import DelayTopics, Schedule
from consumers.delivery.http.types import Response, ResponseOrError, TransportError
from consumers.delivery.results.retry_policy import (
    Delivered,
    Disposition,
    Exhausted,
    Gone,
    Retry,
    dispose,
)
from schemas.records.topics import TopicNames, delays_of
from schemas.senders.sender import load_senders

pytestmark = pytest.mark.promise(3)

NOW_MS = 1_700_000_000_000
ZENOO = Schedule.of(load_senders()["zenoo"].schedule, 1)
MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS


def responded(status: int) -> Response:
    return Response(status, None, b"", False)


def disposed(attempt: int, response: ResponseOrError, now_ms: int = NOW_MS) -> Disposition:
    return dispose(attempt, classify(response, now_ms), ZENOO, now_ms, DAY_MS)


@pytest.mark.decision("Z5", "Z6", "O32", "D6", "R7")
@pytest.mark.parametrize(
    ("response", "disposition", "label"),
    [
        (responded(200), Delivered(), "status_200"),
        (responded(204), Delivered(), "status_204"),
        (responded(299), Delivered(), "status_299"),
        (responded(301), Retry(NOW_MS + MINUTE_MS), "status_301"),
        (responded(400), Retry(NOW_MS + MINUTE_MS), "status_400"),
        (responded(404), Retry(NOW_MS + MINUTE_MS), "status_404"),
        (responded(410), Gone(), "status_410"),
        (responded(429), Retry(NOW_MS + MINUTE_MS), "status_429"),
        (responded(500), Retry(NOW_MS + MINUTE_MS), "status_500"),
        (responded(503), Retry(NOW_MS + MINUTE_MS), "status_503"),
        (TransportError("timeout_answer", "no response"), Retry(NOW_MS + MINUTE_MS), "timeout_answer"),
        (TransportError("dns", "no such name"), Retry(NOW_MS + MINUTE_MS), "dns"),
        (TransportError("tls_expired", "expired"), Retry(NOW_MS + MINUTE_MS), "tls_expired"),
    ],
)
def test_response_has_its_disposition(response: ResponseOrError, disposition: Disposition, label: str) -> None:
    """2xx is a delivery, 410 ends the job, and everything else, redirects included, is retried."""
    assert disposed(1, response) == disposition
    assert classify(response, NOW_MS).label == label


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (responded(204), ResponseKind.DELIVERED),
        (responded(410), ResponseKind.GONE),
        (responded(301), ResponseKind.REJECTED),
        (responded(500), ResponseKind.REJECTED),
        (responded(429), ResponseKind.OVERLOADED),
        (responded(503), ResponseKind.OVERLOADED),
        (TransportError("timeout_connect", ""), ResponseKind.TIMEOUT),
        (TransportError("dns_timeout", ""), ResponseKind.TIMEOUT),
        (TransportError("refused", ""), ResponseKind.UNREACHABLE),
        (TransportError("local", ""), ResponseKind.UNRELATED),
        (TransportError("blocked_address", ""), ResponseKind.UNRELATED),
    ],
)
def test_response_has_one_kind(response: ResponseOrError, kind: ResponseKind) -> None:
    """Every response and every transport error has one kind."""
    classified = classify(response, NOW_MS)
    assert classified.kind is kind
    assert (classified.status is None) != (classified.error is None)


@pytest.mark.decision("Z3", "Z4")
def test_six_attempts_spread_over_26_hours_and_36_minutes() -> None:
    """Each wait counts from the previous failure, without jitter. After the sixth attempt the job is dead."""
    now_ms, waits = NOW_MS, []
    for attempt in range(1, 6):
        disposition = disposed(attempt, responded(500), now_ms)
        assert isinstance(disposition, Retry)
        waits.append(disposition.due_at_ms - now_ms)
        now_ms = disposition.due_at_ms
    assert [wait // MINUTE_MS for wait in waits] == [1, 5, 30, 120, 1440]
    assert now_ms - NOW_MS == (26 * 60 + 36) * MINUTE_MS
    assert disposed(6, responded(500), now_ms) == Exhausted()


def test_retry_waits_in_the_delay_topic_of_its_step() -> None:
    """Every wait of a schedule is the delay of a delay topic, also with `delay_speedup`."""
    steps = load_senders()["zenoo"].schedule
    for speedup in (1, 60, 10_000):
        delay_topics = DelayTopics(TopicNames(), delays_of([steps]), speedup)
        schedule = Schedule.of(steps, speedup)
        found = [delay_topics.fit(wait_ms) for wait_ms in schedule.waits_ms]
        assert [delay_topic.delay for delay_topic in found if delay_topic] == list(steps)


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
def test_wait_takes_the_longest_delay_topic_that_fits(remaining: timedelta, topic: str | None) -> None:
    """A job never waits in a delay topic beyond its due time. A wait shorter than every delay is in memory."""
    delay_topics = DelayTopics(TopicNames(), delays_of([load_senders()["zenoo"].schedule]), 1)
    delay_topic = delay_topics.fit(remaining // timedelta(milliseconds=1))
    assert (delay_topic.topic if delay_topic else None) == topic


def test_wait_may_be_rounded_up_to_save_steps() -> None:
    """A wait may be rounded up to the delay of a topic, by no more than the allowed lateness."""
    delay_topics = DelayTopics(TopicNames(), delays_of([load_senders()["zenoo"].schedule]), 1)
    found = {remaining: delay_topics.fit(remaining, 1_000) for remaining in (59_000, 58_999)}
    assert [delay_topic.delay.total_seconds() if delay_topic else None for delay_topic in found.values()] == [60, 20]


@pytest.mark.decision("Z7", "O34", "D22", "R9")
@pytest.mark.parametrize(
    ("status", "retry_after", "attempt", "wait_ms"),
    [
        (429, "120", 1, 120_000),  # later than the schedule's minute
        (503, "120", 1, 120_000),
        (429, "30", 1, MINUTE_MS),  # never earlier
        (429, None, 1, MINUTE_MS),
        (429, "soon", 1, MINUTE_MS),
        (500, "120", 1, MINUTE_MS),  # ignored with other statuses
        (302, "120", 1, MINUTE_MS),
        (429, "9999999999999", 1, DAY_MS),  # within the longest delay topic
        (503, "Tue, 14 Nov 2023 22:23:20 GMT", 1, 600_000),
        (503, "Tue, 14 Nov 2023 22:03:20 GMT", 1, MINUTE_MS),  # in the past
        (429, "120", 5, DAY_MS),
    ],
)
def test_retry_after_moves_an_attempt_later(status: int, retry_after: str | None, attempt: int, wait_ms: int) -> None:
    """Retry-After of 429 and 503 moves the next attempt later, never earlier, by at most the longest delay."""
    response = Response(status, retry_after, b"", False)
    assert disposed(attempt, response) == Retry(NOW_MS + wait_ms)


def test_retry_after_gives_no_further_attempt() -> None:
    """After the last attempt the job is dead, with or without Retry-After; the endpoint is throttled in both cases."""
    response = Response(429, "120", b"", False)
    assert disposed(6, response) == Exhausted()
    assert classify(response, NOW_MS).retry_after_ms == 120_000
