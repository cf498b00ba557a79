"""What waits for the next transaction, and what one transaction holds.

Rows are kept until their transaction is known to be committed, so that one that was aborted is written again and
nothing is ever sent to an endpoint twice for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from consumers.delivery.lane import Lane, Ownership
from consumers.delivery.progress import Position


class Row(NamedTuple):
    """One record to write; `partition` -1 leaves the choice to the key. `lane` is what it was read from.

    Without a value it is a tombstone.
    """

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    lane: Lane


@dataclass(frozen=True, slots=True)
class Batch:
    """One transaction: rows, and the position of every lane that they belong to."""

    number: int
    serial: str
    rows: list[Row]
    positions: dict[Lane, Position]
    ends: dict[Lane, int]  # attempts, moves and ends of jobs that the rows record


class Outbox:
    """Rows and touched lanes since the last batch was sealed; `process_id` names this process in serials."""

    def __init__(self, process_id: str) -> None:
        self._process_id = process_id
        self._counter = 0
        self._rows: list[Row] = []
        self._touched: list[Lane] = []
        self._ends = 0
        self.bytes = 0
        self.in_commit: Batch | None = None

    def add(self, row: Row) -> None:
        """Have a row written in the next transaction."""
        self._rows.append(row)
        self.bytes += len(row.value or b"")

    def finish(self, lane: Lane, offset: int) -> None:
        """Note that a record's rows are all here: its offset is finished with them."""
        self._ends += 1
        lane.ends += 1
        lane.progress.finish(offset)
        if not lane.touched:
            self.touch(lane)

    def touch(self, lane: Lane) -> None:
        """Have the position of a lane committed."""
        if not lane.touched:
            lane.touched = True
            self._touched.append(lane)

    @property
    def pending(self) -> bool:
        """Whether there is anything to commit now."""
        return any(lane.ownership is Ownership.OURS for lane in self._touched)

    @property
    def empty(self) -> bool:
        """Whether nothing waits, not even for partitions that may come back."""
        return not self._touched

    @property
    def rows_pending(self) -> int:
        """Rows that are not in a transaction yet."""
        return len(self._rows)

    @property
    def uncommitted(self) -> int:
        """Ends and moves of jobs that are not known to be committed."""
        return self._ends + (sum(self.in_commit.ends.values()) if self.in_commit else 0)

    @property
    def last_number(self) -> int:
        """Number of the batch that was sealed last; the first is 1."""
        return self._counter

    def seal(self) -> Batch:
        """Take what is pending for partitions that are ours as the batch of the next transaction.

        What belongs to suspended ones stays: with the metadata of a newer generation the broker would accept an old
        owner's offsets, and rewind the new owner.
        """
        self.prune()
        self._counter += 1
        serial = f"{self._process_id}.{self._counter}"
        lanes = [lane for lane in self._touched if lane.ownership is Ownership.OURS]
        positions = {lane: lane.progress.position(serial) for lane in lanes}
        rows, self._touched = self._rows, [lane for lane in self._touched if lane not in positions]
        if self._touched:
            self._rows = [row for row in rows if row.lane not in positions]
            rows = [row for row in rows if row.lane in positions]
        else:
            self._rows = []
        batch = Batch(self._counter, serial, rows, positions, {lane: lane.ends for lane in lanes})
        for lane in lanes:
            lane.touched, lane.ends = False, 0
        self._count()
        self.in_commit = batch
        return batch

    def prune(self) -> None:
        """Drop what belongs to lost partitions: it is for their new owners to write."""
        if any(lane.is_lost for lane in self._touched):
            self._touched = [lane for lane in self._touched if not lane.is_lost]
            self._rows = [row for row in self._rows if not row.lane.is_lost]
            self._count()

    def _count(self) -> None:
        self._ends = sum(lane.ends for lane in self._touched)
        self.bytes = sum(len(row.value or b"") for row in self._rows)

    def committed(self, batch: Batch) -> None:
        """Note that a batch is committed."""
        self.in_commit = None
        for lane, position in batch.positions.items():
            lane.committed = position

    def aborted(self, batch: Batch) -> None:
        """Note that a batch was not committed: what belongs to lanes that are still ours is written again."""
        self.in_commit = None
        self._rows[:0] = [row for row in batch.rows if not row.lane.is_lost]
        for lane, ends in batch.ends.items():
            if not lane.is_lost:
                self.touch(lane)
                lane.ends += ends
        self._count()
