"""After a stall the loop starts no request until a transaction that began after the stall has committed."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from consumers.delivery.delay_topics import DelayTopics
from consumers.delivery.http.types import PollResult
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


class StallingLoop:
    """A loop that owns its partitions and has a fresh table. The test ends its transactions and makes it stall."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self.starts = 0
        self.is_fresh = True  # the table
        self.receives = False  # as above
        self.fenced: Unavailable | None = None
        self.read_takes_ms = 0  # duration of the next read
        self.begun = 0
        self.stalls: list[int] = []  # when the loop called `on_stall` of the scheduler
        self.end: Settled | None = None
        start = Position(0, "")
        self.partition = PartitionState(DELAY_TOPICS.first, 0, start, Progress(start))
        self.outbox = Outbox("one")
        self.scheduler = SimpleNamespace(
            moves=0,
            soon=0,
            buffered=0,
            bytes=0,
            next_due_ms=None,
            has_startable=lambda _now: True,
            start=self._start,
            defer_stuck=lambda _now: None,
            on_stall=self.stalls.append,
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
            "table": SimpleNamespace(
                poll=lambda _now: None,
                is_fresh=lambda _now: self.is_fresh,
                receives=lambda _now: self.receives,
                current=True,
            ),
            "long_timeouts": SimpleNamespace(check_start=lambda: None),
            "housekeeping": SimpleNamespace(turn=lambda _now, _waits: None),
        }

    def _read(self, *_: object) -> list[ReadRecord]:
        self.now_ms += self.read_takes_ms
        if self.fenced is not None:
            raise self.fenced
        return []

    def _start(self, _room: int, _now_ms: int) -> None:
        self.starts += 1

    # The part of `Transactions` that the committer uses.

    busy = False

    def begin(self, *_: object) -> None:
        self.busy = True
        self.begun += 1

    def poll(self, _wait_s: float = 0.0) -> Settled | None:
        ended, self.end = self.end, None
        self.busy = self.busy and ended is None
        return ended

    def turns(self, count: int = 3) -> int:
        """Run turns of the loop, a millisecond each. Return in how many of them requests were started."""
        before = self.starts
        for _ in range(count):
            self.now_ms += 1
            self.loop._turn()
        return self.starts - before


@pytest.fixture
def stalling() -> StallingLoop:
    """A running loop."""
    loop = StallingLoop()
    assert loop.turns() == 3
    return loop


def test_stalled_loop_starts_nothing_until_it_has_committed(stalling: StallingLoop) -> None:
    """A transaction is begun even if there is nothing to commit: only the broker knows who owns the partitions."""
    stalling.now_ms += STALL_MS + 1
    assert stalling.turns() == 0
    assert stalling.begun == 1
    assert stalling.stalls[1:] == [stalling.now_ms - 2]
    stalling.end = Settled(True, 0.0)
    assert stalling.turns(1) == 1


def test_transaction_from_before_a_stall_does_not_verify_ownership(stalling: StallingLoop) -> None:
    """The broker may have accepted its offsets before the partitions moved. The next committed one counts."""
    stalling.outbox.touch(stalling.partition)
    stalling.now_ms += 300
    assert stalling.turns() == 3
    assert stalling.busy
    stalling.now_ms += STALL_MS + 1
    assert stalling.turns() == 0
    for committed in (True, False):
        stalling.end = Settled(committed, 0.0)
        stalling.now_ms += 300
        assert stalling.turns() == 0
    stalling.end = Settled(True, 0.0)
    assert stalling.turns(1) == 1
    assert stalling.begun == 3


def test_short_pause_is_not_a_stall(stalling: StallingLoop) -> None:
    """No process loses partitions within half its session timeout."""
    stalling.now_ms += STALL_MS - 1
    assert stalling.turns() == 3


@pytest.mark.parametrize("read_takes_ms", [2_500, STALL_MS + 1])
def test_process_fenced_after_a_stall_exits(stalling: StallingLoop, read_takes_ms: int) -> None:
    """The process does not restart, even if it is fenced before the loop notices the stall: its successor goes on."""
    stalling.read_takes_ms = read_takes_ms
    stalling.fenced = Unavailable("another process has taken this instance id")
    with pytest.raises(Unavailable) as raised:
        stalling.loop._deliver(lambda: False)
    assert not isinstance(raised.value, RestartRequired)


def test_process_fenced_after_an_outage_restarts(stalling: StallingLoop) -> None:
    """A process whose turns were short was fenced because of the broker, not by another process."""
    stalling.outbox.touch(stalling.partition)
    stalling.turns(300)
    stalling.turns(6_000)
    assert stalling.loop.paused_by is not None
    stalling.fenced = Unavailable("another process has taken this instance id")
    with pytest.raises(RestartRequired):
        stalling.loop._deliver(lambda: False)


def test_loop_with_startable_jobs_does_not_sleep(stalling: StallingLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle loop sleeps only while no job may start."""
    slept: list[float] = []
    monkeypatch.setattr("consumers.delivery.loop.time.sleep", slept.append)
    stalling.scheduler.soon = 5_000
    stalling.scheduler.buffered = 5_000
    assert stalling.turns() == 3
    assert slept == []
    stalling.scheduler.has_startable = lambda _now: False
    assert stalling.turns() == 0
    assert len(slept) == 3


def test_throughput_measurement_restarts_after_each_broker_outage(stalling: StallingLoop) -> None:
    """While the loop is paused, endpoints get no requests. That does not lower their measured throughput.
    This holds as well for the second outage within a minute, which has no line in the log.
    """
    for _outage in range(2):
        stalling.outbox.touch(stalling.partition)
        stalling.now_ms += 300
        assert stalling.turns() == 3
        stalls = len(stalling.stalls)
        for _ in range(6):
            stalling.now_ms += 1_000
            stalling.turns(1)
        assert stalling.loop.paused_by is not None
        assert len(stalling.stalls) == stalls + 1
        stalling.end = Settled(True, 0.0)
        assert stalling.turns(1) == 1
        assert len(stalling.stalls) == stalls + 2


@pytest.mark.parametrize("fresh", [True, False])
def test_brokers_that_do_not_respond_are_the_reason_for_a_pause_without_partitions(
    stalling: StallingLoop, fresh: bool
) -> None:
    """The partitions of a process are lost in an outage; /readyz and the metric name the outage, not the partitions."""
    loop = cast("Any", stalling.loop)
    loop._reader.owns = loop._reader.lost = False
    loop._table.is_fresh = lambda _now: fresh
    for _ in range(6):
        stalling.now_ms += 1_000
        stalling.turns(1)
    assert loop.waits_for_broker is not fresh
    assert ("partitions" in loop.paused_by) is fresh


def test_draining_loop_confirms_no_request_after_a_stall(stalling: StallingLoop) -> None:
    """A request that waits for its connection while the process drains is withdrawn after a stall."""
    confirmed: list[bool] = []

    def confirm(_requests: object, *, may_start: bool) -> None:
        confirmed.append(may_start)
        stalling.now_ms += STALL_MS + 1 if len(confirmed) == 2 else 10

    stalling.scheduler.confirm = confirm
    loop = cast("Any", stalling.loop)
    loop._client = SimpleNamespace(
        in_flight=1, resolving=0, is_busy=True, poll=lambda _timeout_s: PollResult([], [cast("Any", None)])
    )
    loop._reader.ignore = lambda _timeout_s: None
    loop._reader.close = loop._table.close = lambda: None
    loop._limits = ProcessLimits(512, STALL_MS + 100)
    with capture_logs() as logs:
        assert not loop._drain()
    assert logs[-1]["event"] == "delivery.drained"
    assert (logs[-1]["complete"], logs[-1]["open_requests"]) == (False, 1)
    assert "the next process sends the open requests again" in logs[-1]["note"]
    assert confirmed[:2] == [True, True]
    assert set(confirmed[2:]) == {False}


def test_table_that_is_behind_is_no_sign_of_silent_brokers(stalling: StallingLoop) -> None:
    """A table that receives records has brokers that respond, however long it takes: a restart would begin again."""
    stalling.is_fresh = False
    assert stalling.turns(2_000) == 0
    assert stalling.loop.unanswered
    stalling.receives = True
    assert not stalling.loop.unanswered
