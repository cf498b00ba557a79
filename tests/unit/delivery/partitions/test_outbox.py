"""The outbox: the content of a transaction. Nothing of an aborted one is lost, and no request is repeated for it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from consumers.delivery.delay_topics import DelayTopic
from consumers.delivery.partitions.outbox import Batch, Outbox
from consumers.delivery.partitions.partition_state import Ownership, PartitionState
from consumers.delivery.partitions.progress import Position, Progress
from consumers.kafka.outgoing_record import ANY_PARTITION, OutgoingRecord

pytestmark = pytest.mark.promise(1, 2)


def partition_with(number: int, read: int) -> PartitionState:
    """Return a partition of which the first `read` records were read."""
    start = Position(0, "")
    partition = PartitionState(DelayTopic("t.jobs.0s", timedelta(0), 0), number, start, Progress(start))
    for offset in range(read):
        partition.progress.read(offset)
    return partition


def outcome(value: bytes = b"outcome") -> list[OutgoingRecord]:
    return [OutgoingRecord("t.outcomes", ANY_PARTITION, b"key", value)]


def values(batch: Batch) -> list[bytes | None]:
    return [record.value for completion in batch.completions for record in completion.records]


def partitions(batch: Batch) -> list[PartitionState]:
    return [completion.partition for completion in batch.completions]


@pytest.fixture
def outbox() -> Outbox:
    return Outbox("0-abcd")


def test_batch_holds_the_position_of_every_partition_it_writes_for(outbox: Outbox) -> None:
    """A batch has the position of each partition that its records come from, so that a zombie is fenced in all."""
    first, second = partition_with(0, 3), partition_with(1, 3)
    for partition, offset in ((first, 0), (second, 1)):
        outbox.complete(partition, offset, outcome())
    batch = outbox.close_batch()
    assert {partition.number: position.offset for partition, position in batch.positions.items()} == {0: 1, 1: 0}
    assert all(batch.serial in position.metadata for position in batch.positions.values())


def test_aborted_batch_is_written_again_before_later_records(outbox: Outbox) -> None:
    """An aborted batch is written again, in order, and counts as uncommitted until then."""
    partition = partition_with(0, 3)
    outbox.complete(partition, 0, outcome(b"first"))
    batch = outbox.close_batch()
    outbox.complete(partition, 1, outcome(b"second"))
    assert outbox.uncommitted == 2
    outbox.aborted(batch)
    assert outbox.uncommitted == 2
    again = outbox.close_batch()
    assert values(again) == [b"first", b"second"]
    assert again.positions[partition].offset == 2


def test_completions_of_a_lost_partition_are_dropped(outbox: Outbox) -> None:
    """Completions of a partition that another process owns now are dropped."""
    lost, kept = partition_with(0, 1), partition_with(1, 1)
    for partition in (lost, kept):
        outbox.complete(partition, 0, outcome())
    batch = outbox.close_batch()
    lost.ownership = Ownership.LOST
    outbox.aborted(batch)
    again = outbox.close_batch()
    assert list(again.positions) == [kept]
    assert partitions(again) == [kept]


def test_committed_batch_updates_the_committed_position(outbox: Outbox) -> None:
    """The committed position of each partition is kept, to recognise it after a rebalance."""
    partition = partition_with(0, 1)
    outbox.complete(partition, 0, outcome())
    batch = outbox.close_batch()
    outbox.committed(batch)
    assert partition.committed == batch.positions[partition]
    assert outbox.uncommitted == 0
    assert not outbox.pending


def test_serials_of_transactions_differ(outbox: Outbox) -> None:
    """Each transaction has its own serial, so that the committed position shows which transaction committed it."""
    partition = partition_with(0, 2)
    serials = set()
    for offset in range(2):
        outbox.complete(partition, offset, [])
        batch = outbox.close_batch()
        serials.add(batch.serial)
        outbox.committed(batch)
    assert len(serials) == 2


def test_completions_of_a_suspended_partition_wait(outbox: Outbox) -> None:
    """After a revocation nothing of the partition is committed, with any group metadata, until it returns."""
    suspended, ours = partition_with(0, 1), partition_with(1, 1)
    for partition in (suspended, ours):
        outbox.complete(partition, 0, outcome())
    suspended.ownership = Ownership.SUSPENDED
    batch = outbox.close_batch()
    assert list(batch.positions) == [ours]
    assert partitions(batch) == [ours]
    outbox.committed(batch)
    assert not outbox.pending
    assert not outbox.empty
    assert outbox.uncommitted == 1
    suspended.ownership = Ownership.OURS
    assert partitions(outbox.close_batch()) == [suspended]


def test_completions_of_a_partition_lost_while_suspended_are_dropped(outbox: Outbox) -> None:
    """Completions that waited for a partition are dropped if it does not return, and no longer count."""
    partition = partition_with(0, 1)
    outbox.complete(partition, 0, outcome())
    partition.ownership = Ownership.SUSPENDED
    assert not outbox.empty
    partition.ownership = Ownership.LOST
    outbox.prune()
    assert outbox.empty
    assert (outbox.uncommitted, outbox.bytes) == (0, 0)
