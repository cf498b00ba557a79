"""Changes of positions, and the records that they skip or repeat. Pure: group_positions.py talks to the broker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Final, Literal, TypeAlias

from consumers.kafka.positions import PartitionKey, PartitionOffsets
from consumers.kafka.source_positions import PositionsBySource
from schemas.catalog.errors import InvalidInput
from schemas.input.suggestions import did_you_mean

PositionTarget: TypeAlias = Literal["earliest", "latest", "recorded"] | datetime | int
"""Beginning or end of the log, last recorded position of a source, time (first record not older), or offset."""
_WORDS: Final = ("earliest", "latest", "recorded")


@dataclass(frozen=True, slots=True)
class PositionChange:
    """A position to set; `was` is None if there was none."""

    topic: str
    partition: int
    was: int | None
    to: int
    begin: int

    def __str__(self) -> str:
        has = "none" if self.was is None else self.was
        return f"{self.topic} partition {self.partition}: {has} -> {self.to}{self._effect()}"

    def _effect(self) -> str:
        if self.was is None or self.to == self.was:
            return ""
        if self.to > self.was:
            # Records that retention deleted are not skipped.
            count = self.to - max(self.was, self.begin)
            return f" (skips {count} record{_plural(count)})" if count > 0 else ""
        return f" (reads {self.was - self.to} record{_plural(self.was - self.to)} again)"


def _plural(count: int) -> str:
    return "" if count == 1 else "s"


def parse_target(text: str) -> PositionTarget:
    """Parse `--to`; InvalidInput lists the valid forms."""
    match text:
        case "earliest" | "latest" | "recorded":
            return text
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        at = datetime.fromisoformat(text)
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    except ValueError:
        raise InvalidInput(
            f"--to: {text!r} is none of: {', '.join(_WORDS)}, an offset, or a time such as 2026-02-16T10:05:30Z"
            f"{did_you_mean(text, _WORDS)}"
        ) from None


def chosen(wanted: Iterable[str], known: Iterable[str], prefix: str, groups: Iterable[str] = ()) -> list[str]:
    """Return the topics that match names with or without the prefix, or patterns with `*`.

    An error suggests one of them, or one of `groups`, which the caller accepts as well.
    """
    names = sorted(known)
    result: list[str] = []
    for name in wanted:
        found = [topic for topic in names if fnmatchcase(topic, name) or fnmatchcase(topic, prefix + name)]
        if not found:
            short = [topic.removeprefix(prefix) for topic in names]
            hint = did_you_mean(name.removeprefix(prefix), [*short, *groups]) or f"; available: {', '.join(short)}"
            raise InvalidInput(f"{name}: neither a source nor a delay topic{hint}")
        result += [topic for topic in found if topic not in result]
    return result


def plan_changes(
    target: PositionTarget,
    found: Mapping[PartitionKey, PartitionOffsets],
    at_time: Mapping[PartitionKey, int],
    sources: PositionsBySource,
) -> list[PositionChange]:
    """Return the positions to set; `at_time`: the first offset not older than the target, if that is a time.

    InvalidInput if an offset is not in the log, or nothing is recorded.
    """
    return [
        PositionChange(
            topic, partition, known.offset, _offset(target, (topic, partition), known, at_time, sources), known.begin
        )
        for (topic, partition), known in sorted(found.items())
    ]


def _offset(
    target: PositionTarget,
    key: PartitionKey,
    known: PartitionOffsets,
    at_time: Mapping[PartitionKey, int],
    sources: PositionsBySource,
) -> int:
    if isinstance(target, datetime):
        return at_time[key]
    if isinstance(target, int):
        if not known.begin <= target <= known.end:
            raise InvalidInput(
                f"--to {target}: the log of {key[0]} partition {key[1]} has offsets {known.begin} to {known.end}"
            )
        return target
    if target == "earliest":
        return known.begin
    if target == "latest":
        return known.end
    source = sources.get(key[0])
    if source is None:
        raise InvalidInput(
            f"--to recorded: no position of {key[0]} is recorded; use earliest, latest, a time or an offset"
        )
    # A partition that was added after the record starts at its beginning.
    return min(max(source.positions.get(key[1], known.begin), known.begin), known.end)
