"""State of a compacted topic as a table in memory: the effective record of each id. Pure.

The rules, most important first:

- The last record of an id is effective; a tombstone deletes it.
- A record that cannot be interpreted is *unusable*, not deleted: the last good record of its partition stays effective.
  If there is none, the id is `Unusable` until it is written again or deleted.
- All records of an id belong on one partition. If two writers raced over two partitions, the record of the lower
  partition is effective, and `partitions_of` returns both.
- Records after the position are unknown: the lookup of a record that the table has not passed returns `NotYet`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from schemas.catalog.errors import SealBroken, UnreadableRecord

T = TypeVar("T")

Interpret: TypeAlias = Callable[[int, int, str, bytes], T]
"""(partition, offset, key, value) to the value that a role keeps; raises UnreadableRecord or SealBroken."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """The effective value of an id, and the place of its record."""

    value: T
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """The table has passed the record and has none for the id: deleted."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """The table has not read the record yet."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """The record cannot be interpreted, and there is no good one before it."""

    reason: str
    partition: int
    offset: int


Lookup: TypeAlias = Entry[T] | Deleted | NotYet | Unusable

DELETED: Final = Deleted()
NOT_YET: Final = NotYet()


@dataclass(frozen=True, slots=True)
class Applied(Generic[T]):
    """Effect of one record on its id: the effective entry before and after, and the reason if it is unusable."""

    before: Entry[T] | None
    after: Entry[T] | None
    unusable: Unusable | None

    @property
    def changed(self) -> bool:
        """Whether the effective record is another one now."""
        return self.before is not self.after


@dataclass(frozen=True, slots=True)
class _PartitionRecords(Generic[T]):
    """Records of an id on one partition: the last good one, and the unusable one after it."""

    entry: Entry[T] | None
    unusable: Unusable | None


class TableState(Generic[T]):
    """The table of one topic; `interpret` returns the value of a record.

    Nearly every id has one good record on one partition, and is only in `_entries`. The few ids with unusable records,
    or with records on several partitions, are also in `_irregular`, with all their records.
    """

    def __init__(self, interpret: Interpret[T]) -> None:
        self._interpret = interpret
        self._entries: dict[str, Entry[T]] = {}
        self._irregular: dict[str, dict[int, _PartitionRecords[T]]] = {}
        self._positions: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, id_: str) -> Entry[T] | None:
        """Return the effective entry of an id, as far as the table has read."""
        return self._entries.get(id_)

    @property
    def positions(self) -> Mapping[int, int]:
        """Next offset to read, by partition."""
        return self._positions

    def position(self, partition: int) -> int:
        """Return the next offset to read."""
        return self._positions.get(partition, 0)

    def unusable(self) -> dict[str, Unusable]:
        """Return the ids that have only an unusable record."""
        found = {id_: self._unusable(id_) for id_ in self._irregular if id_ not in self._entries}
        return {id_: reason for id_, reason in found.items() if reason is not None}

    def partitions_of(self, id_: str) -> tuple[int, ...]:
        """Return the partitions of an id, ascending, if there are several or its record is unusable; else ()."""
        return tuple(sorted(self._irregular.get(id_, ())))

    def apply(self, partition: int, offset: int, key: str, value: bytes | None) -> Applied[T]:
        """Apply the next record of a partition; a record below the position changes nothing."""
        before = self._entries.get(key)
        if offset < self.position(partition):
            return Applied(before, before, None)
        self._positions[partition] = offset + 1
        if value is None:
            self._set_records(key, partition, before, None)
            return Applied(before, self._entries.get(key), None)
        try:
            entry = Entry(self._interpret(partition, offset, key, value), partition, offset)
        except (UnreadableRecord, SealBroken) as error:
            unusable = Unusable(str(error), partition, offset)
            self._set_records(key, partition, before, _PartitionRecords(self._good(key, partition, before), unusable))
            return Applied(before, self._entries.get(key), unusable)
        if key not in self._irregular and (before is None or before.partition == partition):
            self._entries[key] = entry
        else:
            self._set_records(key, partition, before, _PartitionRecords(entry, None))
        return Applied(before, self._entries.get(key), None)

    def advance(self, partition: int, next_offset: int) -> None:
        """Move the position to `next_offset`: the last offsets of a log may be markers that no consumer gets."""
        if next_offset > self.position(partition):
            self._positions[partition] = next_offset

    def lookup(self, id_: str, partition: int, offset: int) -> Lookup[T]:
        """Return the effective entry of an id, for a caller that knows a record of it at `offset` of `partition`."""
        if self._positions.get(partition, 0) <= offset:
            return NOT_YET
        entry = self._entries.get(id_)
        if entry is not None:
            return entry
        if id_ in self._irregular:
            unusable = self._unusable(id_)
            if unusable is not None:
                return unusable
        return DELETED

    def _good(self, key: str, partition: int, before: Entry[T] | None) -> Entry[T] | None:
        """Return the last good record of an id on a partition."""
        records = self._irregular.get(key, {}).get(partition)
        if records is not None:
            return records.entry
        return before if before is not None and before.partition == partition else None

    def _set_records(
        self, key: str, partition: int, before: Entry[T] | None, records: _PartitionRecords[T] | None
    ) -> None:
        """Set the records of an id on a partition, and update its effective entry."""
        by_partition = self._irregular.pop(key, None)
        if by_partition is None:
            by_partition = {} if before is None else {before.partition: _PartitionRecords(before, None)}
        if records is None:
            by_partition.pop(partition, None)
        else:
            by_partition[partition] = records
        if len(by_partition) > 1 or any(other.unusable is not None for other in by_partition.values()):
            self._irregular[key] = by_partition
        entry = by_partition[min(by_partition)].entry if by_partition else None
        if entry is None:
            self._entries.pop(key, None)
        else:
            self._entries[key] = entry

    def _unusable(self, id_: str) -> Unusable | None:
        records = self._irregular[id_]
        return records[min(records)].unusable
