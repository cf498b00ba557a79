"""What delivery shows: a log line and counts for each outcome, and gauges."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumers.delivery.lane import Lane
from consumers.runtime.metrics import DeliveryMetrics
from consumers.runtime.transaction import Settled
from schemas.delivery import Outcome
from schemas.durations import format_duration

EVERY_MS: Final = 250
# What is counted over all partitions of all tiers, and over all endpoints: four times a second it took 2 % of a busy
# process, and 6 % with 10,000 endpoints.
COUNTED_EVERY_MS: Final = 1_000


class OutcomeLog(Protocol):
    """Where outcomes are written, one line each."""

    def write(self, outcome: Outcome) -> None:
        """Write one line."""
        ...

    def flush(self) -> None:
        """Hand what is buffered to the operating system."""
        ...


class Observer:
    """Counts and logs what the dispatcher and the committer report."""

    def __init__(self, metrics: DeliveryMetrics, log: OutcomeLog) -> None:
        self._metrics = metrics
        self._log = log

    def ended(self, outcome: Outcome) -> None:
        """Count and log an attempt, or a job that was cancelled."""
        self._metrics.ended(outcome)
        self._log.write(outcome)

    def deferred(self, reason: str) -> None:
        """Count a job that was deferred to a delay topic."""
        self._metrics.deferred(reason)

    def poison(self, reason: str) -> None:
        """Count a record that could not be read."""
        self._metrics.poison(reason)

    def settled(self, settled: Settled) -> None:
        """Count a transaction."""
        self._metrics.transaction("committed" if settled.committed else "aborted", settled.seconds)


def tier_gauges(consumer: Consumer, metrics: DeliveryMetrics, lanes: Iterable[Lane], now_ms: int) -> None:
    """Say how many jobs wait in each tier, and how late the oldest due one is; asks no broker."""
    behind: dict[str, int] = {}
    waiting: dict[str, int] = {}
    oldest_ms: dict[str, int] = {}
    for lane in lanes:
        tier, unread = format_duration(lane.tier.delay), _behind(consumer, lane)
        behind[lane.topic] = behind.get(lane.topic, 0) + unread
        waiting[tier] = waiting.get(tier, 0) + lane.progress.unfinished + unread
        due_ms = lane.oldest_due_ms()
        oldest_ms[tier] = max(oldest_ms.get(tier, 0), 0 if due_ms is None else now_ms - due_ms)
    for topic, lag in behind.items():
        metrics.lag(topic, lag)
    for tier, jobs in waiting.items():
        metrics.waiting(tier, jobs, oldest_ms[tier] / 1_000)


def _behind(consumer: Consumer, lane: Lane) -> int:
    """Return how many records are behind what was read, as far as the last fetch said."""
    try:
        bounds = consumer.get_watermark_offsets(TopicPartition(lane.topic, lane.partition), cached=True)
    except KafkaException:
        return 0
    # The end of a log may be markers of transactions, which no consumer is given: what was reached counts as read.
    return max(0, bounds[1] - max(lane.progress.next_offset, lane.log_end)) if bounds else 0
