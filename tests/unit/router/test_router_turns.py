"""Each turn of the router makes progress or waits: it neither spins nor waits while there is work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from consumers.router.loop import BATCH, UNACKNOWLEDGED_S, RouterLoop
from consumers.router.output import EventRecords
from consumers.router.routing import Routed
from consumers.router.source_recovery import Positions
from consumers.router.wait_report import LOG_AFTER_S

KEY = ("events", 0)
SEND_S = 9e-6


class World:
    """A router with a simulated clock that advances by waiting and sending; a commit takes `commit_s`."""

    def __init__(self, *, events: int, jobs: int, commit_s: float, max_uncommitted: int = 5_000) -> None:
        self.now_s = 100.0
        self.commit_s = commit_s
        self.jobs = jobs
        self.slept_s = 0.0
        self.suspended = 0
        self.sent = 0
        self.read_to = 0
        self.age_ms = 0
        self.events = deque(range(events))
        self.commits: deque[tuple[float, Callable[[bool], None]]] = deque()
        self.loop = RouterLoop(
            router=cast("Any", SimpleNamespace(route=self._route)),
            subscribers=cast("Any", SimpleNamespace(follow=lambda _table: None, blocked=lambda _customer: None)),
            table=cast("Any", SimpleNamespace(poll=lambda _now: None, is_fresh=lambda _now: True, current=True)),
            source=cast("Any", self),
            output=cast("Any", self),
            connectivity=cast("Any", SimpleNamespace(disconnected=None, poll=lambda _now: None)),
            metrics=cast("Any", SimpleNamespace(**dict.fromkeys(METRICS, lambda *_: None))),
            waiting=cast("Any", None),
            now_s=lambda: self.now_s,
            max_uncommitted=max_uncommitted,
            drain_timeout=timedelta(seconds=5),
        )

    def _route(self, _record: object) -> Routed:
        return Routed("s", "t", iter([(b"k", b"x" * 300)] * self.jobs), self.jobs, 0, self.age_ms)

    def _sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.slept_s += seconds

    # The source of the loop.

    reading = True
    why_not_reading = None
    lost = False
    misplaced = False

    def positions(self) -> dict[tuple[str, int], int]:
        return {KEY: self.read_to}

    def read(self, seconds: float, limit: int) -> list[Any]:
        self.now_s += 1e-6
        if self.commits and self.now_s >= self.commits[0][0]:
            self.commits.popleft()[1](self.commits_succeed)
        if not self.events:
            self._sleep(seconds)
        read = [self.events.popleft() for _ in range(min(limit, len(self.events)))]
        self.read_to += len(read)
        return [record(offset) for offset in read]

    def keep_alive(self, seconds: float) -> list[Any]:
        self.suspended += 1
        self._sleep(seconds)
        return self.read(0.0, 0)

    commits_succeed = True

    def commit(self, _positions: Positions, done: Callable[[bool], None]) -> None:
        self.commits.append((self.now_s + self.commit_s, done))

    def resume(self, _key: object) -> None:
        return None

    # The output of the loop.

    failure = None
    jobs_topic = "jobs"
    dead_topic = "dead"
    is_full = False

    def send(self, event: EventRecords) -> bool:
        for _, value in cast("Iterator[tuple[bytes, bytes]]", event.records):
            event.count += 1
            event.size += len(value)
            self.sent += 1
            self.now_s += SEND_S
        return True

    def wait(self, seconds: float) -> None:
        self._sleep(seconds)

    acknowledges = True

    def flush(self, _seconds: float) -> bool:
        self.now_s += 0.003
        return self.acknowledges

    def turns(self, seconds: float, most: int = 1_000_000) -> int:
        """Run until `seconds` have passed; return the number of turns, `most` at the end of the range."""
        until_s = self.now_s + seconds
        for turn in range(most):
            if self.now_s >= until_s:
                return turn
            self.loop._turn()
        return most


METRICS = (
    "on_routed",
    "on_unreadable",
    "on_commit",
    "set_uncommitted",
    "set_table",
    "set_lag",
    "set_waiting_for_registry",
    "set_paused_partitions",
)


def record(offset: int) -> Any:
    return SimpleNamespace(topic=lambda: KEY[0], partition=lambda: KEY[1], offset=lambda: offset)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RouterLoop, "_observe", lambda _self: None)


def test_event_during_a_commit_waits_for_it() -> None:
    """While a slow commit is in progress and there is no other work, the router waits without using the CPU."""
    world = World(events=1, jobs=1, commit_s=0.6)
    world.turns(0.02)
    world.events.append(1)
    assert world.turns(0.5, 1_000) < 1_000
    assert world.sent == 2


def test_router_at_its_uncommitted_limit_waits_for_the_commit() -> None:
    """At max_uncommitted the router reads no further and does not spin."""
    world = World(events=3_000, jobs=1, commit_s=0.4, max_uncommitted=1_000)
    world.turns(0.05)
    assert world.turns(0.3, 1_000) < 1_000
    assert world.sent == 1_000
    assert len(world.loop._arrived) < 600


@pytest.mark.parametrize("jobs", [3, 100, 1_000])
def test_busy_router_pauses_no_partition(jobs: int) -> None:
    """With any number of jobs per event, a router that makes progress pauses nothing and hardly waits."""
    world = World(events=1_500_000 // jobs, jobs=jobs, commit_s=0.003)
    world.turns(5.0)
    assert world.suspended == 0
    assert world.slept_s < 0.25


@pytest.mark.parametrize("commit_s", [0.05, 0.4])
def test_slow_router_keeps_few_events_in_memory(commit_s: float) -> None:
    """With commits of any duration, events that arrived and are not sent stay within two batches."""
    world = World(events=10_000, jobs=1_000, commit_s=commit_s)
    world.turns(10.0)
    assert world.sent > 100_000
    assert len(world.loop._arrived) < 2 * BATCH


@pytest.mark.parametrize("fault", ["acknowledges", "commits_succeed"])
def test_router_that_waits_for_the_brokers_is_not_ready(fault: str) -> None:
    """If jobs are not acknowledged or positions not committed for two seconds, /readyz and the log say so."""
    world = World(events=1, jobs=1, commit_s=0.003)
    world.turns(0.5)
    assert world.loop.not_ready() is None
    setattr(world, fault, False)
    world.events.append(1)
    with capture_logs() as lines:
        world.turns(UNACKNOWLEDGED_S / 2)
        assert world.loop.not_ready() is None
        world.turns(UNACKNOWLEDGED_S)
        assert world.loop.not_ready() == "the brokers have not acknowledged jobs or positions for over 2 s"
        world.turns(LOG_AFTER_S)
        setattr(world, fault, True)
        world.turns(1.0)
    assert world.loop.not_ready() is None
    assert [line["event"] for line in lines] == ["router.paused", "router.resumed"]
