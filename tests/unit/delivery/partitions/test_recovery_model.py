"""Two delivery processes and a broker, as a model: every record ends once, in any order of events.

The model has a log with markers, the set of offsets whose ends are committed, and a group with one position for each
partition. `Assignment`, `Progress`, `Outbox` and `Committer` are the real ones.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consumers.delivery.partitions.progress import Position, Progress
from consumers.kafka.positions import PartitionKey
from tests.support.recovery_model import KEYS, Group, Process

pytestmark = pytest.mark.promise(1, 2)

PROCESSES = st.sampled_from([0, 1])
OWNERS = st.lists(PROCESSES, min_size=2, max_size=2)  # of partition 0 and of partition 1
QUIET = st.integers(0, 8)  # steps of work before partitions move again


class RecoveryModel(RuleBasedStateMachine):
    """Rules are the events; invariants hold between any two of them."""

    @initialize()
    def begin(self) -> None:
        self.group = Group()
        self.lives = 0
        self.processes = [self._process(), self._process()]
        self.member = [True, True]  # whether the process is in the current generation
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
        """Append records, and markers (False), which no consumer returns."""
        for is_record in records:
            if is_record:
                self.group.records[key].append(self.group.log_end[key])
            self.group.log_end[key] += 1

    @rule(
        process=PROCESSES,
        results=st.lists(st.integers(0, 20), max_size=4),
        commits=st.sampled_from([True, True, False]),
        steps=st.integers(0, 3),
        aborts=st.sampled_from([False, False, False, True]),
    )
    def work(self, process: int, results: list[int], commits: bool, steps: int, aborts: bool) -> None:
        """Read, and finish jobs in any order, also of partitions that were revoked and may return."""
        self.quiet_steps -= 1
        one = self.processes[process]
        if self._may_take(one):
            one.recover()
        one.read()
        for index in results:
            if one.buffered:
                one.finish(index)
        if commits:
            one.commit()
        for _ in range(steps):
            self._advance(one, aborts)

    def _advance(self, process: Process, aborts: bool) -> None:
        """Advance the transaction under way: the broker gets its offsets, it ends, the process gets its result."""
        open_ = process.producer.open
        if open_ is None:
            return
        if open_.accepted is None:  # the broker accepts offsets of the current generation only
            open_.accepted = open_.generation == self.group.generation
        elif open_.committed is None:
            open_.committed = open_.accepted and not aborts
            if open_.committed:
                self.group.committed |= open_.positions
                self.group.ended.update(open_.records)
        else:
            process.committer.collect(process.now_ms)

    @precondition(lambda self: self.quiet_steps <= 0)
    @rule(owners=OWNERS, unaware=st.sampled_from([None, None, 0, 1]), quiet=QUIET)
    def rebalance(self, owners: list[int], unaware: int | None, quiet: int) -> None:
        """Rebalance. A stalled process does not notice, and gets no partitions."""
        if unaware is not None:
            owners = [1 - unaware] * 2
        self._rebalance(owners, unaware)
        self.quiet_steps = quiet

    @precondition(lambda self: self.quiet_steps <= 0)
    @rule(process=PROCESSES, owners=OWNERS, quiet=QUIET)
    def crash(self, process: int, owners: list[int], quiet: int) -> None:
        """Kill and restart a process: its open transaction is aborted first, and its state in memory is lost."""
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
        """Positions can be fetched only while no transaction has pending offsets for them (KIP-447)."""
        if process.recovering is None or process.committer.busy:
            return False
        pending = [other.producer.open for other in self.processes]
        return not any(
            one is not None
            and one.accepted
            and one.committed is None
            and one.positions.keys() & set(process.recovering)
            for one in pending
        )

    @precondition(lambda self: self.quiet_steps <= 0 and not all(self.member))
    @rule()
    def stalled_process_joins_again(self) -> None:
        """A stalled process notices that it lost its partitions, and joins again: another rebalance."""
        for number, is_member in enumerate(self.member):
            if not is_member:
                self.processes[number].revoked()
        self._rebalance([0, 1])

    @invariant()
    def a_restart_repeats_exactly_the_unfinished(self) -> None:
        """No position is beyond an unfinished offset, and none lists an ended job as unfinished."""
        for key in KEYS:
            position = self.group.committed.get(key, Position(0, ""))
            fresh = Progress(position, log_end=self.group.log_end[key])
            again = [at for at in self.group.records[key] if at >= fresh.next_offset and fresh.read(at)]
            assert again == self.group.open_records(key)

    @invariant()
    def every_record_ends_once(self) -> None:
        """At most one transaction commits the end of a record."""
        assert max(self.group.ended.values(), default=0) <= 1

    @invariant()
    def nothing_of_a_lost_partition_is_committed(self) -> None:
        """A batch has the generation in which its partitions were assigned, and only owned partitions."""
        for process in self.processes:
            for generation, positions in process.producer.begun[-1:]:
                open_ = process.producer.open
                if open_ is not None and generation == process.generation and process.recovering is None:
                    partitions = process.assignment.partitions
                    assert not partitions or positions.keys() <= partitions.keys()

    @invariant()
    def what_is_uncommitted_is_known(self) -> None:
        """The limit of repeats counts every result that is not committed."""
        for process in self.processes:
            assert process.outbox.uncommitted >= process.uncommitted()

    def teardown(self) -> None:
        """In the end the processes end every record."""
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
                self.work(number, [0] * len(process.buffered), commits=True, steps=3, aborts=False)
        assert all(not self.group.open_records(key) for key in KEYS)
        for process in self.processes:
            assert process.committer.idle
            assert process.outbox.uncommitted == 0
            assert not process.committer.is_overdue(process.now_ms + 60_000), "it would never start anything again"
        self.every_record_ends_once()
        self.a_restart_repeats_exactly_the_unfinished()


TestTakeover = RecoveryModel.TestCase
TestTakeover.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
