"""The outbox: outgoing records and positions that wait for the next transaction.

Records are kept until their transaction is known to be committed. After an abort they are written again, without
repeating any request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from consumers.delivery.partitions.partition_state import Ownership, PartitionState
from consumers.delivery.partitions.progress import Position
from consumers.kafka.outgoing_record import OutgoingRecord


class Completion(NamedTuple):
    """The outgoing records of one finished job. They are committed together with the position of its partition."""

    partition: PartitionState
    records: Sequence[OutgoingRecord]


@dataclass(frozen=True, slots=True)
class Batch:
    """The content of one transaction: records, and the position of every partition that they come from."""

    number: int
    serial: str
    completions: list[Completion]
    positions: dict[PartitionState, Position]
    finished: dict[PartitionState, int]  # number of jobs that ended or moved, by partition


class Outbox:
    """Completions since the last batch was closed. `process_id` names this process in the serials of batches."""

    def __init__(self, process_id: str) -> None:
        self._process_id = process_id
        self._completions: list[Completion] = []
        self._to_commit: list[PartitionState] = []  # partitions whose position has changed
        self._finished = 0
        self.last_number = 0  # number of the batch that was closed last; the first one is 1
        self.record_count = 0
        self.bytes = 0
        self.in_commit: Batch | None = None

    def complete(self, partition: PartitionState, offset: int, records: Sequence[OutgoingRecord]) -> None:
        """Finish the record at `offset` with these outgoing records."""
        self._add(partition, records)
        self._finished += 1
        partition.finished += 1
        partition.progress.finish(offset)
        if not partition.position_changed:
            self.touch(partition)

    def attach(self, partition: PartitionState, records: Sequence[OutgoingRecord]) -> None:
        """Add outgoing records that belong to a partition, but to none of its records."""
        self._add(partition, records)
        self.touch(partition)

    def touch(self, partition: PartitionState) -> None:
        """Have the position of a partition committed with the next batch."""
        if not partition.position_changed:
            partition.position_changed = True
            self._to_commit.append(partition)

    @property
    def pending(self) -> bool:
        """Whether a partition of ours has something to commit."""
        return any(partition.ownership is Ownership.OURS for partition in self._to_commit)

    @property
    def empty(self) -> bool:
        """Whether nothing waits for a commit, neither for our partitions nor for suspended ones."""
        return not self._to_commit

    @property
    def uncommitted(self) -> int:
        """Number of jobs that ended or moved and are not known to be committed."""
        in_commit = 0 if self.in_commit is None else sum(self.in_commit.finished.values())
        return self._finished + in_commit

    def close_batch(self) -> Batch:
        """Take the completions of our partitions as the batch of the next transaction.

        Completions of suspended partitions stay: with the metadata of a newer generation the broker would accept the
        offsets of the former owner, and so rewind the new owner.
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
        """Drop the completions of lost partitions: their new owners repeat those jobs."""
        if any(partition.is_lost for partition in self._to_commit):
            self._to_commit = [partition for partition in self._to_commit if not partition.is_lost]
            self._completions = [one for one in self._completions if not one.partition.is_lost]
            self._recount()

    def committed(self, batch: Batch) -> None:
        """Remove a batch that was committed."""
        self.in_commit = None
        for partition, position in batch.positions.items():
            partition.committed = position

    def aborted(self, batch: Batch) -> None:
        """Take back a batch that was not committed, to write it again, except for lost partitions."""
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
