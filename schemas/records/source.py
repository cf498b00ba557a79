"""What is noted of a source on the compacted topic `sources` (key: its topic).

Positions of a consumer group can be lost, all at once. A source without any is new only if nothing was ever noted of
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from schemas.avro.codec import RecordCodec

_CODEC: Final = RecordCodec("source")


@dataclass(frozen=True, slots=True)
class SourcePositions:
    """That a topic is read, and from where; the fields are described in records/source.v1.avsc."""

    topic: str
    started_at_ms: int
    start_at: str | None
    first: Mapping[int, int] = field(default_factory=dict)
    last: Mapping[int, int] = field(default_factory=dict)
    last_at_ms: int | None = None

    @property
    def positions(self) -> Mapping[int, int]:
        """The last position that was noted of each partition."""
        return {**self.first, **self.last}


def encode_source(note: SourcePositions) -> bytes:
    """Encode a note."""
    return _CODEC.encode(
        {
            "topic": note.topic,
            "started_at_ms": note.started_at_ms,
            "start_at": note.start_at,
            "first": _places(note.first),
            "last": _places(note.last),
            "last_at_ms": note.last_at_ms,
        }
    )


def decode_source(value: bytes | None) -> SourcePositions:
    """Decode a note; UnreadableRecord if it is none."""
    record = _CODEC.decode(value)
    for name in ("first", "last"):
        record[name] = {place["partition"]: place["offset"] for place in record[name]}
    return SourcePositions(**record)


def _places(positions: Mapping[int, int]) -> list[dict[str, int]]:
    return [{"partition": partition, "offset": offset} for partition, offset in sorted(positions.items())]
