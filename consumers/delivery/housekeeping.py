"""Periodic work of a delivery process: gauges, idle connections, endpoint reports, health of deleted subscriptions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumers.delivery.admission import AdmissionControl, summarize
from consumers.delivery.delay_topics import DelayTopics
from consumers.delivery.endpoint import Endpoint
from consumers.delivery.endpoint_report import EndpointReport
from consumers.delivery.health_cleanup import HealthCleanup
from consumers.delivery.http.client import HttpClient
from consumers.delivery.partitions.outbox import Outbox
from consumers.delivery.partitions.partition_state import PartitionState
from consumers.delivery.partitions.reader import Reader
from consumers.delivery.results.handler import ResultHandler
from consumers.delivery.results.health import HealthTracker
from consumers.delivery.results.outcome_log import OutcomeLog
from consumers.service.metrics import DeliveryMetrics
from consumers.service.snapshots import Snapshots
from consumers.subscriptions.table import SubscriptionTable
from schemas.input.durations import format_duration

_EVERY_MS: Final = 250
# Summing over all partitions and endpoints four times a second would be too costly.
_SUMMARY_EVERY_MS: Final = 1_000


class Housekeeping:
    """The loop calls `turn` in each of its turns. `monotonic_ms` is the clock of the table's staleness."""

    def __init__(
        self,
        *,
        reader: Reader,
        consumer: Consumer,
        delay_topics: DelayTopics,
        outbox: Outbox,
        client: HttpClient,
        table: SubscriptionTable[Endpoint],
        admission: AdmissionControl,
        health: HealthTracker,
        handler: ResultHandler,
        reports: Snapshots[EndpointReport],
        outcome_log: OutcomeLog,
        metrics: DeliveryMetrics,
        monotonic_ms: Callable[[], int],
    ) -> None:
        self._reader = reader
        self._consumer = consumer
        self._first_topic = delay_topics.first.topic
        self._outbox = outbox
        self._client = client
        self._table = table
        self._admission = admission
        self._health = health
        self._handler = handler
        self._reports = reports
        self._outcome_log = outcome_log
        self._metrics = metrics
        self._monotonic_ms = monotonic_ms
        self._cleanup = HealthCleanup(health, table)
        self._due_ms = 0
        self._summary_due_ms = 0

    def turn(self, now_ms: int, waits_for_broker: bool) -> None:
        """Do the work that is due at `now_ms` (Unix ms)."""
        self._reports.turn(now_ms)
        if now_ms < self._due_ms:
            return
        self._due_ms = now_ms + _EVERY_MS
        self._outcome_log.flush()
        self._forget_deleted(now_ms)
        self._metrics.set_waiting_for_broker(waits_for_broker)
        self._metrics.set_in_flight(self._client.in_flight, self._client.resolving)
        self._metrics.set_uncommitted(self._outbox.uncommitted)
        self._metrics.set_table(len(self._table), len(self._table.unusable()))
        if now_ms >= self._summary_due_ms:
            self._summary_due_ms = now_ms + _SUMMARY_EVERY_MS
            self._client.tidy()
            self._summarize(now_ms)

    def _forget_deleted(self, now_ms: int) -> None:
        """Write tombstones for the health of deleted subscriptions, with the position of their partition."""
        for id_ in self._cleanup.turn(now_ms, self._monotonic_ms()):
            number = self._health.partition_of(id_)
            partition = None if number is None else self._reader.partitions.get((self._first_topic, number))
            if partition is None:
                continue
            records = self._handler.health_records(self._health.deleted(partition.number, id_), partition.number)
            if records:
                self._outbox.attach(partition, records)

    def _summarize(self, now_ms: int) -> None:
        self._metrics.set_disabled(self._health.disabled)
        summary = summarize(self._admission.endpoints)
        self._metrics.set_admission(summary.limited, summary.open_circuits, self._admission.bulkhead.slow)
        _set_partition_gauges(self._consumer, self._metrics, self._reader.partitions.values(), now_ms)


def _set_partition_gauges(
    consumer: Consumer, metrics: DeliveryMetrics, partitions: Iterable[PartitionState], now_ms: int
) -> None:
    """Set the gauges of waiting jobs and of the oldest due job, by delay topic. This asks no broker."""
    behind: dict[str, int] = {}
    waiting: dict[str, int] = {}
    oldest_ms: dict[str, int] = {}
    for partition in partitions:
        delay = format_duration(partition.delay_topic.delay)
        unread = _unread(consumer, partition)
        behind[partition.topic] = behind.get(partition.topic, 0) + unread
        waiting[delay] = waiting.get(delay, 0) + partition.progress.unfinished + unread
        due_ms = partition.oldest_due_ms()
        oldest_ms[delay] = max(oldest_ms.get(delay, 0), 0 if due_ms is None else now_ms - due_ms)
    for topic, lag in behind.items():
        metrics.set_lag(topic, lag)
    for delay, jobs in waiting.items():
        metrics.set_waiting(delay, jobs, oldest_ms[delay] / 1_000)


def _unread(consumer: Consumer, partition: PartitionState) -> int:
    """Return the number of unread records, as of the last fetch."""
    try:
        bounds = consumer.get_watermark_offsets(TopicPartition(partition.topic, partition.number), cached=True)
    except KafkaException:
        return 0
    # A log may end with transaction markers, which no consumer returns. Once its end is reached, they count as read.
    return max(0, bounds[1] - max(partition.progress.next_offset, partition.log_end)) if bounds else 0
