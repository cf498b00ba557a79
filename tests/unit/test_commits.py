"""What the router has sent is bounded, and committed only when all of it has been acknowledged."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from consumers.router.commits import COMMIT_EVERY_S, Commits
from consumers.router.takeover import Positions

KEY = ("events", 0)


class Broker:
    """Takes records and commits when it is told to; `durable` is what a killed router would go on from."""

    def __init__(self) -> None:
        self.trouble: str | None = None
        self.reachable = True
        self.now = 100.0
        self.committed: Positions = {}
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
    return Commits(broker, broker, max_uncommitted, now_s=lambda: broker.now, committed=lambda seconds: None)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("event"), st.integers(0, 12)),
        st.tuples(st.just("tick"), st.sampled_from([0, 1])),
        st.tuples(st.just("reach"), st.sampled_from([0, 1])),
        st.tuples(st.just("answer"), st.sampled_from([0, 1])),
        st.tuples(st.just("leave"), st.sampled_from([0, 1])),
    ),
    max_size=80,
)


@given(steps)
def test_a_killed_router_repeats_at_most_max_uncommitted_records(made: list[tuple[str, int]]) -> None:
    """At any moment, the records behind the committed position are no more than the bound, or those of one event."""
    broker = Broker()
    commits = commits_of(broker)
    records: list[int] = []  # of each event, by offset
    for what, number in made:
        if what == "event" and not commits.flushing:
            if commits.has_room(number):
                broker.out += number
                commits.sent(KEY, len(records) + 1, number, number)
                records.append(number)
            else:
                commits.make_room()
        elif what == "tick":
            broker.now += number * COMMIT_EVERY_S
            commits.poll(broker.now)
        elif what == "reach":
            broker.reachable = bool(number)
        elif what == "answer" and broker.asked:
            broker.answer(bool(number))
        elif what == "leave":
            commits.leave(bool(number))
            broker.asked.clear()
            del records[broker.committed.get(KEY, 0) :]  # whoever gets the partition reads from there
        repeated = records[broker.committed.get(KEY, 0) :]
        assert sum(repeated) <= max(10, *repeated, 0)
        assert commits.uncommitted >= sum(repeated)


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
    broker.trouble = "refused"

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
