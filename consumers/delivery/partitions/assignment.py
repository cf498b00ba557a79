"""Decides which partitions of delay topics are ours, and from which offset each is read. Pure: the reader calls Kafka.

The process that is assigned partition n of `jobs.0s` owns partition n of every delay topic. A process does not read a
partition of another delay topic while it does not own that of `jobs.0s`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from consumers.delivery.delay_topics import DelayTopics
from consumers.delivery.partitions.partition_state import Ownership, PartitionState
from consumers.delivery.partitions.progress import Position, Progress
from consumers.kafka.lost_positions import beyond_sentence, lost_positions_sentence
from consumers.kafka.positions import PartitionKey, PartitionOffsets
from consumers.kafka.truncation import Truncation
from schemas.catalog.errors import Unavailable


@dataclass(slots=True)
class AssignmentChange:
    """The result of an assignment.

    `partitions` are to be read. `truncated` names records that retention deleted before they were read. The partition
    numbers in `restarted` start from committed positions, without tasks in memory.
    """

    partitions: list[PartitionState] = field(default_factory=list)
    truncated: list[Truncation] = field(default_factory=list)
    restarted: set[int] = field(default_factory=set)


class Assignment:
    """The partitions that are ours. Revoked ones are kept as suspended until the next assignment."""

    def __init__(self, delay_topics: DelayTopics) -> None:
        self._delay_topics = delay_topics
        self.partitions: dict[PartitionKey, PartitionState] = {}
        self._suspended: dict[PartitionKey, PartitionState] = {}

    def owned(self, assigned: Iterable[PartitionKey]) -> list[PartitionKey]:
        """Return the assigned partitions that this process owns: those whose partition of `jobs.0s` is assigned too."""
        keys = [key for key in assigned if self._delay_topics.of(key[0]) is not None]
        numbers = self._numbers(keys)
        return [key for key in keys if key[1] in numbers]

    def missing(self, assigned: Sequence[PartitionKey], topics: Iterable[str] = ()) -> list[PartitionKey]:
        """Return the partitions that should be ours by their number, but are not assigned.

        The delay topics are those of the loaded senders, and those among the existing `topics`: a newer version may
        have created some.
        """
        wanted_topics = {delay_topic.topic for delay_topic in self._delay_topics.all}
        wanted_topics |= {topic for topic in topics if self._delay_topics.of(topic)}
        wanted = {(topic, number) for topic in wanted_topics for number in self._numbers(assigned)}
        return sorted(wanted.difference(assigned))

    def suspend(self) -> None:
        """Take in that all partitions were revoked: nothing is read or committed until `take`."""
        for partition in self.partitions.values():
            partition.ownership = Ownership.SUSPENDED
        self._suspended |= self.partitions
        self.partitions = {}

    def take(self, found: Mapping[PartitionKey, PartitionOffsets]) -> AssignmentChange:
        """Take assigned partitions, with their committed positions.

        The state in memory of a partition is kept only if its committed position is the last one of this process.
        Otherwise another process has continued from there. Unavailable: `jobs.0s` has no position, and positions are
        never guessed.
        """
        first = self._delay_topics.first.topic
        if lost := sorted(n for (topic, n), known in found.items() if topic == first and known.offset is None):
            raise Unavailable(lost_positions_sentence(first, lost))
        change = AssignmentChange()
        for key, known in found.items():
            topic, number = key
            position = _position(topic, number, known)
            partition = self._suspended.get(key)
            # If there is no committed position, no other process has continued the partition.
            if partition is not None and (known.offset is None or partition.committed == position):
                lost_from = partition.progress.next_offset  # records in memory are not lost with the log
                self._resume(key, partition, known)
            else:
                lost_from = position.offset
                # A new delay topic of a number that stayed ours does not restart that number.
                if partition is not None or topic == first:
                    change.restarted.add(number)
                partition = self._start(key, position, known)
            if lost_from < known.begin:
                change.truncated.append(Truncation(topic, number, lost_from, known.begin))
            self.partitions[key] = partition
            change.partitions.append(partition)
        for lost_partition in self._suspended.values():
            lost_partition.ownership = Ownership.LOST
        self._suspended = {}
        return change

    def _numbers(self, keys: Iterable[PartitionKey]) -> set[int]:
        first = self._delay_topics.first.topic
        return {number for topic, number in keys if topic == first}

    def _resume(self, key: PartitionKey, partition: PartitionState, known: PartitionOffsets) -> None:
        del self._suspended[key]
        partition.come_back(known.begin)

    def _start(self, key: PartitionKey, position: Position, known: PartitionOffsets) -> PartitionState:
        topic, number = key
        delay_topic = self._delay_topics.of(topic)
        assert delay_topic is not None, "only partitions of delay topics are owned"
        progress = Progress(position, log_begin=known.begin, log_end=known.end)
        return PartitionState(delay_topic, number, position, progress)


def _position(topic: str, number: int, known: PartitionOffsets) -> Position:
    if known.offset is None:
        return Position(known.begin, "")  # jobs.0s has a position, so this delay topic is new
    if known.offset > known.end:
        raise Unavailable(beyond_sentence(topic, number, known.offset, known.end))
    return Position(known.offset, known.metadata)
