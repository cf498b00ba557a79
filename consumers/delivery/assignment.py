"""Which partitions of which tiers are ours, and from where each is read. Pure: the reader talks to the broker.

Whoever holds partition n of `jobs.0s` owns n of every tier; a partition of another tier without it is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from consumers.delivery.lane import Lane, Ownership
from consumers.delivery.progress import Position, Progress
from consumers.delivery.tiers import Tiers
from consumers.runtime.lost_positions import beyond_sentence, tier_lost_sentence
from consumers.runtime.positions import PartitionKey, PartitionOffsets
from consumers.runtime.truncation import Truncation
from schemas.errors import Unavailable


@dataclass(slots=True)
class Taken:
    """What a takeover came to: lanes to read, what was lost to retention, and partition numbers begun anew."""

    lanes: list[Lane] = field(default_factory=list)
    overtaken: list[Truncation] = field(default_factory=list)
    anew: set[int] = field(default_factory=set)


class Assignment:
    """The lanes that are ours; those of an earlier assignment are kept until it is known whether they come back."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers
        self.lanes: dict[PartitionKey, Lane] = {}
        self._suspended: dict[PartitionKey, Lane] = {}

    def owned(self, assigned: Iterable[PartitionKey]) -> list[PartitionKey]:
        """Return those of the assigned partitions that are read: the ones whose `jobs.0s` is assigned too."""
        keys = [key for key in assigned if self._tiers.of(key[0]) is not None]
        numbers = self._numbers(keys)
        return [key for key in keys if key[1] in numbers]

    def lacking(self, assigned: Sequence[PartitionKey], topics: Iterable[str] = ()) -> list[PartitionKey]:
        """Return the partitions of tiers that should be ours, by their number, and are not assigned.

        Tiers are those of our senders, and of the topics that are there: a newer version may have made one.
        """
        tiers = {tier.topic for tier in self._tiers.all} | {topic for topic in topics if self._tiers.of(topic)}
        wanted = {(tier, number) for tier in tiers for number in self._numbers(assigned)}
        return sorted(wanted.difference(assigned))

    def _numbers(self, keys: Iterable[PartitionKey]) -> set[int]:
        first = self._tiers.first.topic
        return {partition for topic, partition in keys if topic == first}

    def suspend(self) -> None:
        """Note that everything was revoked: nothing is read or committed until `take`."""
        for lane in self.lanes.values():
            lane.ownership = Ownership.SUSPENDED
        self._suspended |= self.lanes
        self.lanes = {}

    def take(self, found: Mapping[PartitionKey, PartitionOffsets]) -> Taken:
        """Take partitions over, from what is committed for them.

        What is in memory for one is kept only if the committed position is this process's own last; else somebody else
        has gone on from there. Unavailable where `jobs.0s` has no position: it is never guessed.
        """
        first = self._tiers.first.topic
        if lost := sorted(n for (topic, n), known in found.items() if topic == first and known.offset is None):
            raise Unavailable(tier_lost_sentence(first, lost))
        taken = Taken()
        for (topic, partition), known in found.items():
            position = _position(topic, partition, known)
            lost_from = position.offset
            lane = self._suspended.get((topic, partition))
            # Where nothing is committed, nobody has gone on.
            if lane is not None and (known.offset is None or lane.committed == position):
                del self._suspended[topic, partition]
                lane.ownership = Ownership.OURS
                lane.resume_at_ms = None
                lane.paused_full = False
                lost_from = lane.progress.next_offset  # what is in memory is not lost with its records
                lane.progress.skip_to(known.begin)
            else:
                progress = Progress(position, log_begin=known.begin, log_end=known.end)
                tier = self._tiers.of(topic)
                assert tier is not None, "only partitions of tiers are owned"
                # A tier that is new beside what was ours all the time changes nothing for its number.
                if lane is not None or topic == first:
                    taken.anew.add(partition)
                lane = Lane(tier, partition, position, progress)
            if lost_from < known.begin:
                taken.overtaken.append(Truncation(topic, partition, lost_from, known.begin))
            self.lanes[topic, partition] = lane
            taken.lanes.append(lane)
        for lane in self._suspended.values():
            lane.ownership = Ownership.LOST
        self._suspended = {}
        return taken


def _position(topic: str, partition: int, known: PartitionOffsets) -> Position:
    if known.offset is None:
        return Position(known.begin, "")  # a tier beside a jobs.0s that has a position is new
    if known.offset > known.end:
        raise Unavailable(beyond_sentence(topic, partition, known.offset, known.end))
    return Position(known.offset, known.metadata)
