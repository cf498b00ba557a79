"""State that a role keeps on a compacted topic, by partition number.

A partition is read as a whole before the role uses its state. Calls block, so they belong in a helper thread. The
reader is read_committed and reads up to the *high watermark*. The last stable offset is not enough: the open
transaction of a dead process hides what a later owner committed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from confluent_kafka import IsolationLevel
from confluent_kafka.admin import AdminClient

from consumers.kafka.topic_reader import TopicReader

LatestValues: TypeAlias = dict[str, bytes]
"""The last value of each key of a partition, without the keys that have a tombstone."""


class CompactedPartition:
    """Reads partitions of the compacted topic `topic`; `kafka` are the properties of the connection."""

    def __init__(self, kafka: Mapping[str, str], admin: AdminClient, topic: str) -> None:
        self._reader = TopicReader(kafka, admin, group=topic)
        self.topic = topic

    def read(self, partitions: Iterable[int]) -> dict[int, LatestValues]:
        """Return the state of these partitions; Unavailable if brokers do not respond."""
        numbers = sorted(set(partitions))
        states: dict[int, LatestValues] = {number: {} for number in numbers}
        keys = [(self.topic, number) for number in numbers]
        for batch in self._reader.read(self._reader.ranges(keys, isolation=IsolationLevel.READ_UNCOMMITTED)):
            for message in batch:
                state = states[message.partition() or 0]
                value = message.value()
                key = (message.key() or b"").decode("utf-8", "backslashreplace")
                if value is None:
                    state.pop(key, None)
                else:
                    state[key] = value
        return states

    def read_all(self) -> dict[int, LatestValues]:
        """Return the state of all partitions; Unavailable if the topic does not exist, or brokers do not respond."""
        return self.read(number for _, number in self._reader.partitions_of(self.topic))
