"""The gauges of a delivery process show the state of its parts, each by value."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Final, cast

import pytest

from consumers.delivery.admission import AdmittedTask
from consumers.delivery.classification import ResponseKind
from consumers.delivery.delay_topics import DelayTopic
from consumers.delivery.housekeeping import Housekeeping
from consumers.delivery.partitions.outbox import Outbox
from consumers.delivery.partitions.partition_state import PartitionState
from consumers.delivery.partitions.progress import Position, Progress
from consumers.delivery.results.health import HealthPolicy, HealthTracker
from consumers.kafka.positions import PartitionKey
from consumers.service.metrics import DeliveryMetrics
from tests.support.admission import NOW, EndpointStub, admission_control
from tests.unit.delivery.results.test_health import failure, job

FIRST: Final = DelayTopic("t.jobs.0s", timedelta(0), 0)
LATER: Final = DelayTopic("t.jobs.5m", timedelta(minutes=5), 300_000)


class Waiting:
    """The counter of unread records, with numbers that the test sets."""

    unread: Mapping[str, int] = {}  # replaced, never changed
    oldest: Mapping[PartitionKey, int] = {}

    def turn(self, _now_s: float, positions: Mapping[PartitionKey, int]) -> None:
        self.positions = positions

    def by_topic(self, positions: Mapping[PartitionKey, int]) -> Mapping[str, int]:
        assert positions == self.positions
        return self.unread

    def ages_by_topic(self, positions: Mapping[PartitionKey, int]) -> Mapping[str, float]:
        assert positions == self.positions
        return {topic: count * 1.5 for topic, count in self.unread.items()}

    def oldest_ms(self, positions: Mapping[PartitionKey, int]) -> Mapping[PartitionKey, int]:
        assert positions == self.positions
        return self.oldest


class Table:
    """A table with three subscriptions and one unusable record."""

    def __len__(self) -> int:
        return 3

    def unusable(self) -> list[str]:
        return ["sub_1"]

    def is_fresh(self, _now_ms: int) -> bool:
        return False

    def staleness_ms(self, now_ms: int) -> int:
        return now_ms - NOW + 250


class Process:
    """A delivery process whose rules are real; the clients of Kafka and HTTP are not."""

    def __init__(self) -> None:
        self.now_ms = NOW
        self.metrics = DeliveryMetrics({})
        self.admission = admission_control(subscription=1)
        self.health = HealthTracker(HealthPolicy(report_after_ms=1_000, disable_after_ms=2_000))
        self.outbox = Outbox("one")
        self.partitions: dict[PartitionKey, PartitionState] = {}
        self.waiting = Waiting()
        self.client = SimpleNamespace(in_flight=0, resolving=0, tidy=lambda: None)
        self.housekeeping = Housekeeping(
            reader=cast("Any", self),
            delay_topics=cast("Any", SimpleNamespace(first=FIRST)),
            outbox=self.outbox,
            client=cast("Any", self.client),
            table=cast("Any", Table()),
            admission=cast("Any", self.admission),
            health=self.health,
            handler=cast("Any", None),
            reports=cast("Any", SimpleNamespace(turn=lambda _now: None)),
            outcome_log=cast("Any", SimpleNamespace(flush=lambda: None, omitted=7)),
            metrics=self.metrics,
            waiting=cast("Any", self.waiting),
            monotonic_ms=lambda: self.now_ms,
        )

    def own(self, topic: DelayTopic, number: int, *unfinished: int) -> PartitionState:
        """Own a partition of which these records were read and are unfinished; they were due 4 s ago."""
        start = Position(0, "")
        partition = PartitionState(topic, number, start, Progress(start))
        for offset in unfinished:
            assert not partition.wait_for_head(NOW - topic.wait_ms - 4_000, NOW)
            partition.take(offset)
        self.partitions[topic.topic, number] = partition
        return partition

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of a gauge after a turn that is a second later."""
        self.housekeeping.turn(self.now_ms, False)
        self.now_ms += 1_000
        return self.metrics.registry.get_sample_value(f"signpost_{name}", labels)


@pytest.fixture
def process() -> Process:
    return Process()


def test_requests_in_flight_and_those_that_wait_for_dns_are_shown(process: Process) -> None:
    """Both gauges follow the HTTP client."""
    process.client.in_flight, process.client.resolving = 3, 2
    assert process.value("delivery_in_flight_requests") == 3
    assert process.value("delivery_resolving_requests") == 2


def test_limited_endpoints_are_counted_by_their_limit(process: Process) -> None:
    """An endpoint with jobs that wait in memory counts once, whatever their number; one without counts nowhere."""
    process.admission.warm(EndpointStub("free"))
    for id_ in ("a", "b"):
        assert len(process.admission.offer(EndpointStub(id_), 3)["wait"]) == 2
    process.admission.offer(EndpointStub("free"), 1)
    assert process.value("delivery_limited_endpoints", reason="in_flight_limit") == 2
    assert process.value("delivery_limited_endpoints", reason="host_limit") == 0


def test_circuit_breakers_that_are_not_closed_are_counted(process: Process) -> None:
    """An endpoint that times out and one that sends Retry-After count by their reason, one that responds does not."""
    control = process.admission
    control.warm(*(EndpointStub(id_) for id_ in ("down", "busy", "up")))
    for _ in range(100):
        task = AdmittedTask()
        if not control.admit(EndpointStub("down"), task, NOW):
            break
        control.completed(task, ResponseKind.TIMEOUT, 30_000_000, NOW, "timeout_answer")
    control.throttle("busy", NOW + 60_000, NOW)
    assert process.value("delivery_open_circuits", reason="circuit_open") == 1
    assert process.value("delivery_open_circuits", reason="retry_after") == 1


def test_slow_requests_are_counted(process: Process) -> None:
    """A request to an endpoint that never responded counts against the slow quota."""
    process.admission.offer(EndpointStub("new"), 1)
    assert process.value("delivery_slow_requests") == 1


def test_disabled_subscriptions_are_counted(process: Process) -> None:
    """A subscription that fails until it is disabled counts, one that fails for a shorter time does not."""
    for at_ms in (NOW, NOW + 3_000):
        process.health.failed(0, job("sub_1"), 1, at_ms, failure(500))
    process.health.failed(0, job("sub_2"), 1, NOW, failure(500))
    assert process.value("delivery_disabled_subscriptions") == 1


def test_uncommitted_outcomes_are_counted(process: Process) -> None:
    """Finished jobs count until their transaction is committed."""
    partition = process.own(FIRST, 0, 0, 1, 2)
    for offset in (0, 1):
        process.outbox.complete(partition, offset, ())
    assert process.value("delivery_uncommitted_outcomes") == 2
    process.outbox.committed(process.outbox.close_batch())
    assert process.value("delivery_uncommitted_outcomes") == 0


def test_subscriptions_are_counted(process: Process) -> None:
    """Entries and unusable records of the table are shown."""
    assert process.value("table_entries", table="subscriptions") == 3
    assert process.value("table_unusable_records", table="subscriptions") == 1


def test_staleness_of_the_table_is_shown(process: Process) -> None:
    """While the table cannot be verified, the gauge grows."""
    assert process.value("table_staleness_seconds", table="subscriptions") == 0.25
    assert process.value("table_staleness_seconds", table="subscriptions") == 1.25


def test_omitted_log_lines_are_counted(process: Process) -> None:
    """The counter follows the outcome log."""
    assert process.value("log_lines_omitted_total", event="delivery.attempted") == 7


def test_waiting_jobs_are_the_unread_and_the_unfinished_ones(process: Process) -> None:
    """Jobs that were read and are unfinished wait as well; lag counts unread ones only."""
    process.own(LATER, 0, 0, 1)
    process.own(LATER, 1, 0)
    process.own(FIRST, 0)
    process.waiting.unread = {LATER.topic: 4}
    assert process.value("delivery_jobs_waiting", delay="5m") == 4 + 3
    assert process.value("consumer_lag_records", topic=LATER.topic) == 4
    assert process.value("unread_age_seconds", topic=LATER.topic) == 6
    assert process.value("delivery_jobs_waiting", delay="0s") is None  # not counted yet
    assert process.waiting.positions == {(LATER.topic, 0): 2, (LATER.topic, 1): 1, (FIRST.topic, 0): 0}


def test_age_of_the_oldest_due_job_is_shown(process: Process) -> None:
    """The age counts from the time at which the oldest unfinished job became due."""
    process.own(LATER, 0, 0, 1)
    process.own(FIRST, 0)
    assert process.value("delivery_oldest_due_age_seconds", delay="5m") == 4
    assert process.value("delivery_oldest_due_age_seconds", delay="0s") == 0


def test_age_of_the_oldest_due_job_counts_unread_jobs(process: Process) -> None:
    """While nothing is read, for example because the brokers accept no transaction, unread jobs become overdue."""
    process.own(LATER, 0)
    process.own(LATER, 1, 0)
    process.waiting.oldest = {(LATER.topic, 0): NOW - LATER.wait_ms + 500}
    assert process.value("delivery_oldest_due_age_seconds", delay="5m") == 4
    process.waiting.oldest = {(LATER.topic, 0): NOW - LATER.wait_ms - 60_000}
    assert process.value("delivery_oldest_due_age_seconds", delay="5m") == 61


def test_age_of_unread_due_jobs_leaves_out_jobs_that_wait_for_their_endpoint(process: Process) -> None:
    """A due job in memory may wait for its endpoint; an unread one waits for this process."""
    process.own(LATER, 0, 0)
    assert process.value("delivery_unread_due_age_seconds", delay="5m") == 0
    process.waiting.oldest = {(LATER.topic, 0): NOW - LATER.wait_ms + 60_000}
    assert process.value("delivery_unread_due_age_seconds", delay="5m") == 0
    process.waiting.oldest = {(LATER.topic, 0): NOW - LATER.wait_ms - 60_000}
    assert process.value("delivery_unread_due_age_seconds", delay="5m") >= 60


def test_topics_without_a_partition_of_this_process_have_no_value(process: Process) -> None:
    """After another process has taken all partitions, no old number stays."""
    process.own(LATER, 0, 0)
    process.waiting.unread = {LATER.topic: 4}
    assert process.value("delivery_jobs_waiting", delay="5m") == 5
    process.partitions.clear()
    process.waiting.unread = {}
    assert process.value("delivery_jobs_waiting", delay="5m") is None
    assert process.value("delivery_oldest_due_age_seconds", delay="5m") is None
    assert process.value("consumer_lag_records", topic=LATER.topic) is None


def test_missing_broker_is_shown(process: Process) -> None:
    """The gauge is 1 while the loop waits for a broker."""
    process.housekeeping.turn(NOW, True)
    assert process.metrics.registry.get_sample_value("signpost_waiting_for_broker") == 1
