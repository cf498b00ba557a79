"""Periodic work of a delivery process: gauges, idle connections, endpoint reports, health of deleted subscriptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

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
from consumers.kafka.positions import PartitionKey
from consumers.kafka.waiting_records import WaitingRecords
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
        waiting: WaitingRecords,
        monotonic_ms: Callable[[], int],
    ) -> None:
        self._reader = reader
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
        self._waiting = waiting
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
        self._metrics.set_table_staleness(self._table.staleness_ms(self._monotonic_ms()) / 1_000)
        self._metrics.set_lines_omitted(self._outcome_log.omitted)
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
        self._set_backlog(now_ms)

    def _set_backlog(self, now_ms: int) -> None:
        """Set the numbers and ages of unread records and of waiting jobs, by topic."""
        partitions = self._reader.partitions
        positions = {key: partition.progress.next_offset for key, partition in partitions.items()}
        self._waiting.turn(self._monotonic_ms() / 1_000, positions)
        unread = self._waiting.by_topic(positions)
        waiting: dict[str, int] = {}
        for partition in partitions.values():
            if partition.topic in unread:
                delay = format_duration(partition.delay_topic.delay)
                jobs = waiting.get(delay, unread[partition.topic])
                waiting[delay] = jobs + partition.progress.unfinished
        self._metrics.set_lag(unread)
        self._metrics.set_unread_age(self._waiting.ages_by_topic(positions))
        self._metrics.set_jobs_waiting(waiting)
        oldest_ms = self._waiting.oldest_ms(positions)
        self._metrics.set_oldest_due(_oldest_due_s(partitions, oldest_ms, now_ms))
        self._metrics.set_unread_due(_unread_due_s(partitions, oldest_ms, now_ms))


def _oldest_due_s(
    partitions: Mapping[PartitionKey, PartitionState], unread_ms: Mapping[PartitionKey, int], now_ms: int
) -> dict[str, float]:
    """Return for how long the oldest due job of each delay topic has been due.

    Unread jobs count by the timestamp of the oldest one (`unread_ms`): while nothing is read, no job in memory shows
    that they are due.
    """
    oldest_s: dict[str, float] = {}
    for key, partition in partitions.items():
        dues_ms = [now_ms]
        if (read_ms := partition.oldest_due_ms()) is not None:
            dues_ms.append(read_ms)
        if (appended_ms := unread_ms.get(key)) is not None:
            dues_ms.append(appended_ms + partition.delay_topic.wait_ms)
        delay = format_duration(partition.delay_topic.delay)
        oldest_s[delay] = max(oldest_s.get(delay, 0.0), (now_ms - min(dues_ms)) / 1_000)
    return oldest_s


def _unread_due_s(
    partitions: Mapping[PartitionKey, PartitionState], unread_ms: Mapping[PartitionKey, int], now_ms: int
) -> dict[str, float]:
    """Return for how long the oldest unread job of each delay topic has been due. No endpoint keeps it waiting."""
    oldest_s: dict[str, float] = {}
    for key, partition in partitions.items():
        due_ms = unread_ms.get(key, now_ms) + partition.delay_topic.wait_ms
        delay = format_duration(partition.delay_topic.delay)
        oldest_s[delay] = max(oldest_s.get(delay, 0.0), (now_ms - due_ms) / 1_000)
    return oldest_s
