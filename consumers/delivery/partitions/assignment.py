"""Which partitions of which delay topics are ours, and from where each is read. Pure: the reader talks to the broker.

The process that is assigned partition n of `jobs.0s` owns partition n of every delay topic. A partition of another
delay topic without that of `jobs.0s` is not read.
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
    """Partitions to read, what retention deleted before it was read, and numbers that start from what is on record."""

    partitions: list[PartitionState] = field(default_factory=list)
    truncated: list[Truncation] = field(default_factory=list)
    restarted: set[int] = field(default_factory=set)


class Assignment:
    """The partitions that are ours; former ones are kept until it is known whether they come back."""

    def __init__(self, delay_topics: DelayTopics) -> None:
        self._delay_topics = delay_topics
        self.partitions: dict[PartitionKey, PartitionState] = {}
        self._suspended: dict[PartitionKey, PartitionState] = {}

    def owned(self, assigned: Iterable[PartitionKey]) -> list[PartitionKey]:
        """Return the assigned partitions that are read: the ones whose `jobs.0s` is assigned too."""
        keys = [key for key in assigned if self._delay_topics.of(key[0]) is not None]
        numbers = self._numbers(keys)
        return [key for key in keys if key[1] in numbers]

    def lacking(self, assigned: Sequence[PartitionKey], topics: Iterable[str] = ()) -> list[PartitionKey]:
        """Return the partitions that should be ours, by their number, and are not assigned.

        Delay topics are those of our senders, and those among the existing `topics`: a newer version may have created
        one.
        """
        wanted_topics = {delay_topic.topic for delay_topic in self._delay_topics.all}
        wanted_topics |= {topic for topic in topics if self._delay_topics.of(topic)}
        wanted = {(topic, number) for topic in wanted_topics for number in self._numbers(assigned)}
        return sorted(wanted.difference(assigned))

    def suspend(self) -> None:
        """Note that everything was revoked: nothing is read or committed until `take`."""
        for partition in self.partitions.values():
            partition.ownership = Ownership.SUSPENDED
        self._suspended |= self.partitions
        self.partitions = {}

    def take(self, found: Mapping[PartitionKey, PartitionOffsets]) -> AssignmentChange:
        """Take partitions over from the positions that are committed for them.

        What is in memory for a partition is kept only if the committed position is the last one of this process;
        otherwise another process has continued from there. Unavailable where `jobs.0s` has no position: a position is
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
            # A partition without a committed position was continued by nobody.
            if partition is not None and (known.offset is None or partition.committed == position):
                lost_from = partition.progress.next_offset  # what is in memory is not lost with its records
                self._resume(key, partition, known)
            else:
                lost_from = position.offset
                # A delay topic that is new next to partitions that stayed ours changes nothing for their number.
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
        partition.ownership = Ownership.OURS
        partition.resume_at_ms = None
        partition.paused_full = False
        partition.progress.skip_to(known.begin)

    def _start(self, key: PartitionKey, position: Position, known: PartitionOffsets) -> PartitionState:
        topic, number = key
        delay_topic = self._delay_topics.of(topic)
        assert delay_topic is not None, "only partitions of delay topics are owned"
        progress = Progress(position, log_begin=known.begin, log_end=known.end)
        return PartitionState(delay_topic, number, position, progress)


def _position(topic: str, number: int, known: PartitionOffsets) -> Position:
    if known.offset is None:
        return Position(known.begin, "")  # a delay topic next to a jobs.0s that has a position is new
    if known.offset > known.end:
        raise Unavailable(beyond_sentence(topic, number, known.offset, known.end))
    return Position(known.offset, known.metadata)
