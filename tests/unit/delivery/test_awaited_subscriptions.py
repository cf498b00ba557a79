"""A job waits for its subscription record while the table may still read it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from consumers.delivery.admission import AdmissionControl, AdmissionLimits
from consumers.delivery.delay_topics import DelayTopics
from consumers.delivery.endpoint import Endpoint
from consumers.delivery.partitions.outbox import Outbox
from consumers.delivery.partitions.partition_state import PartitionState
from consumers.delivery.partitions.progress import Position, Progress
from consumers.delivery.partitions.reader import ReadRecord
from consumers.delivery.results.handler import ResultHandler
from consumers.delivery.results.health import HealthPolicy, HealthTracker
from consumers.delivery.results.recorder import Recorder
from consumers.delivery.scheduler import Scheduler
from consumers.kafka.outgoing_record import OutgoingRecord
from consumers.service.metrics import DeliveryMetrics
from consumers.subscriptions.state import Entry, Lookup, TableState
from schemas.input.durations import parse_duration
from schemas.records.delivery import JobCodec, OutcomeCodec
from schemas.records.topics import TopicNames
from tests.support.admission import DELAYS_MS, NOW
from tests.support.first_jobs import first_job
from tests.unit.delivery.test_endpoint import SIGNED, endpoint

pytestmark = pytest.mark.promise(1)

NAMES = TopicNames("test.")
DELAY_TOPICS = DelayTopics(NAMES, [parse_duration(delay) for delay in ("0s", "1s", "5s", "20s")], 1.0)
OFFSET = 7


class Table:
    """A subscription table. Its end-offset requests are numbered from 0."""

    def __init__(self) -> None:
        self.state: TableState[Endpoint] = TableState(lambda *_: endpoint(replace(SIGNED, activation=1)))
        self.requested = 0
        self.verified = 0

    def lookup(self, id_: str, partition: int, offset: int) -> Lookup[Endpoint]:
        return self.state.lookup(id_, partition, offset)

    def get(self, id_: str) -> Entry[Endpoint] | None:
        return self.state.get(id_)

    def barrier(self) -> int:
        return self.requested

    def passed(self, barrier: int) -> bool:
        return self.verified > barrier


class Delivery:
    """A scheduler with one job, which matched the subscription record at OFFSET."""

    def __init__(self) -> None:
        self.table = Table()
        self.started: list[object] = []
        self.ended: list[object] = []
        self.outbox = Outbox("one")
        client = SimpleNamespace(resolving=0, start=self.started.append)
        recorder = Recorder(NAMES, DELAY_TOPICS, 1_000_000)
        health = HealthTracker(HealthPolicy(report_after_ms=1, disable_after_ms=None))
        metrics = DeliveryMetrics({}, 512)
        handler = ResultHandler(
            names=NAMES,
            subscriptions=cast("Any", self.table),
            recorder=recorder,
            health=health,
            metrics=metrics,
            outcome_log=cast("Any", SimpleNamespace(write=lambda outcome, _trace: self.ended.append(outcome))),
            longest_delay_ms=DELAY_TOPICS.waits_ms[-1],
        )
        self.scheduler = Scheduler(
            subscriptions=cast("Any", self.table),
            client=cast("Any", client),
            outbox=self.outbox,
            recorder=recorder,
            handler=handler,
            delay_topics=DELAY_TOPICS,
            admission=AdmissionControl(AdmissionLimits(16, 128, 512, 600_000), DELAYS_MS),
            health=health,
            metrics=metrics,
            clock=lambda: NOW,
            monotonic_ms=lambda: NOW,
        )
        place = SimpleNamespace(id=SIGNED.id, partition=0, offset=OFFSET)
        event = {"sender": "zenoo", "event_type": "case.created", "event_id": "evt_1", "customer_id": "acme"}
        _, value = first_job(JobCodec(), place, "events", 0, **event, appended_at_ms=NOW, body=b"{}")
        start = Position(0, "")
        partition = PartitionState(DELAY_TOPICS.first, 0, start, Progress(start))
        partition.take(0)
        message = SimpleNamespace(offset=lambda: 0, value=lambda: value)
        self.scheduler.add([ReadRecord(partition, cast("Any", message))], NOW)
        self.now_ms = NOW

    def start(self) -> None:
        """Run `start` of the scheduler, 20 ms later."""
        self.now_ms += 20
        self.scheduler.start(10, self.now_ms)


@pytest.fixture
def delivery() -> Delivery:
    """A job was read, and no subscription record."""
    return Delivery()


def test_job_is_sent_once_its_subscription_record_is_read(delivery: Delivery) -> None:
    """The router may read `subscriptions` earlier than delivery."""
    for _ in range(3):
        delivery.start()
    assert not delivery.started
    delivery.table.state.apply(0, OFFSET, SIGNED.id, b"")
    delivery.start()
    assert len(delivery.started) == 1


def test_end_requested_before_the_barrier_does_not_verify(delivery: Delivery) -> None:
    """The subscription record may have been written after that end was requested, and before the job."""
    delivery.table.requested = 1
    delivery.start()
    delivery.table.verified = 1
    delivery.start()
    assert not delivery.ended
    assert delivery.outbox.record_count == 0


def test_job_of_an_unknown_subscription_is_dead(delivery: Delivery) -> None:
    """A record that is not in the topic up to its verified end is missing. The dead letter can be retried later."""
    delivery.start()
    delivery.table.verified = 1
    delivery.start()
    records: list[OutgoingRecord] = [r for one in delivery.outbox.close_batch().completions for r in one.records]
    assert {record.topic for record in records} == {NAMES.dead, NAMES.outcomes}
    (outcome,) = (OutcomeCodec().decode(record.value) for record in records if record.topic == NAMES.outcomes)
    assert (outcome["state"], outcome["reason"]) == ("dead", "unknown_subscription")
    assert len(delivery.ended) == 1
    assert delivery.scheduler.bytes == 0
    delivery.start()
    assert not delivery.started


def test_subscription_record_at_another_offset_is_used(delivery: Delivery) -> None:
    """A topic that was created again holds the subscription at another offset."""
    delivery.start()
    delivery.table.state.apply(1, 0, SIGNED.id, b"")
    delivery.table.verified = 1
    delivery.start()
    delivery.start()
    assert len(delivery.started) == 1
