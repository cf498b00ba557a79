"""Positions that routers read from and commit, for any sequence of changes to their group, topics and sources.

The reference is what was appended, the first offset to route of each partition, and the state of the broker.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest
import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consumers.kafka.position_plan import PositionTarget, plan_changes
from consumers.kafka.positions import PartitionKey
from consumers.router.source_recovery import StartAt
from schemas.catalog.errors import Unavailable
from tests.support.log_model import Log, at_once
from tests.support.router_group import Routers
from tests.support.router_model import MAX_UNCOMMITTED, Broker, GroupConsumer, first_since

pytestmark = pytest.mark.promise(1)

TOPICS = st.sampled_from(["a", "b"])
NUMBERS = st.sampled_from([0, 1])  # of processes
PART = st.integers(0, 20)  # one of the partitions
QUIET = st.integers(0, 5)


@pytest.fixture(autouse=True)
def group_without_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.kafka.positions.in_thread", at_once)
    monkeypatch.setattr("consumers.router.source_positions.in_thread", at_once)
    monkeypatch.setattr("consumers.router.source.in_thread", at_once)
    monkeypatch.setattr("consumers.router.source.Consumer", GroupConsumer)
    quiet = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=quiet)  # thousands of recoveries: logging takes longer than they do


class PositionsModel(Routers, RuleBasedStateMachine):
    """Two routers on two sources lose no event and repeat a bounded number, through any changes."""

    @initialize(
        start_at=st.sampled_from(["now", "earliest", datetime.fromtimestamp(1_030, UTC)]),
        events=st.lists(TOPICS, max_size=3),
        settled=st.booleans(),
    )
    def begin(self, start_at: StartAt, events: list[str], settled: bool) -> None:
        self.start_with(Broker(logs={("a", 0): Log(), ("a", 1): Log(), ("b", 0): Log()}), start_at)
        for topic in events:
            self.broker.logs[topic, 0].append(0, self.broker.now_ms)
        self.due: dict[PartitionKey, int] = {}  # the first offset to route of a partition, once known
        self.skipped: set[tuple[PartitionKey, int]] = set()  # records that a change of a position skipped
        self.quiet = 0  # minimum number of turns until the next change of the group
        self.deleted: set[PartitionKey] = set()  # recorded positions that were deleted
        self.start(0)
        self.start(1)
        self.rebalance()
        for number in (0, 1, 0, 1) if settled else ():
            self.turns(number, 20, 0, True, 0.0)

    # Topics.

    @rule(part=PART, count=st.integers(1, 4), gap=st.sampled_from([0, 0, 1]))
    def events_arrive(self, part: int, count: int, gap: int) -> None:
        """If a log has lost its end, new records replace routed ones and cannot be distinguished from them."""
        key = self.key(part)
        log = self.broker.logs[key]
        for _ in range(count):
            log.append(gap, self.broker.now_ms)
            if log.end <= self.broker.committed.get(key, 0):
                self.skipped.add((key, log.end - 1))

    @rule(part=PART, count=st.integers(1, 5))
    def retention_deletes(self, part: int, count: int) -> None:
        """Retention also deletes records that a router has not read."""
        log = self.broker.logs[self.key(part)]
        log.begin = min(log.begin + count, log.end)

    @precondition(lambda self: len(self.broker.logs) < 6)
    @rule(topic=TOPICS, noticed=st.booleans())
    def partition_is_added(self, topic: str, noticed: bool) -> None:
        """The group notices at once or later."""
        self.broker.logs[topic, len(self.broker.keys([topic]))] = Log()
        if noticed and self.quiet <= 0:
            self.rebalance()

    @precondition(lambda self: self.quiet <= 0 or self.broker.away)
    @rule(away=st.sampled_from([False, False, True]))
    def broker_responds_or_fails(self, away: bool) -> None:
        self.broker.away = away

    # Processes.

    @rule(
        number=NUMBERS,
        turns=st.sampled_from([1, 2, 5, 20, 20]),
        events=st.integers(0, 4),
        arrive=st.booleans(),
        after_s=st.sampled_from([0.05, 0.05, 1.0, 61.0, 3_601.0]),
    )
    def turns(self, number: int, turns: int, events: int, arrive: bool, after_s: float) -> None:
        """Run turns of a router's loop; its commits arrive meanwhile, or later."""
        self.quiet -= 1
        self.broker.now_s += after_s
        for _ in range(turns):
            self._turn(number, events)
            self.broker.now_s += 0.05
            if arrive:
                self.commits_arrive(number)

    def _turn(self, number: int, events: int) -> None:
        process = self.processes[number]
        if process is None or number in self.unaware:
            return
        try:
            process.turn(events)
        except Unavailable:
            assert self.broker.lost() | self.broker.beyond(), "the router stops without a cause"
            self.end(number)

    @precondition(lambda self: any(one.consumer.sent for one in self.alive()))
    @rule(number=NUMBERS)
    def commits_arrive(self, number: int) -> None:
        process = self.processes[number]
        if process is not None and process.consumer.sent:
            process.consumer.arrive()
            self.source_starts_at_start_at()

    @precondition(lambda self: self.quiet <= 0)
    @rule(turned=st.booleans(), quiet=QUIET)
    def group_rebalances(self, turned: bool, quiet: int) -> None:
        self.rebalance(turned)
        self.quiet = quiet

    @precondition(lambda self: self.quiet <= 0)
    @rule(number=NUMBERS, quiet=QUIET)
    def process_is_killed_or_started(self, number: int, quiet: int) -> None:
        if self.processes[number] is None:
            self.start(number)
            self.rebalance()
        else:
            self.end(number)
        self.quiet = quiet

    @precondition(lambda self: self.quiet <= 0)
    @rule(number=NUMBERS, quiet=QUIET)
    def process_stalls(self, number: int, quiet: int) -> None:
        """Its partitions move before it notices; commits that it has sent may still arrive, and are refused."""
        process = self.processes[number]
        if process is None:
            return
        if number not in self.unaware:
            self.unaware.add(number)
        else:
            self.unaware.discard(number)
            process.consumer.gone("on_lost")
        self.rebalance()
        self.quiet = quiet

    # Positions, while no router runs.

    @precondition(lambda self: self.quiet <= 0)
    @rule(topic=TOPICS, part=st.one_of(st.none(), PART), starts=st.booleans())
    def positions_are_deleted(self, topic: str, part: int | None, starts: bool) -> None:
        """A single position is deleted only if recorded, since otherwise its loss cannot be detected."""
        self.stop()
        keys = self.broker.keys([topic])
        if part is not None:
            keys = [keys[part % len(keys)]]
            source = self.broker.sources.get(topic)
            if source is None or keys[0][1] not in source.positions:
                return
        if topic in self.broker.sources:
            self.deleted.update(keys)
        else:
            self.due = {key: at for key, at in self.due.items() if key[0] != topic}  # an unrecorded source is new again
        self.broker.committed = {key: at for key, at in self.broker.committed.items() if key not in keys}
        self.go_on(starts)

    @precondition(lambda self: self.quiet <= 0)
    @rule(part=PART, count=st.integers(1, 3), starts=st.booleans())
    def log_loses_its_end(self, part: int, count: int, starts: bool) -> None:
        self.stop()
        log = self.broker.logs[self.key(part)]
        log.end = max(log.begin, log.end - count)
        log.records = {at: ms for at, ms in log.records.items() if at < log.end}
        self.go_on(starts)

    @precondition(lambda self: not any(self.processes))
    @rule(topic=TOPICS, to=st.one_of(st.sampled_from(["earliest", "latest", "recorded"]), st.integers(0, 6)))
    def positions_are_set(self, topic: str, to: PositionTarget) -> None:
        """The change reports how many records it skips."""
        found = {key: position for key, position in self.found().items() if key[0] == topic}
        outside = isinstance(to, int) and not all(one.begin <= to <= one.end for one in found.values())
        if outside or (to == "recorded" and self.broker.sources.get(topic) is None):
            return
        for change in plan_changes(to, found, {}, self.broker.sources):
            key = (change.topic, change.partition)
            log = self.broker.logs[key]
            assert log.begin <= change.to <= log.end, "outside of the log"
            self.broker.committed[key] = change.to
            self.deleted.discard(key)
            if change.was is None:
                self.due[key] = change.to
            else:
                skipped = set(range(max(change.was, log.begin), change.to))
                assert (f"(skips {len(skipped)} " in str(change)) == bool(skipped)
                self.skipped |= {(key, at) for at in range(change.was, change.to)}
                self.due[key] = min(self.due.get(key, change.to), change.to)

    # Invariants.

    def moves(self) -> None:
        self.source_starts_at_start_at()

    @invariant()
    def source_starts_at_start_at(self) -> None:
        """The first positions of a source are those of `start_at`, set together; later partitions start at 0."""
        for topic in ("a", "b"):
            keys = self.broker.keys([topic])
            new = [key for key in keys if key in self.broker.committed and key not in self.due]
            if not new:
                continue
            is_first = not any(key in self.due for key in keys)
            assert not is_first or all(key in new for key in keys if key in self.ends_before), "not all at once"
            self.due |= {key: self._start_of(key) if is_first else 0 for key in new}

    def _start_of(self, key: PartitionKey) -> int:
        at, log = self.broker.committed[key], self.broker.logs[key]
        if self.start_at == "earliest":
            assert at <= log.begin
        elif self.start_at == "now":
            assert self.ends_before.get(key, 0) <= at <= log.end
        else:
            assert isinstance(self.start_at, datetime)
            since = first_since(log, int(self.start_at.timestamp() * 1_000))
            assert at <= (log.end if since < 0 else since)
            assert all(
                ms < self.start_at.timestamp() * 1_000 for one, ms in log.records.items() if log.begin <= one < at
            )
        return at

    @invariant()
    def no_event_is_lost(self) -> None:
        """Records before a committed position were routed, reported as truncated, or skipped by a change."""
        for key, position in self.broker.committed.items():
            behind = {at for at in self.broker.logs[key].records if self.due[key] <= at < position}
            accounted = self.broker.routed | self.broker.reported | self.skipped
            assert all((key, at) in accounted for at in behind), (key, position, behind)

    @invariant()
    def lost_position_is_never_guessed(self) -> None:
        """A lost position exists again only after it was set."""
        assert not self.deleted & self.broker.committed.keys()

    @invariant()
    def repeats_are_bounded(self) -> None:
        """A killed router repeats at most its bound of uncommitted records."""
        for process in self.alive():
            assert process.commits.uncommitted <= MAX_UNCOMMITTED

    @invariant()
    def recorded_positions_were_committed(self) -> None:
        """A source record holds only positions that the group had."""
        for topic, source in self.broker.sources.items():
            assert source is not None
            assert all((topic, number) in self.due for number in source.positions)

    def teardown(self) -> None:
        """With a reachable broker and lost positions set, everything is routed and committed."""
        if not hasattr(self, "broker"):
            return
        self.stop()
        self.broker.away = False
        self.unaware.clear()
        for topic in ("a", "b"):
            if any(key[0] == topic for key in self.broker.lost() | self.broker.beyond()):
                self.positions_are_set(topic, "earliest")
        self.start(0)
        self.rebalance()
        for _ in range(80):
            self.broker.now_s += 0.3
            self._turn(0, 4)
            assert self.processes[0] is not None
            self.commits_arrive(0)
            self.source_starts_at_start_at()
        self.no_event_is_lost()
        for key, log in self.broker.logs.items():
            open_ = [at for at in log.records if at >= max(log.begin, self.due.get(key, 0))]
            assert all((key, at) in self.broker.routed | self.skipped for at in open_)
            assert not open_ or self.broker.committed[key] > open_[-1]


TestPositionsModel = PositionsModel.TestCase
# The reference is nearly as long as the code: with fixed histories, a new failure comes from a change.
TestPositionsModel.settings = settings(max_examples=80, stateful_step_count=50, derandomize=True)
