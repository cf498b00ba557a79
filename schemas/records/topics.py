"""The one place that knows Signpost's topics: names, partitions, replication and configs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from schemas.input.durations import format_duration

FIRST: Final = timedelta(0)
DEFERRAL_DELAY: Final = timedelta(seconds=5)
# A job that has to wait for its endpoint comes nearer in steps: with these none is more than six times the next.
DEFERRAL_DELAYS: Final = (timedelta(seconds=1), DEFERRAL_DELAY, timedelta(seconds=20))
DAY_MS: Final = 86_400_000
# A record of jobs or dead holds a whole source record and what Signpost adds to it.
RECORD_OVERHEAD: Final = 64 * 1024
MAX_EVENT: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it has to be."""

    name: str
    partitions: int
    replication: int
    configs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TopicNames:
    """Names of Signpost's own topics: all begin with `prefix`."""

    prefix: str = "signpost."

    @property
    def subscriptions(self) -> str:
        """Compacted; the only source of truth about subscriptions."""
        return f"{self.prefix}subscriptions"

    @property
    def sources(self) -> str:
        """Compacted; where each source started, and its last positions."""
        return f"{self.prefix}sources"

    @property
    def outcomes(self) -> str:
        """One record an attempt."""
        return f"{self.prefix}outcomes"

    @property
    def dead(self) -> str:
        """Jobs out of attempts and records that nobody could read."""
        return f"{self.prefix}dead"

    @property
    def health(self) -> str:
        """Compacted; endpoints that fail or are disabled, each on the partition number of its jobs."""
        return f"{self.prefix}health"

    @property
    def operations(self) -> str:
        """What happened that an operator or a customer wants to hear of."""
        return f"{self.prefix}operations"

    @property
    def jobs_pattern(self) -> str:
        """Regular expression (librdkafka's `^…`) of the topics of all delay topics."""
        return f"^{re.escape(self.prefix)}jobs\\.[0-9]+[smh]$"

    def events(self, sender: str) -> str:
        """Return the event topic of a sender, used where no other source is configured."""
        return f"{self.prefix}{sender}.events"

    def jobs(self, delay: timedelta) -> str:
        """Return the topic of the delay topic with this delay."""
        return f"{self.prefix}jobs.{format_duration(delay)}"


def delays_of(schedules: Iterable[Iterable[timedelta]]) -> tuple[timedelta, ...]:
    """Return the delays of all delay topics, ascending: no delay, the schedules' steps, and the deferral delays."""
    return tuple(sorted({FIRST, *DEFERRAL_DELAYS}.union(*schedules)))


def own_topics(
    names: TopicNames,
    delay_topics: Iterable[timedelta],
    senders: Iterable[str],
    *,
    partitions: int,
    replication: int,
    max_event: int = MAX_EVENT,
) -> list[Topic]:
    """Return all topics that Signpost needs; `max_event` is in bytes, `delay topics` are delays."""
    # Own topics keep records by count of days alone; the broker, not the producer, says when a record was appended:
    # a tier's wait counts from there.
    common = {"message.timestamp.type": "LogAppendTime", "retention.bytes": "-1"}
    if replication > 1:
        common |= {"min.insync.replicas": "2", "unclean.leader.election.enable": "false"}
    large = {"max.message.bytes": str(max_event + RECORD_OVERHEAD)}

    def topic(name: str, retention_ms: int, **configs: str) -> Topic:
        own = common | {"cleanup.policy": "delete", "retention.ms": str(retention_ms)} | configs
        return Topic(name, partitions, replication, own)

    month = 30 * DAY_MS
    jobs = [
        topic(names.jobs(delay_topic), month + delay_topic // timedelta(milliseconds=1), **large)
        for delay_topic in delay_topics
    ]
    compacted = common | {"cleanup.policy": "compact"}
    return [
        *(Topic(names.events(s), partitions, replication, {"max.message.bytes": str(max_event)}) for s in senders),
        Topic(names.subscriptions, partitions, replication, compacted),
        Topic(names.sources, partitions, replication, compacted),
        *jobs,
        Topic(names.health, partitions, replication, compacted),
        topic(names.outcomes, month),
        topic(names.operations, month),
        topic(names.dead, month, **large),
    ]
