"""What the router has sent is bounded, and committed only when all of it has been acknowledged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consumers.kafka.positions import PartitionKey
from consumers.router.commits import COMMIT_EVERY_S, Commits
from consumers.router.partition_recovery import Positions

pytestmark = pytest.mark.promise(1, 2)

KEY = ("events", 0)


class Broker:
    """Takes records and commits when it is told to; `durable` is what a killed router would go on from."""

    def __init__(self) -> None:
        self.failure: str | None = None
        self.reachable = True
        self.now = 100.0
        self.committed: Positions = {}
        self.committed_before_trouble: Positions = {}
        self.asked: list[tuple[Positions, Callable[[bool], None]]] = []
        self.out = 0

    def flush(self, seconds: float) -> bool:
        if self.reachable:
            self.out = 0
        return self.out == 0

    def commit(self, positions: Positions, done: Callable[[bool], None]) -> None:
        assert self.out == 0, "offsets before their records"
        self.asked.append((dict(positions), done))

    def commit_now(self, positions: Positions) -> bool:
        assert self.out == 0, "offsets before their records"
        self.committed |= positions
        return True

    def answer(self, success: bool) -> None:
        positions, done = self.asked.pop(0)
        if success:
            self.committed |= positions
        done(success)


def commits_of(broker: Broker, max_uncommitted: int = 10) -> Commits:
    either = cast("Any", broker)
    return Commits(either, either, max_uncommitted, now_s=lambda: broker.now, on_commit=lambda seconds: None)


class CommitsModel(RuleBasedStateMachine):
    """A router that is killed now repeats what is behind the committed positions: that is bounded, and nothing is lost.

    The truth is a list of events for each partition, with how many records each became, and what the broker has.
    """

    BOUND = 10

    @initialize()
    def begin(self) -> None:
        self.broker = Broker()
        self.commits = commits_of(self.broker, self.BOUND)
        self.events: dict[PartitionKey, list[int]] = {("events", 0): [], ("events", 1): []}

    @rule(key=st.sampled_from([("events", 0), ("events", 1)]), records=st.integers(0, 12))
    def event(self, key: PartitionKey, records: int) -> None:
        if self.commits.flushing or self.broker.failure is not None:
            return
        if not self.commits.has_room(records):
            self.commits.make_room()
            return
        self.broker.out += records
        self.events[key].append(records)
        self.commits.sent(key, len(self.events[key]), records, records)

    @rule(passes=st.booleans())
    def turn(self, passes: bool) -> None:
        self.broker.now += passes * COMMIT_EVERY_S
        self.commits.poll(self.broker.now)

    @rule(reachable=st.booleans())
    def connection(self, reachable: bool) -> None:
        self.broker.reachable = reachable

    @precondition(lambda self: self.broker.asked)
    @rule(success=st.booleans())
    def commit_is_answered(self, success: bool) -> None:
        self.broker.answer(success)

    @rule(may_commit=st.booleans(), late=st.sampled_from([None, True, False]))
    def partitions_go(self, may_commit: bool, late: bool | None) -> None:
        """Whoever gets them reads from what is committed; an answer to a commit of before says nothing any more."""
        asked = self.broker.asked.pop() if self.broker.asked else None
        self.commits.leave(may_commit)
        if asked is not None and late is not None:
            asked[1](late)
        self.broker.asked.clear()
        for key, events in self.events.items():
            del events[self.broker.committed.get(key, 0) :]
        assert self.commits.uncommitted == 0

    @precondition(lambda self: self.broker.out)
    @rule()
    def a_record_is_refused(self) -> None:
        """The role ends with it; until then nothing is committed any more, in leaving neither."""
        self.broker.failure = "refused"
        self.broker.committed_before_trouble = dict(self.broker.committed)
        self.broker.asked.clear()

    @invariant()
    def repeats_are_bounded(self) -> None:
        """Behind the committed positions are no more records than the bound, or those of one event."""
        repeated = [n for key, events in self.events.items() for n in events[self.broker.committed.get(key, 0) :]]
        assert sum(repeated) <= max(self.BOUND, *repeated, 0)
        assert self.commits.uncommitted >= sum(repeated)

    @invariant()
    def nothing_is_committed_behind_a_refused_record(self) -> None:
        if self.broker.failure is not None:
            assert self.broker.committed == self.broker.committed_before_trouble

    def teardown(self) -> None:
        """Left in peace, everything that was sent is committed."""
        if not hasattr(self, "broker") or self.broker.failure is not None:
            return
        self.broker.reachable = True
        for _ in range(3):
            self.commits.poll(self.broker.now, at_once=True)
            if self.broker.asked:
                self.broker.answer(True)
        assert not self.commits.pending
        assert {key: len(events) for key, events in self.events.items() if events} == self.broker.committed


TestCommits = CommitsModel.TestCase
TestCommits.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


def test_what_could_not_be_committed_is_part_of_the_next_commit() -> None:
    """A refused commit is not forgotten."""
    broker = Broker()
    commits = commits_of(broker)
    commits.sent(KEY, 5, 4, 100)
    commits.poll(broker.now, at_once=True)
    broker.answer(False)
    commits.sent(("events", 1), 7, 1, 100)

    commits.poll(broker.now, at_once=True)

    assert broker.asked[0][0] == {KEY: 5, ("events", 1): 7}


def test_nothing_is_committed_behind_a_refused_record() -> None:
    """One failure among the reports, and no offset is committed any more, in leaving as well."""
    broker = Broker()
    commits = commits_of(broker)
    commits.sent(KEY, 1, 1, 100)
    broker.failure = "refused"

    commits.poll(broker.now, at_once=True)
    commits.leave(may_commit=True)

    assert not broker.asked
    assert not broker.committed


def test_an_event_that_nobody_takes_is_committed_as_well() -> None:
    """Progress without records is progress."""
    broker = Broker()
    commits = commits_of(broker)
    commits.sent(KEY, 1, 0, 0)

    commits.poll(broker.now, at_once=True)
    broker.answer(True)

    assert broker.committed == {KEY: 1}
    assert not commits.pending
