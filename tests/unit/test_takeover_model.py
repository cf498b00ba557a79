"""Two delivery processes and a broker, as a model: whatever happens in whatever order, every record ends once.

The model is plain: a log with markers in it, the set of offsets whose ends are committed, and a group with one position
per partition. `Assignment`, `Progress`, `Outbox` and `Committer` are the real ones.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import cast

from confluent_kafka import TopicPartition
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consumers.delivery.assignment import Assignment
from consumers.delivery.committer import Committer
from consumers.delivery.lane import Lane
from consumers.delivery.outbox import Outbox, Row
from consumers.delivery.progress import Position, Progress
from consumers.delivery.tiers import Tiers
from consumers.runtime.positions import Found, PartitionKey
from consumers.runtime.transaction import Settled, Transactions
from schemas.topics import TopicNames

FIRST, LATER = "t.jobs.0s", "t.jobs.5s"
KEYS: list[PartitionKey] = [(topic, number) for topic in (FIRST, LATER) for number in (0, 1)]
PROCESSES = st.sampled_from([0, 1])
OWNERS = st.lists(PROCESSES, min_size=2, max_size=2)  # of partition 0 and of partition 1
QUIET = st.integers(0, 8)  # steps of work before partitions move again


@dataclass
class Group:
    """What the broker has: logs, committed positions, the generation, and ends by committed transactions."""

    generation: int = 0
    records: dict[PartitionKey, list[int]] = field(default_factory=lambda: {key: [] for key in KEYS})
    log_end: dict[PartitionKey, int] = field(default_factory=lambda: dict.fromkeys(KEYS, 0))
    committed: dict[PartitionKey, Position] = field(
        default_factory=lambda: {key: Position(0, "") for key in KEYS if key[0] == FIRST}
    )
    ended: Counter[tuple[PartitionKey, int]] = field(default_factory=Counter)

    def open_records(self, key: PartitionKey) -> list[int]:
        return [offset for offset in self.records[key] if not self.ended[key, offset]]

    def found(self, key: PartitionKey) -> Found:
        position = self.committed.get(key)
        if position is None:
            return Found(None, "", 0, self.log_end[key])
        return Found(position.offset, position.metadata, 0, self.log_end[key])


@dataclass
class Transaction:
    """One transaction as the broker sees it: `accepted` once its offsets have come in with a current generation."""

    generation: int
    rows: list[tuple[PartitionKey, int]]
    positions: dict[PartitionKey, Position]
    accepted: bool | None = None
    committed: bool | None = None


class Producer:
    """What `Committer` asks of `Transactions`; the rules of the model decide how its transaction ends."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.open: Transaction | None = None
        self.begun: list[tuple[int, dict[PartitionKey, Position]]] = []

    @property
    def busy(self) -> bool:
        return self.open is not None

    def begin(self, rows: object, offsets: list[TopicPartition], generation: int, serial: str) -> None:
        assert self.open is None
        positions = {(one.topic, one.partition): Position(one.offset, one.metadata or "") for one in offsets}
        ended = [_place(row[3]) for row in cast("list[Row]", rows)]
        assert {key for key, _ in ended} <= positions.keys(), "rows without the offsets that they end"
        assert len({f"{serial}|" in position.metadata for position in positions.values()}) == 1
        self.open = Transaction(generation, ended, positions)
        self.begun.append((generation, positions))

    def poll(self, wait_s: float = 0.0) -> Settled | None:
        if self.open is None or self.open.committed is None:
            return None
        ended, self.open = self.open, None
        return Settled(bool(ended.committed), 0.0)


def _place(value: bytes) -> tuple[PartitionKey, int]:
    topic, partition, offset = value.decode().split("/")
    return (topic, int(partition)), int(offset)


class Process:
    """One life of a delivery process: what its loop, reader and dispatcher do, without I/O."""

    def __init__(self, group: Group, name: str) -> None:
        self.group = group
        self.assignment = Assignment(Tiers(TopicNames("t."), [timedelta(0), timedelta(seconds=5)], 1))
        self.outbox = Outbox(name)
        self.producer = Producer(group)
        self.committer = Committer(
            self.outbox, cast("Transactions", self.producer), max_uncommitted=1_000, observer=_Silent()
        )
        self.at_hand: list[tuple[Lane, int]] = []
        self.answered: set[tuple[Lane, int]] = set()
        self.generation = -1
        self.taking: list[PartitionKey] | None = None
        self.now_ms = 0

    def read(self) -> None:
        for key, lane in self.assignment.lanes.items():
            for offset in self.group.records[key]:
                if offset < lane.progress.next_offset:
                    continue
                if lane.take(offset):
                    self.at_hand.append((lane, offset))
                else:
                    self.outbox.touch(lane)

    def answer(self, index: int) -> None:
        lane, offset = self.at_hand.pop(index % len(self.at_hand))
        assert not lane.is_lost
        value = f"{lane.topic}/{lane.partition}/{offset}".encode()
        self.outbox.add(Row("t.outcomes", -1, b"key", value, lane))
        self.outbox.finish(lane, offset)
        self.answered.add((lane, offset))

    def commit(self) -> None:
        if self.assignment.lanes:
            self.committer.commit(self.now_ms, self.generation, at_once=True)

    def revoked(self) -> None:
        self.taking = None
        self.assignment.suspend()

    def assigned(self, generation: int, keys: list[PartitionKey]) -> None:
        self.generation = generation
        self.taking = self.assignment.owned(keys)

    def take_over(self) -> None:
        assert self.taking is not None
        keys, self.taking = self.taking, None
        self.assignment.take({key: self.group.found(key) for key in keys})
        self.outbox.prune()
        self.at_hand = [(lane, offset) for lane, offset in self.at_hand if not lane.is_lost]
        for lane in self.assignment.lanes.values():
            if (lane.topic, lane.partition) not in self.group.committed:
                self.outbox.touch(lane)

    def uncommitted(self) -> int:
        """Answers that are not in a committed transaction and that this process still has to write."""
        return sum(
            not lane.is_lost and not self.group.ended[(lane.topic, lane.partition), offset]
            for lane, offset in self.answered
        )


class _Silent:
    def settled(self, settled: Settled) -> None:
        """Nobody listens."""


class TakeoverModel(RuleBasedStateMachine):
    """Rules are what may happen next; invariants hold between any two of them."""

    @initialize()
    def begin(self) -> None:
        self.group = Group()
        self.lives = 0
        self.processes = [self._process(), self._process()]
        self.member = [True, True]  # whether the process knows of the present generation
        for key in KEYS:
            self.append(key, [True, False, True, True, True])
        self._rebalance([0, 1])
        self.quiet_steps = 4

    def _process(self) -> Process:
        self.lives += 1
        return Process(self.group, f"0-{self.lives}")

    @precondition(lambda self: self.quiet_steps <= 2)
    @rule(key=st.sampled_from(KEYS), records=st.lists(st.booleans(), min_size=1, max_size=4))
    def append(self, key: PartitionKey, records: list[bool]) -> None:
        """Records come, and markers (False), which no consumer sees."""
        for is_record in records:
            if is_record:
                self.group.records[key].append(self.group.log_end[key])
            self.group.log_end[key] += 1

    @rule(
        process=PROCESSES,
        answers=st.lists(st.integers(0, 20), max_size=4),
        commits=st.sampled_from([True, True, False]),
        steps=st.integers(0, 3),
        aborts=st.sampled_from([False, False, False, True]),
    )
    def work(self, process: int, answers: list[int], commits: bool, steps: int, aborts: bool) -> None:
        """Read, and take answers in any order, also for partitions that were revoked and may come back."""
        self.quiet_steps -= 1
        one = self.processes[process]
        if self._may_take(one):
            one.take_over()
        one.read()
        for index in answers:
            if one.at_hand:
                one.answer(index)
        if commits:
            one.commit()
        for _ in range(steps):
            self._go_on(one, aborts)

    def _go_on(self, process: Process, aborts: bool) -> None:
        """The transaction under way goes on: its offsets come in, it ends, and the process hears how it ended."""
        open_ = process.producer.open
        if open_ is None:
            return
        if open_.accepted is None:  # the broker takes offsets of its present generation only
            open_.accepted = open_.generation == self.group.generation
        elif open_.committed is None:
            open_.committed = open_.accepted and not aborts
            if open_.committed:
                self.group.committed |= open_.positions
                self.group.ended.update(open_.rows)
        else:
            process.committer.collect(process.now_ms)

    @precondition(lambda self: self.quiet_steps <= 0)
    @rule(owners=OWNERS, unaware=st.sampled_from([None, None, 0, 1]), quiet=QUIET)
    def rebalance(self, owners: list[int], unaware: int | None, quiet: int) -> None:
        """Partitions move; a process that stands still does not hear of it, and has none of them."""
        if unaware is not None:
            owners = [1 - unaware] * 2
        self._rebalance(owners, unaware)
        self.quiet_steps = quiet

    @precondition(lambda self: self.quiet_steps <= 0)
    @rule(process=PROCESSES, owners=OWNERS, quiet=QUIET)
    def crash(self, process: int, owners: list[int], quiet: int) -> None:
        """It is killed and started again: its open transaction is aborted first, and all it knew is forgotten."""
        open_ = self.processes[process].producer.open
        if open_ is not None and open_.committed is None:
            open_.committed = False
        self.processes[process] = self._process()
        self._rebalance(owners)
        self.quiet_steps = quiet

    def _rebalance(self, owners: list[int], unaware: int | None = None) -> None:
        self.group.generation += 1
        for number, process in enumerate(self.processes):
            self.member[number] = number != unaware
            if number == unaware:
                continue
            process.revoked()
            process.assigned(self.group.generation, [key for key in KEYS if owners[key[1]] == number])

    def _may_take(self, process: Process) -> bool:
        """Positions are known only when no transaction's offsets are pending for them (KIP-447)."""
        if process.taking is None or process.committer.busy:
            return False
        pending = [other.producer.open for other in self.processes]
        return not any(
            one is not None and one.accepted and one.committed is None and one.positions.keys() & set(process.taking)
            for one in pending
        )

    @precondition(lambda self: self.quiet_steps <= 0 and not all(self.member))
    @rule()
    def hear_of_it(self) -> None:
        """Whoever stood still hears that its partitions are lost, and joins again: one more rebalance."""
        for number, is_member in enumerate(self.member):
            if not is_member:
                self.processes[number].revoked()
        self._rebalance([0, 1])

    @invariant()
    def a_restart_repeats_exactly_the_unfinished(self) -> None:
        """No position is past an unfinished offset, and none lists as unfinished what has ended."""
        for key in KEYS:
            position = self.group.committed.get(key, Position(0, ""))
            fresh = Progress(position, log_end=self.group.log_end[key])
            again = [at for at in self.group.records[key] if at >= fresh.next_offset and fresh.read(at)]
            assert again == self.group.open_records(key)

    @invariant()
    def every_record_ends_once(self) -> None:
        """Its end is committed by one transaction at most."""
        assert max(self.group.ended.values(), default=0) <= 1

    @invariant()
    def nothing_of_a_lost_partition_is_committed(self) -> None:
        """A batch has the generation in which its partitions were assigned, and only what is ours."""
        for process in self.processes:
            for generation, positions in process.producer.begun[-1:]:
                open_ = process.producer.open
                if open_ is not None and generation == process.generation and process.taking is None:
                    lanes = process.assignment.lanes
                    assert not lanes or positions.keys() <= lanes.keys()

    @invariant()
    def what_is_uncommitted_is_known(self) -> None:
        """The bound of repeats counts every answer that is not committed."""
        for process in self.processes:
            assert process.outbox.uncommitted >= process.uncommitted()

    def teardown(self) -> None:
        """In the end, left in peace, the processes bring every record to its end."""
        if not hasattr(self, "group"):
            return
        for number in (0, 1):
            self.work(number, [], commits=False, steps=3, aborts=False)
        for number, is_member in enumerate(self.member):
            if not is_member:
                self.processes[number].revoked()
        self._rebalance([0, 1])
        for _ in range(2):
            for number, process in enumerate(self.processes):
                self.work(number, [], commits=False, steps=0, aborts=False)
                self.work(number, [0] * len(process.at_hand), commits=True, steps=3, aborts=False)
        assert all(not self.group.open_records(key) for key in KEYS)
        for process in self.processes:
            assert process.committer.idle
            assert process.outbox.uncommitted == 0
            assert not process.committer.is_overdue(process.now_ms + 60_000), "it would never start anything again"
        self.every_record_ends_once()
        self.a_restart_repeats_exactly_the_unfinished()


TestTakeover = TakeoverModel.TestCase
TestTakeover.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
