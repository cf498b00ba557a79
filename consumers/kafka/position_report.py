"""Remarks about positions: new sources and delay topics, lost positions, positions outside their log. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from consumers.kafka.lost_positions import beyond_sentence, lost_partitions, lost_positions_sentence, lost_sentence
from consumers.kafka.positions import PartitionKey, PartitionOffsets
from consumers.kafka.source_positions import PositionsBySource


@dataclass(frozen=True, slots=True)
class Remark:
    """A sentence about a topic; `stops`: its role does not run until the position is set."""

    sentence: str
    stops: bool = False


def about_sources(
    topics: Iterable[str], found: Mapping[PartitionKey, PartitionOffsets], sources: PositionsBySource
) -> list[Remark]:
    """Return the remarks about each source."""
    remarks: list[Remark] = []
    for topic in topics:
        lost = lost_partitions(topic, found, sources[topic]) if topic in sources else []
        if lost:
            remarks.append(Remark(lost_sentence(topic, lost, sources[topic]), stops=True))
            continue
        without = _without(topic, found)
        if without and len(without) == len([key for key in found if key[0] == topic]):
            remarks.append(Remark(f"{topic} is new: it starts at the setting start_at"))
        elif without:
            remarks.append(Remark(f"{topic} has new partitions, which start at their beginning: {_join(without)}"))
        remarks += _outside(topic, found)
    return remarks


def about_delay_topics(
    first: str, topics: Iterable[str], found: Mapping[PartitionKey, PartitionOffsets]
) -> list[Remark]:
    """Return the remarks about each delay topic; `first` is the topic of new jobs."""
    remarks: list[Remark] = []
    lost = _without(first, found)
    if lost:
        remarks.append(Remark(lost_positions_sentence(first, lost), stops=True))
    for topic in topics:
        without = _without(topic, found) if topic != first else []
        if without and not lost:
            remarks.append(Remark(f"{topic} is new: it starts at its beginning (partitions {_join(without)})"))
        remarks += _outside(topic, found)
    return remarks


def _without(topic: str, found: Mapping[PartitionKey, PartitionOffsets]) -> list[int]:
    return sorted(partition for (name, partition), known in found.items() if name == topic and known.offset is None)


def _outside(topic: str, found: Mapping[PartitionKey, PartitionOffsets]) -> list[Remark]:
    remarks: list[Remark] = []
    for (name, partition), known in sorted(found.items()):
        if name != topic or known.offset is None:
            continue
        if known.offset > known.end:
            remarks.append(Remark(beyond_sentence(topic, partition, known.offset, known.end), stops=True))
        elif known.offset < known.begin:
            remarks.append(
                Remark(
                    f"{topic} partition {partition}: retention deleted {known.offset} to {known.begin - 1} before "
                    f"they were read; reading continues at {known.begin}"
                )
            )
    return remarks


def _join(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in numbers)
