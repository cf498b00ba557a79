"""The router's loop: read, decide, send, and commit what has been sent.

Each turn follows the table and reads a batch; events are routed only while the table is fresh, which was found out
after they had arrived: whatever was acknowledged 250 ms before one of them was appended is in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final, Protocol, assert_never

import structlog

from consumers.router.commits import Commits
from consumers.router.held import Held, Stop
from consumers.router.output import Output, Sending
from consumers.router.routing import Blocked, Poison, Routed, Router, Waiting
from consumers.router.source import Source
from consumers.router.subscriptions import Subscribers, Table
from consumers.runtime.collector import spare_hot_path
from consumers.runtime.dead_letters import SourceRecord
from consumers.runtime.outage import Outage
from consumers.runtime.reach import Reach
from schemas.errors import BeginAnew, Unavailable

_log = structlog.get_logger("router")
BATCH: Final = 500
# Long enough to be idle for most of the time, short enough for the table to be asked every 100 ms.
WAIT_S: Final = 0.025
IDLE_S: Final = 0.002
# Pausing drops what was read ahead: not for the few ms of a commit, but well before the group misses us.
STAND_AFTER_S: Final = 0.5
# Part of the time to drain.
CLOSE_S: Final = 1.5
OBSERVE_EVERY_S: Final = 1.0
# No turn of a process that runs takes so long.
LONG_TURN_S: Final = 1.5


class Metrics(Protocol):
    """What is needed of consumers/runtime/metrics.py."""

    def routed(self, sender: str, event_type: str, jobs: int, withheld: int = 0, events: int = 1) -> None: ...  # noqa: D102  # described where they are implemented
    def poison(self, reason: str, count: int = 1) -> None: ...  # noqa: D102
    def uncommitted(self, jobs: int) -> None: ...  # noqa: D102
    def committed(self, seconds: float) -> None: ...  # noqa: D102
    def waiting_for_registry(self, waiting: bool) -> None: ...  # noqa: D102
    def lag(self, topic: str, records: int) -> None: ...  # noqa: D102
    def table(self, entries: int, unusable: int, name: str = "subscriptions") -> None: ...  # noqa: D102


class RouterLoop:
    """One router; `run` until told to end. `now_s` is a monotonic clock in seconds."""

    def __init__(
        self,
        *,
        router: Router,
        subscribers: Subscribers,
        table: Table,
        source: Source,
        output: Output,
        reach: Reach,
        metrics: Metrics,
        now_s: Callable[[], float],
        max_uncommitted: int,
        drain_timeout: timedelta,
    ) -> None:
        self._router = router
        self._subscribers = subscribers
        self._table = table
        self._source = source
        self._output = output
        self._reach = reach
        self._metrics = metrics
        self._outage = Outage()
        self._now_s = now_s
        self._commits = Commits(output, source, max_uncommitted, now_s=now_s, committed=metrics.committed)
        self._drain_timeout_s = drain_timeout.total_seconds()
        self._fresh = False
        self._arrived: deque[SourceRecord] = deque()
        # About the first that arrived, while there is no room for its jobs.
        self._decided: Routed | Poison | Blocked | None = None
        self._sending: Sending | None = None  # the event that was begun
        self._standing_since_s: float | None = None
        self._observe_at_s = 0.0
        self._last_turn_s = now_s()
        self._held = Held()
        self._registry_away: str | None = None  # as it was told last

    def not_ready(self) -> str | None:
        """Return why the router is not at work, or None; may be called by any thread."""
        if self._reach.away is not None:
            return self._reach.away
        if not self._table.current:
            return "the subscriptions have not been read yet"
        if not self._source.reading:
            return "no partition of a source has been assigned yet"
        if (stopped := self._held.reason()) is not None:
            return stopped
        return None if self._fresh else "the brokers do not say whether all subscriptions have been read"

    def run(self, topics: Sequence[str], stopping: Callable[[], bool]) -> bool:
        """Work until told to end; then send and commit what is begun: False if that could not be done in time.

        Unavailable if the work cannot go on.
        """
        try:
            while not self._table.current and not stopping():
                self._follow()
                self._output.wait(IDLE_S)
            if not stopping():
                _log.info("router.table", subscriptions=len(self._table), unusable=self._subscribers.unusable)
                spare_hot_path()
                self._source.subscribe(topics, self._leave)
            self._work(stopping)
            return self._drain()
        finally:
            self._source.close(CLOSE_S)

    def _work(self, stopping: Callable[[], bool]) -> None:
        try:
            while not stopping():
                self._turn()
        except Unavailable as error:
            self._note_standstill(self._now_s())
            if self._outage.explains(self._now_s()):
                raise BeginAnew(str(error)) from error
            raise

    def _note_standstill(self, now_s: float) -> None:
        if now_s - self._last_turn_s > LONG_TURN_S:
            self._outage.stood_still(now_s - self._last_turn_s)
        self._last_turn_s = now_s

    def _turn(self) -> None:
        now_s = self._now_s()
        self._note_standstill(now_s)
        if self._source.reading and self._reach.away is None:
            self._outage.works(now_s)
        elif self._source.lost and self._outage.is_stranded(now_s):
            raise Unavailable("the partitions were lost, and none were assigned since")
        self._commits.poll(now_s)
        if self._source.misplaced and self._all_is_sent() and not self._commits.pending:
            self._source.take_over()
        self._read(now_s)
        self._follow()
        if not self._commits.flushing and self._send() and self._fresh:
            self._route()
        if now_s >= self._observe_at_s:
            self._observe_at_s = now_s + OBSERVE_EVERY_S
            self._observe()

    def _read(self, now_s: float) -> None:
        """Read a batch when the one before is done; else only stay in the group."""
        if not self._commits.flushing and self._all_is_sent():
            self._standing_since_s = None
            next_s = self._commits.next_s()
            wait_s = WAIT_S if next_s is None else min(WAIT_S, max(0.0, next_s - now_s))
            self._arrived.extend(self._source.read(wait_s, BATCH))
            return
        if self._standing_since_s is None:
            self._standing_since_s = now_s
        if now_s - self._standing_since_s > STAND_AFTER_S:
            self._arrived.extend(self._source.stand(IDLE_S if self._sending else WAIT_S))
            return
        # Not for long: what was read ahead is worth keeping. A record that comes with the news is routed in its turn.
        if self._commits.awaited or self._output.is_full or not self._fresh:
            self._output.wait(IDLE_S)
        self._arrived.extend(self._source.read(0.0, 1))

    def _all_is_sent(self) -> bool:
        return not self._arrived and self._sending is None

    def _follow(self) -> None:
        """Take what has come of everything but events."""
        now_s = self._now_s()
        self._reach.poll(now_s)
        self._output.wait(0.0)
        if self._output.trouble is not None:
            raise Unavailable(f"{self._output.trouble}: the events are read again after the next start")
        now_ms = int(now_s * 1_000)
        self._table.poll(now_ms)
        self._subscribers.follow(self._table)
        self._fresh = self._table.is_fresh(now_ms)
        for key, why in self._held.go_on(self._subscribers.blocked, self._router.route):
            self._source.release(key)
            if isinstance(why, Blocked):
                _log.info("router.goes_on", topic=key[0], partition=key[1], customer=why.customer_id)
        self._tell_of_registry()

    def _route(self) -> None:
        """Route what has arrived, until there is no room for more before a commit."""
        arrived, route, commits = self._arrived, self._router.route, self._commits
        while self._send() and arrived:
            routing = self._decided or route(arrived[0])
            if isinstance(routing, Waiting):
                self._stop_before(arrived.popleft(), routing)
                continue
            if not commits.has_room(routing.count if isinstance(routing, Routed) else 1):
                self._decided = routing
                commits.make_room()
                return
            self._decided = None
            self._carry_out(routing, arrived.popleft())

    def _carry_out(self, routing: Routed | Poison | Blocked, record: SourceRecord) -> None:
        key, offset = (record.topic(), record.partition()), record.offset()
        match routing:
            case Routed(sender=sender, event_type=event_type, jobs=jobs, count=count, withheld=withheld):
                self._sending = Sending(key, offset + 1, self._output.jobs_topic, jobs)
                self._metrics.routed(sender, event_type, count, withheld)
            case Poison(sender=sender, reason=reason, detail=detail, letter=letter):
                self._sending = Sending(key, offset + 1, self._output.dead_topic, iter((letter,)))
                self._metrics.poison(reason)
                place = {"topic": key[0], "partition": key[1], "offset": offset}
                _log.warning("router.dead", sender=sender, reason=reason, detail=detail[:200], **place)
            case Blocked():
                self._stop_before(record, routing)
                place = {"topic": key[0], "partition": key[1], "offset": offset}
                _log.error("router.stopped", customer=routing.customer_id, reason=routing.reason, **place)
            case _:
                assert_never(routing)

    def _send(self) -> bool:
        """Go on with the event that was begun; True: there is none that is not sent whole.

        Its offset may be committed only then. Others begin behind it, so that a killed router repeats at most
        `max_uncommitted` jobs, or those of one event, which began when nothing else was uncommitted.
        """
        sending = self._sending
        if sending is None:
            return True
        if not self._output.send(sending):
            return False
        self._sending = None
        if len(self._arrived) < BATCH:  # else what comes in while we get on would be more without end
            self._standing_since_s = None
        self._commits.sent(sending.key, sending.next_offset, sending.count, sending.size)
        return True

    def _tell_of_registry(self) -> None:
        """Say once that a schema is waited for in vain, and once that it is no more."""
        away, told = self._held.registry_away, self._registry_away
        self._registry_away = away
        if (away is None) == (told is None):
            return
        self._metrics.waiting_for_registry(away is not None)
        if away is None:
            _log.info("registry.back")
        else:
            _log.warning("registry.away", error=away, waiting=True)

    def _stop_before(self, record: SourceRecord, why: Stop) -> None:
        """Hold the record's partition; the others go on."""
        key = (record.topic(), record.partition())
        self._held.hold(key, record, why)
        kept = [other for other in self._arrived if (other.topic(), other.partition()) != key]
        self._arrived.clear()
        self._arrived.extend(kept)
        self._source.hold(key, record.offset())

    def _leave(self, may_commit: bool) -> None:
        """Let go of all partitions."""
        self._arrived.clear()
        self._decided = None
        self._sending = None  # whoever has the partition next makes these jobs again, with the same ids
        self._held.clear()
        self._commits.leave(may_commit)

    def _drain(self) -> bool:
        """Send and commit what is begun; what has only been read is left to the next."""
        self._arrived.clear()
        self._decided = None
        deadline_s = self._now_s() + self._drain_timeout_s - CLOSE_S
        while (self._sending or self._commits.pending) and self._now_s() < deadline_s:
            if self._commits.flushing or self._send():
                self._commits.poll(self._now_s(), at_once=True)
            self._output.wait(0.0)
            self._source.stand(IDLE_S)
            if self._output.trouble is not None:
                raise Unavailable(self._output.trouble)
        if self._sending or self._commits.pending:
            _log.warning("router.undrained", uncommitted=self._uncommitted())
            self._commits.leave(may_commit=False)  # closing would try once more, and wait for the broker
            return False
        _log.info("router.drained")
        return True

    def _uncommitted(self) -> int:
        return self._commits.uncommitted + (self._sending.count if self._sending else 0)

    def _observe(self) -> None:
        self._metrics.uncommitted(self._uncommitted())
        self._metrics.table(len(self._table), self._subscribers.unusable)
        for topic, records in self._source.lag().items():
            self._metrics.lag(topic, records)
