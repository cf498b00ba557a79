"""Reading of topics for commands: up to the last stable offset, all records or only the newest.

A command that searches compares bytes first, and decodes only records that may match.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from confluent_kafka import Message
from confluent_kafka.admin import AdminClient

from consumers.kafka.positions import CommittedPositions, PartitionKey, PartitionOffsets
from consumers.kafka.topic_reader import Range, ReadProgress, TopicReader, no_progress, place_of

GROUP: Final = "signpost.console"


def time_of(message: Message) -> int:
    """Return the time of a record in Unix ms, 0 if it has none."""
    kind, at_ms = message.timestamp()
    return at_ms if kind else 0


class Scanner(TopicReader):
    """Reads topics of one cluster for a command; `kafka` are the properties of the connection."""

    def __init__(self, kafka: Mapping[str, str], admin: AdminClient, progress: ReadProgress = no_progress) -> None:
        super().__init__(kafka, admin, GROUP, progress=progress)

    def ranges_of(self, topics: Iterable[str], since_ms: int | None = None) -> list[Range]:
        """Return the ranges of those topics that exist; `since_ms`: Unix ms."""
        return self.ranges(self.partitions(topics), since_ms)

    def committed(self, group: str, partitions: Sequence[PartitionKey]) -> dict[PartitionKey, PartitionOffsets]:
        """Return the positions of a group; KafkaException if no broker responds."""
        return CommittedPositions(self._kafka, self._admin, group).fetch(partitions) if partitions else {}


def newest(
    scanner: Scanner, ranges: Iterable[Range], limit: int | None, accepts: Callable[[Message], bool]
) -> list[Message]:
    """Return the newest `limit` accepted records of the ranges of a topic (all if None), oldest first.

    It reads backwards from the end in growing steps, so the cost depends on `limit`, not on the size of the topic.
    """
    by_partition = {r.partition: r for r in ranges if r.begin < r.end}
    low = {partition: r.end for partition, r in by_partition.items()}
    found: list[Message] = []
    step = 500
    while low:
        steps = [
            replace(r, begin=r.begin if limit is None else max(r.begin, low[r.partition] - step), end=low[r.partition])
            for r in by_partition.values()
            if r.partition in low
        ]
        oldest: dict[int, int] = {}
        for batch in scanner.read(steps):
            for message in batch:
                number = place_of(message)[1]
                oldest[number] = min(oldest.get(number, time_of(message)), time_of(message))
                if accepts(message):
                    found.append(message)
        found.sort(key=lambda message: (time_of(message), place_of(message)))
        low = {r.partition: r.begin for r in steps if r.begin > by_partition[r.partition].begin}
        if limit is None:
            continue
        found = found[-limit:] if limit else []
        # Unread records of a partition are older than those read. Nothing is known of one with only transaction
        # markers.
        if len(found) == limit and all(n in oldest and oldest[n] <= time_of(found[0]) for n in low if limit):
            break
        step *= 4
    return found
