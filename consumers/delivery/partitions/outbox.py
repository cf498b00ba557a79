"""What waits for the next transaction, and what one transaction holds.

Records are kept until their transaction is known to be committed: after an abort they are written again, and no request
is repeated for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from consumers.delivery.partitions.partition_state import Ownership, PartitionState
from consumers.delivery.partitions.progress import Position
from consumers.kafka.outgoing_record import OutgoingRecord


class Completion(NamedTuple):
    """The records that follow from one record of a partition; they are committed with that partition's position."""

    partition: PartitionState
    records: Sequence[OutgoingRecord]


@dataclass(frozen=True, slots=True)
class Batch:
    """One transaction: records, and the position of every partition that they come from."""

    number: int
    serial: str
    completions: list[Completion]
    positions: dict[PartitionState, Position]
    finished: dict[PartitionState, int]  # jobs that ended or moved, by partition


class Outbox:
    """Completions since the last batch was closed; `process_id` names this process in the serials of batches."""

    def __init__(self, process_id: str) -> None:
        self._process_id = process_id
        self._completions: list[Completion] = []
        self._to_commit: list[PartitionState] = []  # partitions whose position has changed
        self._finished = 0
        self.last_number = 0  # of the batch that was closed last; the first is 1
        self.record_count = 0
        self.bytes = 0
        self.in_commit: Batch | None = None

    def complete(self, partition: PartitionState, offset: int, records: Sequence[OutgoingRecord]) -> None:
        """Add all records that follow from the record at `offset`, which is finished with them."""
        self._add(partition, records)
        self._finished += 1
        partition.finished += 1
        partition.progress.finish(offset)
        if not partition.position_changed:
            self.touch(partition)

    def attach(self, partition: PartitionState, records: Sequence[OutgoingRecord]) -> None:
        """Add records that belong to a partition, but to none of its records."""
        self._add(partition, records)
        self.touch(partition)

    def touch(self, partition: PartitionState) -> None:
        """Have the position of a partition committed."""
        if not partition.position_changed:
            partition.position_changed = True
            self._to_commit.append(partition)

    @property
    def pending(self) -> bool:
        """Whether there is anything to commit now."""
        return any(partition.ownership is Ownership.OURS for partition in self._to_commit)

    @property
    def empty(self) -> bool:
        """Whether nothing waits, including for partitions that may come back."""
        return not self._to_commit

    @property
    def uncommitted(self) -> int:
        """Jobs that ended or moved and are not known to be committed."""
        return self._finished + (sum(self.in_commit.finished.values()) if self.in_commit else 0)

    def close_batch(self) -> Batch:
        """Take what is pending for our partitions as the batch of the next transaction.

        Completions of suspended partitions stay: with the metadata of a newer generation the broker would accept the
        offsets of a former owner, and rewind the new owner.
        """
        self.prune()
        self.last_number += 1
        serial = f"{self._process_id}.{self.last_number}"
        ours = [partition for partition in self._to_commit if partition.ownership is Ownership.OURS]
        positions = {partition: partition.progress.position(serial) for partition in ours}
        completions = self._completions
        self._to_commit = [partition for partition in self._to_commit if partition not in positions]
        if self._to_commit:
            self._completions = [one for one in completions if one.partition not in positions]
            completions = [one for one in completions if one.partition in positions]
        else:
            self._completions = []
        batch = Batch(
            self.last_number, serial, completions, positions, {partition: partition.finished for partition in ours}
        )
        for partition in ours:
            partition.position_changed = False
            partition.finished = 0
        self._recount()
        self.in_commit = batch
        return batch

    def prune(self) -> None:
        """Drop what belongs to lost partitions: their new owners write it."""
        if any(partition.is_lost for partition in self._to_commit):
            self._to_commit = [partition for partition in self._to_commit if not partition.is_lost]
            self._completions = [one for one in self._completions if not one.partition.is_lost]
            self._recount()

    def committed(self, batch: Batch) -> None:
        """Note that a batch is committed."""
        self.in_commit = None
        for partition, position in batch.positions.items():
            partition.committed = position

    def aborted(self, batch: Batch) -> None:
        """Note that a batch was not committed: what belongs to partitions that are still ours is written again."""
        self.in_commit = None
        self._completions[:0] = [one for one in batch.completions if not one.partition.is_lost]
        for partition, finished in batch.finished.items():
            if not partition.is_lost:
                self.touch(partition)
                partition.finished += finished
        self._recount()

    def _add(self, partition: PartitionState, records: Sequence[OutgoingRecord]) -> None:
        self._completions.append(Completion(partition, records))
        self.record_count += len(records)
        for record in records:
            value = record.value
            if value is not None:
                self.bytes += len(value)

    def _recount(self) -> None:
        self._finished = sum(partition.finished for partition in self._to_commit)
        self.record_count = sum(len(one.records) for one in self._completions)
        self.bytes = sum(len(record.value or b"") for one in self._completions for record in one.records)
