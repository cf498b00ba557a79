"""Lost positions, and the messages that report them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from consumers.kafka.positions import PartitionKey, PartitionOffsets
from schemas.records.source import SourcePositions


def lost_partitions(
    topic: str, found: Mapping[PartitionKey, PartitionOffsets], source: SourcePositions | None
) -> list[int]:
    """Return the partitions of a recorded source that have lost their position.

    `source` is None if its record is unreadable. A partition without a recorded position was added later, unless no
    partition has a position.
    """
    without = [partition for (name, partition), position in found.items() if name == topic and position.offset is None]
    if any(name == topic and position.offset is not None for (name, _), position in found.items()):
        return sorted(set(without) & (source.positions.keys() if source else set()))
    return sorted(without)


def lost_positions_sentence(first_topic: str, partitions: Sequence[int]) -> str:
    """Return the message that the first delay topic has lost positions, with the command that sets those of all.

    The command sets all delay topics: once the first one has a position, another without a position counts as new and
    would be read from its beginning, including all finished jobs.
    """
    numbers = ", ".join(str(partition) for partition in partitions)
    return (
        f"{first_topic} has no position in partitions {numbers}: `signpost topics apply` commits the beginning when it "
        "creates the topic; brokers delete the positions of a group without members after offsets.retention.minutes. "
        f"Signpost guesses no position: `signpost positions set '{delay_topics_glob(first_topic)}' "
        "--to earliest|latest|TIME` sets those of all delay topics"
    )


def delay_topics_glob(first_topic: str) -> str:
    """Return the pattern of all delay topics for the command line."""
    return f"{first_topic.rpartition('.')[0]}.*"


def beyond_sentence(topic: str, partition: int, offset: int, end: int) -> str:
    """Return the message that a position is after the end of its log, with the command that sets it."""
    return (
        f"the position in {topic}, partition {partition} is {offset}, after the end of the log ({end}): the topic was "
        "created again, or has lost records, for example by an unclean election. Find the cause, then run "
        f"`signpost positions set {topic} --partition {partition} --to earliest|latest|TIME`"
    )


def lost_sentence(topic: str, partitions: Sequence[int], source: SourcePositions | None) -> str:
    """Return the message that the positions of a source are lost, with the command that sets them."""
    numbers = ", ".join(str(partition) for partition in partitions)
    since = "" if source is None else f", recorded on {_day(source.started_at_ms)},"
    recorded = ""
    if source is not None:
        which = "its start" if source.last_at_ms is None else f"the positions of {_day(source.last_at_ms)}"
        recorded = f"; `--to recorded` sets {which}"
    return (
        f"the source {topic}{since} has lost its positions (partitions {numbers}). Brokers delete the positions of a "
        "group without members after offsets.retention.minutes, and those of a deleted topic. Signpost guesses no "
        f"position: `signpost positions set {topic} --to earliest|latest|TIME` sets them{recorded}"
    )


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M UTC")
