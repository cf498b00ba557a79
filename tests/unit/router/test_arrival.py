"""When an event arrived, and how old it is: a producer's clock changes neither latency nor other ages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, cast

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME, TIMESTAMP_NOT_AVAILABLE

from consumers.router.matching import Matches, RoutedSubscription, SubscriptionIndex
from consumers.router.routing import Blocked, Routed, Router, SizeLimits
from consumers.service.metrics import RouterMetrics
from consumers.subscriptions.state import Entry
from schemas.records.delivery import Job, JobCodec
from schemas.records.topics import MAX_EVENT
from tests.support.installation import ZENOO, event, subscription, value_of

NOW: Final = 1_800_000_000_000
DAY: Final = 86_400_000


@dataclass
class Record:
    """A record of an event topic."""

    value_: bytes
    timestamp_: tuple[int, int]
    offset_: int = 7

    def topic(self) -> str:
        return "events"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.offset_

    def key(self) -> bytes:
        return b""

    def value(self) -> bytes:
        return self.value_

    def headers(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return self.timestamp_


class Customers:
    """One subscription, whose customer can be blocked."""

    def __init__(self) -> None:
        self._index = SubscriptionIndex()
        self._index.change("one", Entry(RoutedSubscription.of(subscription("one"), 0, 0), 0, 0))
        self.reason: str | None = None

    def match(self, sender: str, customer_id: str, event_type: str) -> Matches:
        return self._index.match(sender, customer_id, event_type)

    def blocked(self, _customer_id: str) -> str | None:
        return self.reason


class Process:
    """A router at a time that the test sets."""

    def __init__(self) -> None:

        self.now_ms = NOW
        self.readable_since_ms = 0
        self.customers = Customers()
        limits = SizeLimits(MAX_EVENT, 1_000_000)
        self.router = Router(
            {"events": ZENOO},
            cast("Any", self.customers),
            limits,
            lambda: self.now_ms,
            readable_since_ms=lambda topic: self.readable_since_ms if topic == "events" else 0,
        )

    def routed(self, record: Record) -> Routed:
        routed = self.router.route(record)
        assert isinstance(routed, Routed), routed
        return routed

    def job(self, record: Record) -> Job:
        ((_, value),) = self.routed(record).jobs
        return JobCodec().decode(value)


def record(kind: int, at_ms: int, created_ms: int = NOW) -> Record:
    """Return a record whose timestamp is `at_ms`, of an event created at `created_ms`."""
    return Record(value_of(replace(event("evt_1"), created_at_us=created_ms * 1_000)), (kind, at_ms))


@pytest.mark.parametrize("at_ms", [NOW - 5 * DAY, NOW - 20, NOW + DAY])
def test_append_of_the_broker_is_the_arrival(at_ms: int) -> None:
    """On a topic with LogAppendTime a job carries the time of the append."""
    assert Process().job(record(TIMESTAMP_LOG_APPEND_TIME, at_ms)).appended_at_ms == at_ms


@pytest.mark.parametrize("kind", [TIMESTAMP_LOG_APPEND_TIME, TIMESTAMP_CREATE_TIME])
@pytest.mark.parametrize("age_ms", [1, 5 * DAY, 400 * DAY])
def test_backfill_arrives_when_it_can_be_read_first(kind: int, age_ms: int) -> None:
    """Events from before the start of their source do not count as late: the job carries the start, or the read."""
    process = Process()
    process.readable_since_ms = NOW - 1
    expected = NOW - 1 if kind == TIMESTAMP_LOG_APPEND_TIME else NOW
    assert process.job(record(kind, NOW - 1 - age_ms)).appended_at_ms == expected


def test_event_that_waits_for_a_router_is_late() -> None:
    """An event appended after the start of its source counts from its append, however late the router reads it."""
    process = Process()
    process.readable_since_ms = NOW - 5 * DAY
    assert process.job(record(TIMESTAMP_LOG_APPEND_TIME, NOW - DAY)).appended_at_ms == NOW - DAY


@pytest.mark.parametrize(
    ("kind", "at_ms"),
    [
        (TIMESTAMP_CREATE_TIME, 0),
        (TIMESTAMP_CREATE_TIME, 1_000_000_000_000),
        (TIMESTAMP_CREATE_TIME, NOW + 400 * DAY),
        (TIMESTAMP_CREATE_TIME, -1),
        (TIMESTAMP_NOT_AVAILABLE, 0),
    ],
)
def test_read_of_the_router_is_the_arrival_if_the_producer_set_the_timestamp(kind: int, at_ms: int) -> None:
    """A timestamp of a producer, however old or future, does not count: the job carries when the router read it."""
    assert Process().job(record(kind, at_ms)).appended_at_ms == NOW


def test_record_that_waited_arrived_when_it_was_read_first() -> None:
    """The time that a record waits in the router counts, also if it is read again afterwards."""
    process = Process()
    process.customers.reason = "unreadable"
    for _ in range(3):
        assert isinstance(process.router.route(record(TIMESTAMP_CREATE_TIME, 0)), Blocked)
        process.now_ms += 1_000
    process.customers.reason = None
    assert process.job(record(TIMESTAMP_CREATE_TIME, 0)).appended_at_ms == NOW
    assert process.job(record(TIMESTAMP_CREATE_TIME, 0)).appended_at_ms == NOW
    later = replace(record(TIMESTAMP_CREATE_TIME, 0), offset_=8)
    assert process.job(later).appended_at_ms == NOW + 3_000


@pytest.mark.parametrize(
    ("created_ms", "age_s"),
    [
        (NOW - 1_500, 1.5),
        (NOW + 10_000, 0),
        (NOW + 400 * DAY, 0),
        (NOW - DAY, 86_400),
        (0, 30 * 86_400),
        (-60_000_000_000_000, 30 * 86_400),
    ],
)
def test_age_of_an_event_is_bounded(created_ms: int, age_s: float) -> None:
    """The age is the time since `created_at`: 0 for a future event, and no more than 30 days for a very old one."""
    process = Process()
    metrics = RouterMetrics({"zenoo": ["case.created"]})
    for customer_has_subscription in (True, False):
        if not customer_has_subscription:
            process.customers.match = lambda *_: Matches((), 0)  # type: ignore[method-assign]  # nothing matches
        routed = process.routed(record(TIMESTAMP_CREATE_TIME, 0, created_ms))
        metrics.on_routed([routed])
    value = metrics.registry.get_sample_value
    assert value("signpost_router_event_age_seconds_sum", {"sender": "zenoo"}) == pytest.approx(2 * age_s)
    assert value("signpost_router_event_age_seconds_count", {"sender": "zenoo"}) == 2
