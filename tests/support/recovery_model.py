"""Parts of the recovery model: a broker with a consumer group, and delivery processes without I/O."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import cast

from confluent_kafka import TopicPartition

from consumers.delivery.delay_topics import DelayTopics
from consumers.delivery.partitions.assignment import Assignment
from consumers.delivery.partitions.committer import Committer
from consumers.delivery.partitions.outbox import Outbox
from consumers.delivery.partitions.partition_state import PartitionState
from consumers.delivery.partitions.progress import Position
from consumers.kafka.outgoing_record import OutgoingRecord
from consumers.kafka.positions import PartitionKey, PartitionOffsets
from consumers.kafka.transactions import Settled, Transactions
from consumers.service.metrics import DeliveryMetrics
from schemas.records.topics import TopicNames

FIRST, LATER = "t.jobs.0s", "t.jobs.5s"
KEYS: list[PartitionKey] = [(topic, number) for topic in (FIRST, LATER) for number in (0, 1)]


@dataclass
class Group:
    """State of the broker: logs, committed positions, the generation, and the jobs ended by committed transactions."""

    generation: int = 0
    records: dict[PartitionKey, list[int]] = field(default_factory=lambda: {key: [] for key in KEYS})
    log_end: dict[PartitionKey, int] = field(default_factory=lambda: dict.fromkeys(KEYS, 0))
    committed: dict[PartitionKey, Position] = field(
        default_factory=lambda: {key: Position(0, "") for key in KEYS if key[0] == FIRST}
    )
    ended: Counter[tuple[PartitionKey, int]] = field(default_factory=Counter)

    def open_records(self, key: PartitionKey) -> list[int]:
        return [offset for offset in self.records[key] if not self.ended[key, offset]]

    def found(self, key: PartitionKey) -> PartitionOffsets:
        position = self.committed.get(key)
        if position is None:
            return PartitionOffsets(None, "", 0, self.log_end[key])
        return PartitionOffsets(position.offset, position.metadata, 0, self.log_end[key])


@dataclass
class Transaction:
    """One transaction at the broker. `accepted`: its offsets came with the current generation."""

    generation: int
    records: list[tuple[PartitionKey, int]]
    positions: dict[PartitionKey, Position]
    accepted: bool | None = None
    committed: bool | None = None


class Producer:
    """The part of `Transactions` that `Committer` uses. The rules of the model end its transactions."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.open: Transaction | None = None
        self.begun: list[tuple[int, dict[PartitionKey, Position]]] = []

    @property
    def busy(self) -> bool:
        return self.open is not None

    def begin(self, records: list[OutgoingRecord], offsets: list[TopicPartition], generation: int, serial: str) -> None:
        assert self.open is None
        positions = {(one.topic, one.partition): Position(one.offset, one.metadata or "") for one in offsets}
        ended = [_place(record.value or b"") for record in records]
        assert {key for key, _ in ended} <= positions.keys(), "records without the position of their partition"
        assert len({f"{serial}|" in position.metadata for position in positions.values()}) == 1
        self.open = Transaction(generation, ended, positions)
        self.begun.append((generation, positions))

    def poll(self, wait_s: float = 0.0) -> Settled | None:
        if self.open is None or self.open.committed is None:
            return None
        ended = self.open
        self.open = None
        return Settled(bool(ended.committed), 0.0)


def _place(value: bytes) -> tuple[PartitionKey, int]:
    topic, partition, offset = value.decode().split("/")
    return (topic, int(partition)), int(offset)


class Process:
    """One life of a delivery process: its loop, reader and scheduler, without I/O."""

    def __init__(self, group: Group, name: str) -> None:
        self.group = group
        self.assignment = Assignment(DelayTopics(TopicNames("t."), [timedelta(0), timedelta(seconds=5)], 1))
        self.outbox = Outbox(name)
        self.producer = Producer(group)
        self.committer = Committer(
            self.outbox, cast("Transactions", self.producer), max_uncommitted=1_000, metrics=DeliveryMetrics({}, 1)
        )
        self.buffered: list[tuple[PartitionState, int]] = []
        self.finished: set[tuple[PartitionState, int]] = set()
        self.generation = -1
        self.recovering: list[PartitionKey] | None = None
        self.now_ms = 0

    def read(self) -> None:
        for key, partition in self.assignment.partitions.items():
            for offset in self.group.records[key]:
                if offset < partition.progress.next_offset:
                    continue
                if partition.take(offset):
                    self.buffered.append((partition, offset))
                else:
                    self.outbox.touch(partition)

    def finish(self, index: int) -> None:
        partition, offset = self.buffered.pop(index % len(self.buffered))
        assert not partition.is_lost
        value = f"{partition.topic}/{partition.number}/{offset}".encode()
        self.outbox.complete(partition, offset, [OutgoingRecord("t.outcomes", -1, b"key", value)])
        self.finished.add((partition, offset))

    def commit(self) -> None:
        if self.assignment.partitions:
            self.committer.commit(self.now_ms, self.generation, at_once=True)

    def revoked(self) -> None:
        self.recovering = None
        self.assignment.suspend()

    def assigned(self, generation: int, keys: list[PartitionKey]) -> None:
        self.generation = generation
        self.recovering = self.assignment.owned(keys)

    def recover(self) -> None:
        assert self.recovering is not None
        keys = self.recovering
        self.recovering = None
        self.assignment.take({key: self.group.found(key) for key in keys})
        self.outbox.prune()
        self.buffered = [(partition, offset) for partition, offset in self.buffered if not partition.is_lost]
        for partition in self.assignment.partitions.values():
            if (partition.topic, partition.number) not in self.group.committed:
                self.outbox.touch(partition)

    def uncommitted(self) -> int:
        """Return how many finished jobs this process still has to commit."""
        return sum(
            not partition.is_lost and not self.group.ended[(partition.topic, partition.number), offset]
            for partition, offset in self.finished
        )
