"""Which positions of a source are lost, and the sentence for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from consumers.runtime.positions import Found, PartitionKey
from schemas.source import SourceNote


def lost_partitions(topic: str, found: Mapping[PartitionKey, Found], note: SourceNote | None) -> list[int]:
    """Return the partitions of a noted source that have lost their position.

    `note` is None where it cannot be read. A partition of which none was noted is a later one, unless all are without.
    """
    without = [partition for (name, partition), position in found.items() if name == topic and position.offset is None]
    if any(name == topic and position.offset is not None for (name, _), position in found.items()):
        return sorted(set(without) & (note.positions.keys() if note else set()))
    return sorted(without)


def lost_sentence(topic: str, partitions: Sequence[int], note: SourceNote | None) -> str:
    """Say that the positions of a source are lost, and which command sets them."""
    numbers = ", ".join(str(partition) for partition in partitions)
    since = "" if note is None else f", noted on {_day(note.started_at_ms)},"
    last = ""
    if note is not None:
        noted = "where it started is" if note.last_at_ms is None else f"its last on {_day(note.last_at_ms)} are"
        last = f" (`--to noted`: {noted} known)"
    return (
        f"the source {topic}{since} has lost its positions (partitions {numbers}): the brokers forget those of a group "
        f"that is away for offsets.retention.minutes, or of a topic that was deleted. None is guessed: "
        f"`signpost positions set {topic} --to earliest|latest|TIME` sets them{last}"
    )


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M UTC")
