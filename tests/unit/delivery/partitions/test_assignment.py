"""Assignment: which partitions are ours, where each is read from, and which state in memory is kept."""

from __future__ import annotations

from datetime import timedelta

import pytest

from consumers.delivery.delay_topics import DelayTopics
from consumers.delivery.partitions.assignment import Assignment
from consumers.delivery.partitions.partition_state import Ownership
from consumers.delivery.partitions.progress import Position, Progress
from consumers.kafka.positions import PartitionOffsets
from consumers.kafka.truncation import Truncation
from schemas.catalog.errors import Unavailable
from schemas.records.topics import TopicNames

pytestmark = pytest.mark.promise(1, 2)

FIRST, LATER = "t.jobs.0s", "t.jobs.5s"


@pytest.fixture
def assignment() -> Assignment:
    return Assignment(DelayTopics(TopicNames("t."), [timedelta(0), timedelta(seconds=5)], 1))


def test_partition_without_its_first_delay_topic_is_not_read(assignment: Assignment) -> None:
    """Only the owner of jobs.0s-n reads partition n of every delay topic."""
    assigned = [(FIRST, 0), (LATER, 0), (LATER, 1), ("t.jobs.unknown", 0)]
    assert assignment.owned(assigned) == [(FIRST, 0), (LATER, 0)]


def test_reading_continues_at_the_committed_position(assignment: Assignment) -> None:
    """A partition is read from its committed offset, without the offsets that its metadata lists as finished."""
    change = assignment.take({(FIRST, 0): PartitionOffsets(5, "1|other.1|BB", 0, 9)})
    assert change.partitions[0].progress.next_offset == 5
    assert [change.partitions[0].progress.read(offset) for offset in (5, 6, 7, 8)] == [True, True, True, True]


def test_new_delay_topic_starts_at_its_beginning(assignment: Assignment) -> None:
    """A delay topic without a position is new if jobs.0s has one. It is read from the begin of its log."""
    change = assignment.take({(FIRST, 0): PartitionOffsets(5, "", 0, 9), (LATER, 0): PartitionOffsets(None, "", 3, 9)})
    assert assignment.partitions[LATER, 0].progress.next_offset == 3
    assert change.truncated == []


def test_delay_topic_of_a_newer_version_is_read(assignment: Assignment) -> None:
    """A delay topic that no loaded sender uses is owned by number, and its delay is parsed from its name."""
    newer, found = "t.jobs.10h", PartitionOffsets(5, "", 0, 9)
    assert assignment.owned([(FIRST, 0), (newer, 0), (newer, 1)]) == [(FIRST, 0), (newer, 0)]
    assignment.take({(FIRST, 0): found, (newer, 0): found})
    assert assignment.partitions[newer, 0].delay_topic.wait_ms == 36_000_000


def test_missing_partitions_are_found(assignment: Assignment) -> None:
    """The owner of jobs.0s-n finds which partitions n of known and existing delay topics it does not have."""
    assert assignment.missing([(FIRST, 0), (LATER, 0), (LATER, 1), ("t.jobs.10h", 1)]) == []
    assert assignment.missing([(FIRST, 0), (FIRST, 1), (LATER, 0)]) == [(LATER, 1)]
    topics = ["t.jobs.10h", "t.outcomes", "other.jobs.2h"]
    assert assignment.missing([(FIRST, 0), (LATER, 0)], topics) == [("t.jobs.10h", 0)]
    assert assignment.missing([]) == []


def test_partition_truncated_while_it_is_read_continues_at_the_beginning(assignment: Assignment) -> None:
    """Records in memory are kept. Only unread records are lost, and they are reported once."""
    partition = assignment.take({(FIRST, 0): PartitionOffsets(5, "1|me.1|", 0, 20)}).partitions[0]
    assert partition.progress.read(5)
    assignment.suspend()

    change = assignment.take({(FIRST, 0): PartitionOffsets(5, "1|me.1|", 8, 20)})
    assert change.partitions == [partition]
    assert change.truncated == [Truncation(FIRST, 0, 6, 8)]
    assert (partition.progress.lowest, partition.progress.next_offset) == (5, 8)
    assignment.suspend()
    assert assignment.take({(FIRST, 0): PartitionOffsets(5, "1|me.1|", 8, 20)}).truncated == []


def test_lost_position_is_never_guessed(assignment: Assignment) -> None:
    """jobs.0s without a position stops the process. The error names the partitions and the command to run."""
    sentence = r"t\.jobs\.0s has no position in partitions 0, 2: .*`signpost positions set 't\.jobs\.\*' --to"
    with pytest.raises(Unavailable, match=sentence):
        assignment.take({(FIRST, n): PartitionOffsets(None if n != 1 else 4, "", 0, 9) for n in range(3)})


def test_truncated_records_are_reported(assignment: Assignment) -> None:
    """A position below the begin of the log continues at the begin, and the lost range is reported."""
    # Read up to 13; 5, 9 and 11 are unfinished.
    change = assignment.take({(FIRST, 0): PartitionOffsets(5, "1|other.1|ECC", 8, 20)})
    assert change.truncated == [Truncation(FIRST, 0, 5, 8)]
    progress = change.partitions[0].progress
    assert progress.next_offset == 8
    assert [offset for offset in range(8, 15) if progress.read(offset)] == [9, 11, 13, 14]


def test_position_beyond_the_log_stops_the_process(assignment: Assignment) -> None:
    """If a committed offset is beyond the end of the log, records were lost. The process stops with an error."""
    with pytest.raises(
        Unavailable, match=r"is 12, after the end of the log \(9\).*positions set t\.jobs\.0s --partition 0"
    ):
        assignment.take({(FIRST, 0): PartitionOffsets(12, "", 0, 9)})


def test_state_in_memory_is_kept_only_without_another_owner(assignment: Assignment) -> None:
    """A partition that returns keeps its jobs if the committed position is the last one of this process."""
    partition = assignment.take({(FIRST, 0): PartitionOffsets(5, "1|me.1|", 0, 9)}).partitions[0]
    partition.progress.read(5)
    assignment.suspend()
    assert assignment.take({(FIRST, 0): PartitionOffsets(5, "1|me.1|", 0, 9)}).partitions == [partition]
    assert partition.ownership is Ownership.OURS
    assignment.suspend()
    other = assignment.take({(FIRST, 0): PartitionOffsets(5, "1|other.7|", 0, 9)}).partitions[0]
    assert other is not partition
    assert partition.is_lost


def test_partition_that_does_not_return_is_dropped(assignment: Assignment) -> None:
    """Jobs of a partition that another process owns now are dropped."""
    partition = assignment.take({(FIRST, 0): PartitionOffsets(5, "", 0, 9)}).partitions[0]
    assignment.suspend()
    assignment.take({})
    assert partition.is_lost
    assert assignment.partitions == {}


def test_own_position_is_recognised_by_its_serial() -> None:
    """Two commits of the same offset differ by the serial of their transaction."""
    progress = Progress(Position(5, ""))
    assert progress.position("me.1") != progress.position("me.2")
