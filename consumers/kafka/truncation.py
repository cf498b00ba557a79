"""Truncation by retention: records that were deleted before they were read, reported on `operations`."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.records.health import Operation, encode_operation


@dataclass(frozen=True, slots=True)
class Truncation:
    """The lost range of a partition: from `lost_from` up to, not including, `begin`, the first offset of the log."""

    topic: str
    partition: int
    lost_from: int
    begin: int

    @property
    def count(self) -> int:
        """Number of lost offsets: records and transaction markers."""
        return self.begin - self.lost_from

    def record(self, now_ms: int) -> tuple[bytes, bytes]:
        """Return key and value of the record for `operations`."""
        operation = Operation(
            kind="partition_truncated",
            at_ms=now_ms,
            topic=self.topic,
            partition=self.partition,
            from_offset=self.lost_from,
            to_offset=self.begin - 1,
        )
        return f"{self.topic}-{self.partition}".encode(), encode_operation(operation)
