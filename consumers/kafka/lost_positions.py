"""Which positions are lost, and the sentences for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from consumers.kafka.positions import PartitionKey, PartitionOffsets
from schemas.records.source import SourcePositions


def lost_partitions(
    topic: str, found: Mapping[PartitionKey, PartitionOffsets], source: SourcePositions | None
) -> list[int]:
    """Return the partitions of a recorded source that have lost their position.

    `source` is None if its record cannot be read. A partition without a recorded position was added later, unless no
    partition has a position.
    """
    without = [partition for (name, partition), position in found.items() if name == topic and position.offset is None]
    if any(name == topic and position.offset is not None for (name, _), position in found.items()):
        return sorted(set(without) & (source.positions.keys() if source else set()))
    return sorted(without)


def lost_positions_sentence(first_topic: str, partitions: Sequence[int]) -> str:
    """Say that the positions of new jobs are lost, and which command sets them: those of all delay topics.

    A delay topic without a position counts as new while new jobs have one, and would be read from its
    beginning, with all that was done long ago.
    """
    numbers = ", ".join(str(partition) for partition in partitions)
    return (
        f"{first_topic} has no position in partitions {numbers}: `signpost topics apply` commits the beginning when it "
        f"makes the topic, and the brokers forget positions of a group that is away for offsets.retention.minutes. "
        f"None is guessed: `signpost positions set '{delay_topics_glob(first_topic)}' --to earliest|latest|TIME` sets "
        "those of "
        "all tiers"
    )


def delay_topics_glob(first_topic: str) -> str:
    """Return the pattern of all tiers' topics for the command line."""
    return f"{first_topic.rpartition('.')[0]}.*"


def beyond_sentence(topic: str, partition: int, offset: int, end: int) -> str:
    """Say that a position is after the end of its log, and which command sets it."""
    return (
        f"the position in {topic}, partition {partition} is {offset}, after the end of the log ({end}): it is another "
        "log than the one that was read, or has lost records, as by an unclean election. Find out, then "
        f"`signpost positions set {topic} --partition {partition} --to earliest|latest|TIME` sets the position"
    )


def lost_sentence(topic: str, partitions: Sequence[int], source: SourcePositions | None) -> str:
    """Say that the positions of a source are lost, and which command sets them."""
    numbers = ", ".join(str(partition) for partition in partitions)
    since = "" if source is None else f", recorded on {_day(source.started_at_ms)},"
    last = ""
    if source is not None:
        known = "where it started is" if source.last_at_ms is None else f"its last on {_day(source.last_at_ms)} are"
        last = f" (`--to recorded`: {known} known)"
    return (
        f"the source {topic}{since} has lost its positions (partitions {numbers}): the brokers forget those of a group "
        f"that is away for offsets.retention.minutes, or of a topic that was deleted. None is guessed: "
        f"`signpost positions set {topic} --to earliest|latest|TIME` sets them{last}"
    )


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M UTC")
