"""Definitions of Signpost's topics: names, partitions, replication and configs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from schemas.input.durations import format_duration

FIRST: Final = timedelta(0)
DEFERRAL_DELAY: Final = timedelta(seconds=5)
# A deferred job reaches its due time in several steps. With these delays no step is more than six times the next one.
DEFERRAL_DELAYS: Final = (timedelta(seconds=1), DEFERRAL_DELAY, timedelta(seconds=20))
DAY_MS: Final = 86_400_000
# A record of `jobs` or `dead` contains a whole source record and the fields that Signpost adds.
RECORD_OVERHEAD: Final = 64 * 1024
MAX_EVENT: Final = 1024 * 1024
MAX_BODY: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Topic:
    """The required configuration of a topic; of one that is not `own`, how it is created if it is missing."""

    name: str
    partitions: int
    replication: int
    configs: Mapping[str, str]
    own: bool = True
    # The number of partitions is part of what the topic is, whatever the settings say.
    has_fixed_partitions: bool = False


@dataclass(frozen=True, slots=True)
class TopicNames:
    """Names of Signpost's own topics: all begin with `prefix`."""

    prefix: str = "signpost."

    @property
    def subscriptions(self) -> str:
        """Compacted; the only source of truth about subscriptions."""
        return f"{self.prefix}subscriptions"

    @property
    def api_keys(self) -> str:
        """Compacted; API keys by id, with keyed hashes."""
        return f"{self.prefix}api-keys"

    @property
    def api_key_uses(self) -> str:
        """Compacted; the last use of each API key."""
        return f"{self.prefix}api-key-uses"

    @property
    def sources(self) -> str:
        """Compacted; start and last positions of each source."""
        return f"{self.prefix}sources"

    @property
    def outcomes(self) -> str:
        """One record per attempt."""
        return f"{self.prefix}outcomes"

    @property
    def dead(self) -> str:
        """Jobs out of attempts and unreadable records."""
        return f"{self.prefix}dead"

    @property
    def health(self) -> str:
        """Compacted; failing and disabled endpoints, each on the partition number of its jobs."""
        return f"{self.prefix}health"

    @property
    def operations(self) -> str:
        """Events that operators or customers want to know about."""
        return f"{self.prefix}operations"

    @property
    def tests(self) -> str:
        """One record per test delivery, on one partition: the offset plus 1 is the log id."""
        return f"{self.prefix}tests"

    @property
    def jobs_pattern(self) -> str:
        """Regular expression (librdkafka's `^…`) that matches all delay topics."""
        return f"^{re.escape(self.prefix)}jobs\\.[0-9]+[smh]$"

    def events(self, sender: str) -> str:
        """Return the event topic of a sender: the default source."""
        return f"{self.prefix}{sender}.events"

    def jobs(self, delay: timedelta) -> str:
        """Return the name of the delay topic with this delay."""
        return f"{self.prefix}jobs.{format_duration(delay)}"


def delays_of(schedules: Iterable[Iterable[timedelta]]) -> tuple[timedelta, ...]:
    """Return the delays of all delay topics, ascending: zero, the delays of the schedules, and the deferral delays."""
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
    """Return all topics that Signpost needs. `max_event` is in bytes; `delay_topics` are the delays of these topics."""
    # The broker sets the timestamps. The delay of a delay topic and the latency of an event count from the append.
    timestamps = {"message.timestamp.type": "LogAppendTime"}
    common = timestamps | {"retention.bytes": "-1"}  # Signpost's own topics delete records by age only
    if replication > 1:
        common |= {"min.insync.replicas": "2", "unclean.leader.election.enable": "false"}
    large = {"max.message.bytes": str(max_event + RECORD_OVERHEAD)}

    def topic(name: str, retention_ms: int, **configs: str) -> Topic:
        own = common | {"cleanup.policy": "delete", "retention.ms": str(retention_ms)} | configs
        return Topic(name, partitions, replication, own)

    month = 30 * DAY_MS
    tests = Topic(names.tests, 1, replication, topic(names.tests, month).configs, has_fixed_partitions=True)
    jobs = [
        topic(names.jobs(delay_topic), month + delay_topic // timedelta(milliseconds=1), **large)
        for delay_topic in delay_topics
    ]
    compacted = common | {"cleanup.policy": "compact"}
    of_events = timestamps | {"max.message.bytes": str(max_event)}
    return [
        *(Topic(names.events(sender), partitions, replication, of_events, own=False) for sender in senders),
        Topic(names.subscriptions, partitions, replication, compacted),
        Topic(names.api_keys, partitions, replication, compacted),
        Topic(names.api_key_uses, partitions, replication, compacted),
        Topic(names.sources, partitions, replication, compacted),
        *jobs,
        Topic(names.health, partitions, replication, compacted),
        topic(names.outcomes, month),
        topic(names.operations, month),
        topic(names.dead, month, **large),
        tests,
    ]
