"""The outbox: what one transaction holds, and that nothing of an aborted one is lost or sent for twice."""

from __future__ import annotations

from datetime import timedelta

import pytest

from consumers.delivery.lane import Lane, Ownership
from consumers.delivery.outbox import Outbox, Row
from consumers.delivery.progress import Position, Progress
from consumers.delivery.tiers import Tier

pytestmark = pytest.mark.promise(1, 2)


def lane_of(partition: int, read: int) -> Lane:
    position = Position(0, "")
    lane = Lane(Tier("t.jobs.0s", timedelta(0), 0), partition, position, Progress(position))
    for offset in range(read):
        lane.progress.read(offset)
    return lane


def row(lane: Lane, value: bytes) -> Row:
    return Row("t.outcomes", -1, b"key", value, lane)


@pytest.fixture
def outbox() -> Outbox:
    return Outbox("0-abcd")


def test_a_batch_holds_the_position_of_every_lane_it_writes_for(outbox: Outbox) -> None:
    """Offsets go with the records that they end, for each partition, so that a zombie is fenced in all of them."""
    first, second = lane_of(0, 3), lane_of(1, 3)
    for lane, offset in ((first, 0), (second, 1)):
        outbox.add(row(lane, b"outcome"))
        outbox.finish(lane, offset)
    batch = outbox.seal()
    assert {lane.partition: position.offset for lane, position in batch.positions.items()} == {0: 1, 1: 0}
    assert all(batch.serial in position.metadata for position in batch.positions.values())


def test_an_aborted_batch_is_written_again_before_what_came_later(outbox: Outbox) -> None:
    """A transaction that was aborted is written again, in order, and counts as uncommitted until then."""
    lane = lane_of(0, 3)
    outbox.add(row(lane, b"first"))
    outbox.finish(lane, 0)
    batch = outbox.seal()
    outbox.add(row(lane, b"second"))
    outbox.finish(lane, 1)
    assert outbox.uncommitted == 2
    outbox.aborted(batch)
    assert outbox.uncommitted == 2
    again = outbox.seal()
    assert [item.value for item in again.rows] == [b"first", b"second"]
    assert again.positions[lane].offset == 2


def test_what_belongs_to_a_lost_partition_is_not_written(outbox: Outbox) -> None:
    """Outcomes of a partition that another process owns now are its to write: they are dropped here."""
    lost, kept = lane_of(0, 1), lane_of(1, 1)
    for lane in (lost, kept):
        outbox.add(row(lane, b"outcome"))
        outbox.finish(lane, 0)
    batch = outbox.seal()
    lost.ownership = Ownership.LOST
    outbox.aborted(batch)
    again = outbox.seal()
    assert list(again.positions) == [kept]
    assert [item.lane for item in again.rows] == [kept]


def test_a_committed_batch_is_this_processs_last_position(outbox: Outbox) -> None:
    """What was committed is remembered per partition, to be recognised after a rebalance."""
    lane = lane_of(0, 1)
    outbox.add(row(lane, b"outcome"))
    outbox.finish(lane, 0)
    batch = outbox.seal()
    outbox.committed(batch)
    assert lane.committed == batch.positions[lane]
    assert outbox.uncommitted == 0
    assert not outbox.pending


def test_serials_of_transactions_differ(outbox: Outbox) -> None:
    """Each transaction has a serial of its own, so that a look at the group tells which one was committed."""
    lane = lane_of(0, 2)
    serials = set()
    for offset in range(2):
        outbox.finish(lane, offset)
        batch = outbox.seal()
        serials.add(batch.serial)
        outbox.committed(batch)
    assert len(serials) == 2


def test_what_belongs_to_a_suspended_partition_waits(outbox: Outbox) -> None:
    """After a revocation nothing of that partition is committed, with whatever metadata, until it has come back."""
    suspended, ours = lane_of(0, 1), lane_of(1, 1)
    for lane in (suspended, ours):
        outbox.add(row(lane, b"outcome"))
        outbox.finish(lane, 0)
    suspended.ownership = Ownership.SUSPENDED
    batch = outbox.seal()
    assert list(batch.positions) == [ours]
    assert [item.lane for item in batch.rows] == [ours]
    outbox.committed(batch)
    assert not outbox.pending
    assert not outbox.empty
    assert outbox.uncommitted == 1
    suspended.ownership = Ownership.OURS
    assert [item.lane for item in outbox.seal().rows] == [suspended]


def test_what_is_lost_while_it_waits_is_forgotten(outbox: Outbox) -> None:
    """Outcomes that waited for a partition to come back go when it does not: nothing of them counts or is kept."""
    lane = lane_of(0, 1)
    outbox.add(row(lane, b"outcome"))
    outbox.finish(lane, 0)
    lane.ownership = Ownership.SUSPENDED
    assert not outbox.empty
    lane.ownership = Ownership.LOST
    outbox.prune()
    assert outbox.empty
    assert (outbox.uncommitted, outbox.bytes) == (0, 0)
