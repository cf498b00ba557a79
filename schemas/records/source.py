"""Records of the compacted topic `sources`: the positions of a source (key: its topic).

A consumer group can lose all its committed offsets at once. A source without committed offsets is new only if this
topic has no record of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from schemas.avro.codec import RecordCodec

_CODEC: Final = RecordCodec("source")


@dataclass(frozen=True, slots=True)
class SourcePositions:
    """Start and last positions of a source; records/source.v2.avsc describes the fields."""

    topic: str
    started_at_ms: int
    start_at: str | None
    first: Mapping[int, int] = field(default_factory=dict)
    last: Mapping[int, int] = field(default_factory=dict)
    last_at_ms: int | None = None
    set_at_ms: int | None = None

    @property
    def readable_since_ms(self) -> int:
        """Since when (Unix ms) the records of the source can be read, however old they are."""
        return max(self.started_at_ms, self.set_at_ms or 0)

    @property
    def positions(self) -> Mapping[int, int]:
        """The last saved position of each partition."""
        return {**self.first, **self.last}


def encode_source(source: SourcePositions) -> bytes:
    """Encode the value of a record of the topic `sources`."""
    return _CODEC.encode(
        {
            "topic": source.topic,
            "started_at_ms": source.started_at_ms,
            "start_at": source.start_at,
            "first": _by_partition(source.first),
            "last": _by_partition(source.last),
            "last_at_ms": source.last_at_ms,
            "set_at_ms": source.set_at_ms,
        }
    )


def decode_source(value: bytes | None) -> SourcePositions:
    """Decode the value of a record of the topic `sources`; UnreadableRecord if it is invalid."""
    record = _CODEC.decode(value)
    for name in ("first", "last"):
        record[name] = {item["partition"]: item["offset"] for item in record[name]}
    return SourcePositions(**record)


def _by_partition(positions: Mapping[int, int]) -> list[dict[str, int]]:
    return [{"partition": partition, "offset": offset} for partition, offset in sorted(positions.items())]
