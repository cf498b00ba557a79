"""What a compacted topic says, as a table in memory: which record of an id counts. Pure.

The rules, in the order of their weight:

- The last record of an id counts; a tombstone deletes it.
- A record that cannot be interpreted is *unusable*, not gone: the last good one of its partition stays, and where
  there is none, the id is `Unusable` until it is written again or deleted.
- All records of an id belong on one partition. Where two writers raced over two of them, the lower partition's record
  counts, and `partitions_of` has both.
- What is after the position is not known: a record that somebody names and that the table has not passed is `NotYet`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from schemas.catalog.errors import SealBroken, UnreadableRecord

T = TypeVar("T")

Interpret: TypeAlias = Callable[[int, int, str, bytes], T]
"""(partition, offset, key, value) to what the record means to a role; UnreadableRecord or SealBroken if nothing."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[T]):
    """What counts for an id, and where its record is."""

    value: T
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """The table has passed the record in question and holds nothing: deleted."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """The table has not read as far as the record in question."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """There is a record that cannot be interpreted, and no good one before it."""

    reason: str
    partition: int
    offset: int


Lookup: TypeAlias = Entry[T] | Deleted | NotYet | Unusable

DELETED: Final = Deleted()
NOT_YET: Final = NotYet()


@dataclass(frozen=True, slots=True)
class Applied(Generic[T]):
    """What one record did to its id: what counted before, what counts now, and why it was unusable if it was."""

    before: Entry[T] | None
    after: Entry[T] | None
    unusable: Unusable | None

    @property
    def changed(self) -> bool:
        """Whether another record counts now."""
        return self.before is not self.after


@dataclass(frozen=True, slots=True)
class _Held(Generic[T]):
    """What one partition holds of an id: the last good record, and the unusable one after it."""

    entry: Entry[T] | None
    unusable: Unusable | None


class TableState(Generic[T]):
    """The table of one topic; `interpret` says what a record means.

    Nearly every id has one good record on one partition, so that `_entries` is all there is of it. The few that have
    unusable records or records on several partitions are in `_odd` as well, which holds all that is known of them.
    """

    def __init__(self, interpret: Interpret[T]) -> None:
        self._interpret = interpret
        self._entries: dict[str, Entry[T]] = {}
        self._odd: dict[str, dict[int, _Held[T]]] = {}
        self._positions: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, id_: str) -> Entry[T] | None:
        """Return what counts for an id, as far as the table has read."""
        return self._entries.get(id_)

    @property
    def positions(self) -> Mapping[int, int]:
        """Next offset to read, by partition."""
        return self._positions

    def position(self, partition: int) -> int:
        """Return the next offset to read."""
        return self._positions.get(partition, 0)

    def unusable(self) -> dict[str, Unusable]:
        """Return the ids of which nothing is known but an unusable record."""
        found = {id_: self._judge(id_)[1] for id_ in self._odd if id_ not in self._entries}
        return {id_: reason for id_, reason in found.items() if reason is not None}

    def partitions_of(self, id_: str) -> tuple[int, ...]:
        """Return the partitions that hold an id, ascending, where these are several or its record is unusable."""
        return tuple(sorted(self._odd.get(id_, ())))

    def apply(self, partition: int, offset: int, key: str, value: bytes | None) -> Applied[T]:
        """Take the next record of a partition; records at offsets that were passed before change nothing."""
        before = self._entries.get(key)
        if offset < self.position(partition):
            return Applied(before, before, None)
        self._positions[partition] = offset + 1
        if value is None:
            self._hold(key, partition, before, None)
            return Applied(before, self._entries.get(key), None)
        try:
            entry = Entry(self._interpret(partition, offset, key, value), partition, offset)
        except (UnreadableRecord, SealBroken) as error:
            unusable = Unusable(str(error), partition, offset)
            self._hold(key, partition, before, _Held(self._good(key, partition, before), unusable))
            return Applied(before, self._entries.get(key), unusable)
        if key not in self._odd and (before is None or before.partition == partition):
            self._entries[key] = entry
        else:
            self._hold(key, partition, before, _Held(entry, None))
        return Applied(before, self._entries.get(key), None)

    def advance(self, partition: int, next_offset: int) -> None:
        """Note that there is nothing before `next_offset`: what ends a log may be markers that no consumer sees."""
        if next_offset > self.position(partition):
            self._positions[partition] = next_offset

    def lookup(self, id_: str, partition: int, offset: int) -> Lookup[T]:
        """Return what counts for an id, asked by one who knows of a record of it at `offset` of `partition`."""
        if self._positions.get(partition, 0) <= offset:
            return NOT_YET
        entry = self._entries.get(id_)
        if entry is not None:
            return entry
        if id_ in self._odd:
            unusable = self._judge(id_)[1]
            if unusable is not None:
                return unusable
        return DELETED

    def _good(self, key: str, partition: int, before: Entry[T] | None) -> Entry[T] | None:
        """Return the last good record of an id on a partition."""
        held = self._odd.get(key, {}).get(partition)
        if held is not None:
            return held.entry
        return before if before is not None and before.partition == partition else None

    def _hold(self, key: str, partition: int, before: Entry[T] | None, held: _Held[T] | None) -> None:
        """Set what a partition holds of an id, and with it what counts."""
        all_held = self._odd.pop(key, None)
        if all_held is None:
            all_held = {} if before is None else {before.partition: _Held(before, None)}
        if held is None:
            all_held.pop(partition, None)
        else:
            all_held[partition] = held
        if len(all_held) > 1 or any(other.unusable is not None for other in all_held.values()):
            self._odd[key] = all_held
        entry = all_held[min(all_held)].entry if all_held else None
        if entry is None:
            self._entries.pop(key, None)
        else:
            self._entries[key] = entry

    def _judge(self, id_: str) -> tuple[Entry[T] | None, Unusable | None]:
        held = self._odd[id_]
        first = held[min(held)]
        return first.entry, first.unusable
