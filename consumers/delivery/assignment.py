"""Which partitions of which tiers are ours, and from where each is read. Pure: the reader talks to the broker.

Whoever holds partition n of `jobs.0s` owns n of every tier; a partition of another tier without it is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from consumers.delivery.lane import Lane, Ownership
from consumers.delivery.progress import Position, Progress
from consumers.delivery.tiers import Tiers
from consumers.runtime.positions import Found, PartitionKey
from schemas.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Overtaken:
    """Records that retention deleted before they were read: offsets from `lost_from` up to before `begin`."""

    topic: str
    partition: int
    lost_from: int
    begin: int


@dataclass(slots=True)
class Taken:
    """What a takeover came to: lanes to read, and what was lost to retention."""

    lanes: list[Lane] = field(default_factory=list)
    overtaken: list[Overtaken] = field(default_factory=list)


class Assignment:
    """The lanes that are ours; those of an earlier assignment are kept until it is known whether they come back."""

    def __init__(self, tiers: Tiers) -> None:
        self._tiers = tiers
        self.lanes: dict[PartitionKey, Lane] = {}
        self._suspended: dict[PartitionKey, Lane] = {}

    def owned(self, assigned: Iterable[PartitionKey]) -> list[PartitionKey]:
        """Return those of the assigned partitions that are read: the ones whose `jobs.0s` is assigned too."""
        keys = [key for key in assigned if key[0] in self._tiers.by_topic]
        first = self._tiers.first.topic
        numbers = {partition for topic, partition in keys if topic == first}
        return [key for key in keys if key[1] in numbers]

    def suspend(self) -> None:
        """Note that everything was revoked: nothing is read or committed until `take`."""
        for lane in self.lanes.values():
            lane.ownership = Ownership.SUSPENDED
        self._suspended |= self.lanes
        self.lanes = {}

    def take(self, found: Mapping[PartitionKey, Found]) -> Taken:
        """Take partitions over, from what is committed for them.

        What is in memory for one is kept only if the committed position is this process's own last; else somebody else
        has gone on from there. Unavailable where `jobs.0s` has no position: it is never guessed.
        """
        taken = Taken()
        for (topic, partition), known in found.items():
            position = self._position(topic, partition, known)
            if position.offset < known.begin:
                taken.overtaken.append(Overtaken(topic, partition, position.offset, known.begin))
            lane = self._suspended.get((topic, partition))
            if lane is not None and lane.committed == position:
                del self._suspended[topic, partition]
                lane.ownership = Ownership.OURS
                lane.resume_at_ms = None
                lane.paused_full = False
            else:
                progress = Progress(position, log_begin=known.begin, log_end=known.end)
                lane = Lane(self._tiers.by_topic[topic], partition, position, progress)
            self.lanes[topic, partition] = lane
            taken.lanes.append(lane)
        for lane in self._suspended.values():
            lane.ownership = Ownership.LOST
        self._suspended = {}
        return taken

    def _position(self, topic: str, partition: int, known: Found) -> Position:
        if known.offset is not None:
            if known.offset > known.end:
                raise Unavailable(
                    f"{topic} partition {partition} ends at {known.end}, before the committed position {known.offset}: "
                    "records were lost, by an unclean election or as the topic was made anew; the position has to be "
                    "set by hand for the group"
                )
            return Position(known.offset, known.metadata)
        if topic != self._tiers.first.topic:
            return Position(known.begin, "")  # a tier beside a jobs.0s that has a position is new
        raise Unavailable(
            f"{topic} partition {partition} has no committed position, and none is guessed: "
            "`signpost topics apply` commits the beginning when it makes the topic; a position that was lost "
            "has to be set by hand for the group"
        )
