"""The router commits offsets only after their records are acknowledged, and limits uncommitted records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consumers.kafka.positions import PartitionKey
from consumers.router.commits import COMMIT_EVERY_S, Commits
from consumers.router.source_recovery import Positions

pytestmark = pytest.mark.promise(1, 2)

KEY = ("events", 0)


class Broker:
    """Accepts records, and commits when the test says so; a killed router continues from `committed`."""

    def __init__(self) -> None:
        self.failure: str | None = None
        self.reachable = True
        self.now = 100.0
        self.committed: Positions = {}
        self.committed_before_trouble: Positions = {}
        self.commit_requests: list[tuple[Positions, Callable[[bool], None]]] = []
        self.unacknowledged = 0

    def flush(self, seconds: float) -> bool:
        if self.reachable:
            self.unacknowledged = 0
        return self.unacknowledged == 0

    def commit(self, positions: Positions, done: Callable[[bool], None]) -> None:
        assert self.unacknowledged == 0, "offsets before their records"
        self.commit_requests.append((dict(positions), done))

    def commit_now(self, positions: Positions) -> bool:
        assert self.unacknowledged == 0, "offsets before their records"
        self.committed |= positions
        return True

    def finish_commit(self, success: bool) -> None:
        positions, done = self.commit_requests.pop(0)
        if success:
            self.committed |= positions
        done(success)


def commits_of(broker: Broker, max_uncommitted: int = 10) -> Commits:
    stub = cast("Any", broker)
    return Commits(stub, stub, max_uncommitted, now_s=lambda: broker.now, on_commit=lambda seconds: None)


class CommitsModel(RuleBasedStateMachine):
    """A killed router repeats the records after its committed positions: they are bounded, and none is lost.

    The reference is the number of records of each event, in a list per partition, and the state of the broker.
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
        self.broker.unacknowledged += records
        self.events[key].append(records)
        self.commits.sent(key, len(self.events[key]), records, records)

    @rule(passes=st.booleans())
    def turn(self, passes: bool) -> None:
        self.broker.now += passes * COMMIT_EVERY_S
        self.commits.poll(self.broker.now)

    @rule(reachable=st.booleans())
    def connection(self, reachable: bool) -> None:
        self.broker.reachable = reachable

    @precondition(lambda self: self.broker.commit_requests)
    @rule(success=st.booleans())
    def commit_finishes(self, success: bool) -> None:
        self.broker.finish_commit(success)

    @rule(may_commit=st.booleans(), late=st.sampled_from([None, True, False]))
    def partitions_are_revoked(self, may_commit: bool, late: bool | None) -> None:
        """The next owner reads from the committed positions; a late response to a commit has no effect."""
        request = self.broker.commit_requests.pop() if self.broker.commit_requests else None
        self.commits.leave(may_commit)
        if request is not None and late is not None:
            request[1](late)
        self.broker.commit_requests.clear()
        for key, events in self.events.items():
            del events[self.broker.committed.get(key, 0) :]
        assert self.commits.uncommitted == 0

    @precondition(lambda self: self.broker.unacknowledged)
    @rule()
    def record_is_refused(self) -> None:
        """The role ends; until then nothing is committed, also when it leaves."""
        self.broker.failure = "refused"
        self.broker.committed_before_trouble = dict(self.broker.committed)
        self.broker.commit_requests.clear()

    @invariant()
    def repeats_are_bounded(self) -> None:
        """The records after the committed positions are at most the bound, or those of one event."""
        repeated = [n for key, events in self.events.items() for n in events[self.broker.committed.get(key, 0) :]]
        assert sum(repeated) <= max(self.BOUND, *repeated, 0)
        assert self.commits.uncommitted >= sum(repeated)

    @invariant()
    def no_offset_is_committed_after_a_refused_record(self) -> None:
        if self.broker.failure is not None:
            assert self.broker.committed == self.broker.committed_before_trouble

    def teardown(self) -> None:
        """With a reachable broker, everything that was sent is committed."""
        if not hasattr(self, "broker") or self.broker.failure is not None:
            return
        self.broker.reachable = True
        for _ in range(3):
            self.commits.poll(self.broker.now, at_once=True)
            if self.broker.commit_requests:
                self.broker.finish_commit(True)
        assert not self.commits.pending
        assert {key: len(events) for key, events in self.events.items() if events} == self.broker.committed


TestCommits = CommitsModel.TestCase
TestCommits.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


def test_failed_commit_is_part_of_the_next_commit() -> None:
    """The positions of a failed commit are committed again."""
    broker = Broker()
    commits = commits_of(broker)
    commits.sent(KEY, 5, 4, 100)
    commits.poll(broker.now, at_once=True)
    broker.finish_commit(False)
    commits.sent(("events", 1), 7, 1, 100)

    commits.poll(broker.now, at_once=True)

    assert broker.commit_requests[0][0] == {KEY: 5, ("events", 1): 7}


def test_no_offset_is_committed_after_a_refused_record() -> None:
    """One failed delivery report stops all commits, also when the router leaves."""
    broker = Broker()
    commits = commits_of(broker)
    commits.sent(KEY, 1, 1, 100)
    broker.failure = "refused"

    commits.poll(broker.now, at_once=True)
    commits.leave(may_commit=True)

    assert not broker.commit_requests
    assert not broker.committed


def test_event_without_jobs_is_committed() -> None:
    """Progress without records is committed."""
    broker = Broker()
    commits = commits_of(broker)
    commits.sent(KEY, 1, 0, 0)

    commits.poll(broker.now, at_once=True)
    broker.finish_commit(True)

    assert broker.committed == {KEY: 1}
    assert not commits.pending
