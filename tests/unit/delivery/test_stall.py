"""A loop that stood still starts nothing before a transaction that it began afterwards was committed."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from consumers.delivery.delay_topics import DelayTopics
from consumers.delivery.loop import STALL_MS, Clocks, DeliveryLoop, ProcessLimits
from consumers.delivery.partitions.committer import Committer
from consumers.delivery.partitions.outbox import Outbox
from consumers.delivery.partitions.partition_state import PartitionState
from consumers.delivery.partitions.progress import Position, Progress
from consumers.delivery.partitions.reader import ReadRecord
from consumers.kafka.transactions import Settled
from consumers.service.metrics import DeliveryMetrics
from schemas.catalog.errors import RestartRequired, Unavailable
from schemas.records.topics import TopicNames

pytestmark = pytest.mark.promise(2)

DELAY_TOPICS = DelayTopics(TopicNames("t."), [timedelta(0), timedelta(seconds=5)], 1)


class Standing:
    """A loop whose partitions are its own, whose table is fresh, and whose transactions end when the test says so."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self.starts = 0
        self.fenced: Unavailable | None = None
        self.stands_ms = 0  # in the next read
        self.begun = 0
        self.told: list[int] = []  # when the dispatcher was told of a standstill
        self.end: Settled | None = None
        start = Position(0, "")
        self.partition = PartitionState(DELAY_TOPICS.first, 0, start, Progress(start))
        self.outbox = Outbox("one")
        self.scheduler = SimpleNamespace(
            moves=0,
            waiting=0,
            buffered=0,
            bytes=0,
            next_due_ms=None,
            may_start=False,
            has_startable=lambda _now: True,
            start=self._start,
            defer_stuck=lambda _now: None,
            on_stall=self.told.append,
        )
        parts = self._parts()
        committer = Committer(
            self.outbox,
            cast("Any", self),
            max_uncommitted=5_000,
            metrics=DeliveryMetrics({}, 512),
        )
        clocks = Clocks(lambda: self.now_ms, lambda: self.now_ms)
        self.loop = DeliveryLoop(
            outbox=self.outbox, committer=committer, clocks=clocks, limits=ProcessLimits(512, 1_000), **parts
        )

    def _parts(self) -> dict[str, Any]:
        return {
            "reader": SimpleNamespace(
                partitions={(self.partition.topic, 0): self.partition},
                owns=True,
                recover=lambda: None,
                awaited_s=0.0,
                group_metadata=None,
                wake=lambda _now: None,
                read=self._read,
                next_wake_ms=None,
            ),
            "scheduler": self.scheduler,
            "client": SimpleNamespace(in_flight=0, is_busy=False),
            "table": SimpleNamespace(poll=lambda _now: None, is_fresh=lambda _now: True, current=True),
            "housekeeping": SimpleNamespace(turn=lambda _now, _waits: None),
        }

    def _read(self, *_: object) -> list[ReadRecord]:
        self.now_ms += self.stands_ms
        if self.fenced is not None:
            raise self.fenced
        return []

    def _start(self, _room: int, _now_ms: int) -> None:
        self.starts += 1

    # What the committer asks of `Transactions`.

    busy = False

    def begin(self, *_: object) -> None:
        self.busy = True
        self.begun += 1

    def poll(self, _wait_s: float = 0.0) -> Settled | None:
        ended, self.end = self.end, None
        self.busy = self.busy and ended is None
        return ended

    def turns(self, count: int = 3) -> int:
        """Turns of the loop, a millisecond each; returns in how many of them requests were started."""
        before = self.starts
        for _ in range(count):
            self.now_ms += 1
            self.loop._turn()
        return self.starts - before


@pytest.fixture
def standing() -> Standing:
    """A loop at work."""
    one = Standing()
    assert one.turns() == 3
    return one


def test_who_stood_still_starts_nothing_before_it_has_committed(standing: Standing) -> None:
    """With nothing to commit, too, a transaction is begun: the broker alone knows whose the partitions are."""
    standing.now_ms += STALL_MS + 1
    assert standing.turns() == 0
    assert standing.begun == 1
    assert standing.told[1:] == [standing.now_ms - 2]
    standing.end = Settled(True, 0.0)
    assert standing.turns(1) == 1


def test_a_transaction_from_before_a_standstill_proves_nothing(standing: Standing) -> None:
    """Its offsets may have been taken before the partitions went: the next one counts, if it is committed."""
    standing.outbox.touch(standing.partition)
    standing.now_ms += 300
    assert standing.turns() == 3
    assert standing.busy
    standing.now_ms += STALL_MS + 1
    assert standing.turns() == 0
    for committed in (True, False):
        standing.end = Settled(committed, 0.0)
        standing.now_ms += 300
        assert standing.turns() == 0
    standing.end = Settled(True, 0.0)
    assert standing.turns(1) == 1
    assert standing.begun == 3


def test_a_short_pause_is_no_standstill(standing: Standing) -> None:
    """Nobody takes partitions away from a process within half its session timeout."""
    standing.now_ms += STALL_MS - 1
    assert standing.turns() == 3


@pytest.mark.parametrize("stands_ms", [2_500, STALL_MS + 1])
def test_who_is_fenced_in_a_stall_has_lost_its_instance(standing: Standing, stands_ms: int) -> None:
    """The news may come before the loop knows that it stood still: it ends, and takes nothing back from its heir."""
    standing.stands_ms, standing.fenced = stands_ms, Unavailable("another process has taken this instance id")
    with pytest.raises(Unavailable) as raised:
        standing.loop._deliver(lambda: False)
    assert not isinstance(raised.value, RestartRequired)


def test_who_is_fenced_after_an_outage_begins_anew(standing: Standing) -> None:
    """Nothing could be done for long, in turns as short as ever: that was no other process."""
    standing.outbox.touch(standing.partition)
    standing.turns(300)
    standing.turns(6_000)
    assert standing.loop.paused_by is not None
    standing.fenced = Unavailable("another process has taken this instance id")
    with pytest.raises(RestartRequired):
        standing.loop._deliver(lambda: False)


def test_a_loop_that_has_enough_at_hand_sends_it_at_once(standing: Standing, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing under way it waits for a moment only where nothing may start either."""
    slept: list[float] = []
    monkeypatch.setattr("consumers.delivery.loop.time.sleep", slept.append)
    standing.scheduler.waiting = standing.scheduler.buffered = 5_000
    assert standing.turns() == 3
    assert slept == []
    standing.scheduler.has_startable = lambda _now: False
    assert standing.turns() == 0
    assert len(slept) == 3


def test_what_endpoints_take_is_measured_anew_after_a_wait_for_the_broker(standing: Standing) -> None:
    """While nothing may start endpoints get nothing: pacing is told when it goes on, and parks nothing for that."""
    standing.outbox.touch(standing.partition)
    standing.now_ms += 300
    assert standing.turns() == 3
    for _ in range(6):
        standing.now_ms += 1_000
        standing.turns(1)
    assert standing.loop.paused_by is not None
    told = len(standing.told)
    standing.end = Settled(True, 0.0)
    assert standing.turns(1) == 1
    assert len(standing.told) == told + 1
