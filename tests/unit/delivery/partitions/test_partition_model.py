"""Delay topics against a model: what is read, paused, resumed and finished.

`Reader`, `PartitionState`, `DelayTopics`, `Assignment`, `Outbox` and `Progress` are the real ones; the consumer is a
model.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from types import SimpleNamespace
from typing import cast

import pytest
import structlog
from confluent_kafka import Consumer, Message
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consumers.delivery.delay_topics import DelayTopics
from consumers.delivery.partitions.assignment import Assignment
from consumers.delivery.partitions.committer import Committer
from consumers.delivery.partitions.outbox import Outbox
from consumers.delivery.partitions.partition_state import PartitionState
from consumers.delivery.partitions.progress import MAX_METADATA, MAX_SPAN, Position, Progress
from consumers.delivery.partitions.reader import Reader
from consumers.delivery.partitions.recovery import PartitionRecovery, RecoveredState
from consumers.kafka.positions import PartitionKey, PartitionOffsets
from schemas.records.topics import TopicNames
from tests.support.log_model import Log, LogConsumer, at_once

pytestmark = pytest.mark.promise(1, 3)

DELAY_TOPICS = DelayTopics(TopicNames("t."), [timedelta(seconds=seconds) for seconds in (0, 5, 300)], 1)
KEYS: list[PartitionKey] = [(delay_topic.topic, number) for delay_topic in DELAY_TOPICS.all for number in (0, 1)]
WAITS_MS = dict(zip(KEYS, (0, 0, 5_000, 5_000, 300_000, 300_000), strict=True))
LATE = 10_000_000_000  # in ms: all records are due by then


@pytest.fixture(autouse=True)
def threads_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.kafka.positions.in_thread", at_once)
    quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=quiet)  # thousands of recoveries, whose log lines take longer than the recoveries


class Life:
    """One life of a process: the jobs that it read, and those that have ended."""

    def __init__(self, model: PartitionModel, name: str) -> None:
        self.model = model
        self.outbox = Outbox(name)
        self.consumer = LogConsumer(model.logs)
        self.assignment = Assignment(DELAY_TOPICS)
        self.reader = Reader(
            consumer=cast("Consumer", self.consumer),
            recovery=cast("PartitionRecovery", self),
            assignment=self.assignment,
            outbox=self.outbox,
            committer=cast("Committer", SimpleNamespace(settle=lambda _clock, _metadata: self.commit())),
            clock=lambda: model.now_ms,
        )
        self.topics: frozenset[str] = frozenset()
        self.taken: dict[PartitionState, list[int]] = {}
        self.buffered: list[tuple[PartitionState, int]] = []
        self.reader.subscribe("")
        self.assigned()

    def fetch(self, keys: list[PartitionKey]) -> RecoveredState:
        found = {}
        for key in keys:
            position = self.model.committed.get(key)
            end = self.model.logs[key].end
            offset, metadata = (position.offset, position.metadata) if position else (None, "")
            found[key] = PartitionOffsets(offset, metadata, 0, end)
        return RecoveredState(found, {0: {}, 1: {}})

    def assigned(self) -> None:
        self.consumer.callbacks["on_assign"](self.consumer, [_Place(*key) for key in KEYS])
        while self.reader.recover() is None:
            pass
        self.buffered = [(partition, offset) for partition, offset in self.buffered if not partition.is_lost]

    def read(self, limit: int) -> None:
        for partition, message in self.reader.read(0.0, limit):
            self._take(partition, message)

    def _take(self, partition: PartitionState, message: Message) -> None:
        """Assert that a job was returned when due, in the order of its partition, and had not ended."""
        offset, key = cast("int", message.offset()), (partition.topic, partition.number)
        assert self.model.logs[key].records[offset] + WAITS_MS[key] <= self.model.now_ms, "early"
        here = self.taken.setdefault(partition, [])
        assert not here or here[-1] < offset, "not in the order of the partition, or twice"
        assert offset not in self.model.ended[key], "it has ended"
        here.append(offset)
        self.buffered.append((partition, offset))

    def commit(self) -> None:
        if self.outbox.pending:
            batch = self.outbox.close_batch()
            for partition, position in batch.positions.items():
                key = (partition.topic, partition.number)
                self.model.committed[key] = position
                open_ = {offset for owner, offset in self.buffered if owner is partition}
                self.model.ended[key] |= set(self.taken.get(partition, ())) - open_
            self.outbox.committed(batch)


class _Place:
    def __init__(self, topic: str, partition: int) -> None:
        self.topic, self.partition = topic, partition


class PartitionModel(RuleBasedStateMachine):
    """The logs of three delay topics, one process at a time, and a clock."""

    @initialize()
    def begin(self) -> None:
        self.now_ms = 1_700_000_000_000
        self.logs = {key: Log() for key in KEYS}
        self.ended: dict[PartitionKey, set[int]] = {key: set() for key in KEYS}  # and are committed
        self.committed = {key: Position(0, "") for key in KEYS if key[0] == DELAY_TOPICS.first.topic}
        self.lives = 1
        self.life = Life(self, "life-1")

    @rule(key=st.sampled_from(KEYS), gaps=st.lists(st.sampled_from([0, 0, 1, 40, MAX_SPAN]), min_size=1, max_size=5))
    def append(self, key: PartitionKey, gaps: list[int]) -> None:
        """Append records after gaps (markers, compacted records). The span may be too long for the metadata."""
        for gap in gaps:
            self.logs[key].append(gap, self.now_ms)

    @rule(ms=st.sampled_from([1, 100, 499, 600, 4_000, 5_000, 300_000]))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms

    @rule(early_ms=st.sampled_from([0, 1, 60]))
    def something_is_nearly_due(self, early_ms: int) -> None:
        """Move the clock to the due time of a record, or just before it."""
        dues = [ms + WAITS_MS[key] - early_ms for key, log in self.logs.items() for ms in log.records.values()]
        self.now_ms = min((ms for ms in dues if ms > self.now_ms), default=self.now_ms)

    @rule(limit=st.sampled_from([1, 2, 3, 256]))
    def turn(self, limit: int) -> None:
        """Run a turn of the loop. A partition that is full after reading is paused."""
        before = {partition: partition.progress.next_offset for partition in self.life.assignment.partitions.values()}
        self.life.reader.wake(self.now_ms)
        self.life.read(limit)
        for partition, end in before.items():
            assert partition.paused_full or not partition.progress.full or end == partition.progress.next_offset

    @precondition(lambda self: self.life.buffered)
    @rule(which=st.lists(st.integers(0, 100), min_size=1, max_size=6))
    def jobs_end(self, which: list[int]) -> None:
        """Let jobs end in any order."""
        for number in which:
            if self.life.buffered:
                partition, offset = self.life.buffered.pop(number % len(self.life.buffered))
                self.life.outbox.complete(partition, offset, [])

    @rule()
    def commit(self) -> None:
        self.life.commit()

    @rule(others=st.sets(st.sampled_from(KEYS), max_size=2))
    def partitions_move_and_come_back(self, others: set[PartitionKey]) -> None:
        """Rebalance. The state in memory is dropped where another process has committed meanwhile."""
        self.life.consumer.callbacks["on_revoke"](self.life.consumer, [])
        for key in others & self.committed.keys():
            was = self.committed[key]
            parts = was.metadata.split("|")
            self.committed[key] = Position(was.offset, "|".join([parts[0], "other.1", parts[2]]) if parts[2:] else "")
        self.life.assigned()

    @rule()
    def killed_and_started_again(self) -> None:
        self.lives += 1
        self.life = Life(self, f"life-{self.lives}")

    @invariant()
    def nothing_is_left_out(self) -> None:
        """Every record below the position is in memory or has ended."""
        for key, partition in self.life.assignment.partitions.items():
            past = {at for at in self.logs[key].records if at < partition.progress.next_offset}
            assert past <= self.ended[key] | set(self.life.taken.get(partition, ()))

    @invariant()
    def waiting_partitions_are_paused_and_will_be_resumed(self) -> None:
        """A partition is paused only while its head is not due or too much is unfinished."""
        reader = self.life.reader
        for key, partition in self.life.assignment.partitions.items():
            assert partition.paused == (key in self.life.consumer.paused)
            if partition.resume_at_ms is not None:
                head = min(at for at in self.logs[key].records if at >= partition.progress.next_offset)
                due_ms = self.logs[key].records[head] + WAITS_MS[key]
                late_ms = max(500, WAITS_MS[key] // 100)
                assert partition.resume_at_ms == max(
                    due_ms, partition.last_resume_ms + late_ms
                )  # late only by the minimum interval of resumes
                assert reader.next_wake_ms is not None
                assert reader.next_wake_ms <= partition.resume_at_ms

    @invariant()
    def what_is_unfinished_fits_into_a_position(self) -> None:
        """Another batch never makes the metadata longer than the broker accepts."""
        for partition in self.life.assignment.partitions.values():
            assert len(partition.progress.position("life-10.1000000").metadata) <= MAX_METADATA

    @invariant()
    def the_oldest_that_waits_is_known(self) -> None:
        """The oldest due job is the lowest unfinished one, or else the head that the partition waits for."""
        for key, partition in self.life.assignment.partitions.items():
            open_ = [offset for owner, offset in self.life.buffered if owner is partition]
            oldest = partition.oldest_due_ms()
            if open_:
                assert oldest == self.logs[key].records[min(open_)] + WAITS_MS[key]
            else:
                assert (oldest is not None) == (partition.resume_at_ms is not None)

    def teardown(self) -> None:
        """In the end every record is returned once it is due, and ends. A new process reads no job again."""
        if not hasattr(self, "life"):
            return
        self.now_ms += LATE
        for _ in range(200):
            self.turn(256)
            self.jobs_end([0] * len(self.life.buffered))
            if all(set(self.logs[key].records) <= set(self._read(key)) for key in KEYS):
                break
        self.commit()
        assert all(self.ended[key] == set(self.logs[key].records) for key in KEYS)
        self.killed_and_started_again()
        for _ in range(3):
            self.turn(256)
        assert not self.life.buffered

    def _read(self, key: PartitionKey) -> set[int]:
        partition = self.life.assignment.partitions[key]
        return {at for at in self.logs[key].records if at < partition.progress.next_offset}


TestPartitionModel = PartitionModel.TestCase
TestPartitionModel.settings = settings(max_examples=60, stateful_step_count=50, derandomize=True)


def test_resumes_of_a_partition_have_a_minimum_interval() -> None:
    """Each resume costs a fetch. Heads that become due one after the other are read together, late by the interval."""
    for delay_topic, apart_ms in zip(DELAY_TOPICS.all[1:], (500, 3_000), strict=True):
        start = Position(0, "")
        partition = PartitionState(delay_topic, 0, start, Progress(start))
        due_ms = 1_000_000 + delay_topic.wait_ms
        assert partition.wait_for_head(1_000_000, 1_000_001)
        assert partition.resume_at_ms == due_ms
        partition.resumed(due_ms)
        assert partition.wait_for_head(1_000_100, due_ms)
        assert partition.resume_at_ms == due_ms + apart_ms
