"""The router's loop: read events, route them, send their jobs, and commit.

Each turn reads a batch and polls the table. Events are routed only while the table is fresh, which is checked after
they have arrived. So the table has every change that was acknowledged 250 ms before an event was appended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from itertools import chain
from typing import Final, assert_never

import structlog

from consumers.kafka.connectivity import ConnectivityMonitor
from consumers.kafka.dead_letters import SourceRecord
from consumers.kafka.waiting_records import WaitingRecords
from consumers.router.commits import Commits
from consumers.router.event_traces import EventTraces
from consumers.router.output import EventRecords, Output
from consumers.router.paused_partitions import PausedPartitions
from consumers.router.routing import Decision, PauseReason, Routed, Router, UnreadableEvent
from consumers.router.source import Source
from consumers.router.subscriptions import Subscribers
from consumers.router.tables import Tables
from consumers.router.wait_report import WaitReport
from consumers.service.gc_tuning import tune_gc
from consumers.service.metrics import RouterMetrics
from consumers.service.restart_policy import RestartPolicy
from schemas.catalog.errors import RestartRequired, Unavailable

_log = structlog.get_logger("router")
BATCH: Final = 500
# Long enough to be idle most of the time, short enough to poll the table well within its 100 ms interval.
WAIT_S: Final = 0.025
IDLE_S: Final = 0.002
# Pausing drops prefetched records. So it waits for longer than a commit takes, but well within max.poll.interval.
SUSPEND_AFTER_S: Final = 0.5
# Part of the time to drain.
CLOSE_S: Final = 1.5
OBSERVE_EVERY_S: Final = 1.0
# A turn of a running process is shorter; a longer one is a stall.
LONG_TURN_S: Final = 1.5
# A broker acknowledges and commits within milliseconds. One that restarts takes a second or two.
UNACKNOWLEDGED_S: Final = 2.0
_STALE_TABLE: Final = "the brokers do not respond to the request for the end of subscriptions"
_UNACKNOWLEDGED: Final = f"the brokers have not acknowledged jobs or positions for over {UNACKNOWLEDGED_S:g} s"


class RouterLoop:
    """One router; `run` until `stopping`. `now_s` is a monotonic clock in seconds.

    Without `traces` no header of an event is read.
    """

    def __init__(
        self,
        *,
        router: Router,
        subscribers: Subscribers,
        table: Tables,
        source: Source,
        output: Output,
        connectivity: ConnectivityMonitor,
        metrics: RouterMetrics,
        waiting: WaitingRecords,
        now_s: Callable[[], float],
        max_uncommitted: int,
        drain_timeout: timedelta,
        traces: EventTraces | None = None,
    ) -> None:
        self._traces = traces
        self._route_record = router.route if traces is None else traces.timed(router.route)
        self._subscribers = subscribers
        self._table = table
        self._source = source
        self._output = output
        self._connectivity = connectivity
        self._metrics = metrics
        self._waiting = waiting
        self._restart_policy = RestartPolicy()
        self._now_s = now_s
        self._commits = Commits(output, source, max_uncommitted, now_s=now_s, on_commit=metrics.on_commit)
        self._drain_timeout_s = drain_timeout.total_seconds()
        self._fresh = False
        self._arrived: deque[SourceRecord] = deque()
        # Records with a decision that are not sent yet: of partitions that were paused, and the first one of `_arrived`
        # while there is no room for its jobs. They are sent before the others.
        self._decided: deque[tuple[SourceRecord, Decision]] = deque()
        self._unsent: EventRecords | None = None  # the event whose records are being sent
        self._routed: list[Routed] = []  # in this turn
        self._suspended_since_s: float | None = None
        self._observe_at_s = 0.0
        self._last_turn_s = now_s()
        self._paused = PausedPartitions()
        self._wait_report = WaitReport(self._paused, metrics)
        self._progress: tuple[int, int] = (0, 0)
        self._progress_s = now_s()
        self._unacknowledged = False  # for over UNACKNOWLEDGED_S
        self._fresh_s = now_s()  # when the table was fresh last, or not read yet

    def not_ready(self) -> str | None:
        """Return why the router does not route everything, or None; any thread may call it."""
        return self._connectivity.disconnected or self._waits_for() or self._paused.reason()

    def _waits_for(self) -> str | None:
        """Return why no event can be routed, apart from a lost connection."""
        if not self._table.current:
            return "the subscriptions have not been read yet"
        if (reason := self._source.why_not_reading) is not None:
            return reason
        if not self._fresh:
            return _STALE_TABLE
        return _UNACKNOWLEDGED if self._unacknowledged else None

    @property
    def unanswered(self) -> bool:
        """Whether the brokers do not respond to requests, though they did once."""
        if self._connectivity.disconnected is not None:
            return True
        return self._is_stale() and not self._table.receives(int(self._now_s() * 1_000))

    def _is_stale(self) -> bool:
        return self._now_s() - self._fresh_s > UNACKNOWLEDGED_S

    def run(self, topics: Sequence[str], stopping: Callable[[], bool]) -> bool:
        """Work until `stopping`, then send and commit events that were started; False if that was not done in time.

        Unavailable if the router cannot continue.
        """
        try:
            while not self._table.current and not stopping():
                self._poll_clients()
                self._observe_if_due(self._now_s())
                self._output.wait(IDLE_S)
            if not stopping():
                _log.info("table.loaded", subscriptions=len(self._table), unusable=self._subscribers.unusable)
                tune_gc()
                self._source.subscribe(topics, self._on_revoke)
            self._work(stopping)
            return self._drain()
        finally:
            self._source.close(CLOSE_S)

    def _work(self, stopping: Callable[[], bool]) -> None:
        try:
            while not stopping():
                self._turn()
        except Unavailable as error:
            self._check_stall(self._now_s())
            if self._restart_policy.should_restart(self._now_s()):
                raise RestartRequired(str(error)) from error
            raise

    def _check_stall(self, now_s: float) -> None:
        if now_s - self._last_turn_s > LONG_TURN_S:
            self._restart_policy.record_stall(now_s - self._last_turn_s)
        self._last_turn_s = now_s

    def _turn(self) -> None:
        now_s = self._now_s()
        self._check_stall(now_s)
        if self._source.reading and self._connectivity.disconnected is None:
            self._restart_policy.record_progress(now_s)
        elif self._source.lost and self._restart_policy.is_stranded(now_s):
            raise Unavailable("the partitions were lost, and none has been assigned since")
        self._commits.poll(now_s)
        if self._source.misplaced and self._all_is_sent() and not self._commits.pending:
            self._paused.clear()  # their records are read again
            self._source.recover_positions()
        self._read(now_s)
        self._poll_clients()
        if not self._commits.flushing and self._send() and self._fresh:
            self._route()
            self._count_routed()
        self._observe_if_due(now_s)

    def _read(self, now_s: float) -> None:
        """Read a batch if the previous one is done; otherwise only poll, to stay in the group."""
        if not self._commits.flushing and self._all_is_sent():
            self._suspended_since_s = None
            next_s = self._commits.next_s()
            wait_s = WAIT_S if next_s is None else min(WAIT_S, max(0.0, next_s - now_s))
            self._arrived.extend(self._source.read(wait_s, BATCH))
            return
        if self._suspended_since_s is None:
            self._suspended_since_s = now_s
        if now_s - self._suspended_since_s > SUSPEND_AFTER_S:
            self._arrived.extend(self._source.keep_alive(IDLE_S if self._unsent else WAIT_S))
            return
        # A short wait keeps the prefetched records. A record that this poll returns is routed in its turn.
        if self._commits.awaited or self._output.is_full or not self._fresh:
            self._output.wait(IDLE_S)
        self._arrived.extend(self._source.read(0.0, 1))

    def _all_is_sent(self) -> bool:
        return not self._arrived and not self._decided and self._unsent is None

    def _poll_clients(self) -> None:
        """Poll everything but the events: connectivity, producer and tables."""
        now_s = self._now_s()
        self._connectivity.poll(now_s)
        self._output.wait(0.0)
        if self._output.failure is not None:
            raise Unavailable(f"{self._output.failure}: the events are read again after the next start")
        now_ms = int(now_s * 1_000)
        self._table.poll(now_ms)
        self._subscribers.follow(self._table)
        self._fresh = self._table.is_fresh(now_ms)
        self._check_progress(now_s)
        self._wait_report.turn(None if self._connectivity.disconnected else self._waits_for(), now_s)

    def _check_progress(self, now_s: float) -> None:
        """Detect that the brokers accept nothing: records that wait for them look like an idle router otherwise."""
        progress = (self._commits.committed, self._unsent.count if self._unsent else -1)
        if progress != self._progress or (self._unsent is None and not self._commits.pending):
            self._progress = progress
            self._progress_s = now_s
        self._unacknowledged = now_s - self._progress_s > UNACKNOWLEDGED_S
        if self._fresh or not self._table.current:
            self._fresh_s = now_s

    def _route(self) -> None:
        """Route records that have arrived, until there is no room for more before a commit."""
        self._resume_partitions()
        arrived, decided, route, commits = self._arrived, self._decided, self._route_record, self._commits
        while self._send() and (decided or arrived):
            if decided:
                record, decision = decided.popleft()
            else:
                record = arrived.popleft()
                routing = route(record)
                if not isinstance(routing, (Routed, UnreadableEvent)):
                    self._pause_before(record, routing)
                    continue
                decision = routing
            if not commits.has_room(decision.count):
                decided.appendleft((record, decision))
                commits.make_room()
                return
            self._apply(decision, record)

    def _count_routed(self) -> None:
        """Count the events of this turn at once: that is cheaper than one by one."""
        if self._routed:
            self._metrics.on_routed(self._routed)
            self._routed.clear()

    def _resume_partitions(self) -> None:
        """Resume paused partitions whose record has a decision now. The record is sent before the next one is read."""
        for resumed in self._paused.resume(self._subscribers.blocked, self._route_record):
            self._decided.append((resumed.record, resumed.decision))
            self._source.resume(resumed.key)

    def _apply(self, decision: Decision, record: SourceRecord) -> None:
        key, offset = (record.topic(), record.partition()), record.offset()
        match decision:
            case Routed():
                self._unsent = EventRecords(key, offset + 1, self._output.jobs_topic, decision.jobs)
                self._routed.append(decision)
            case UnreadableEvent(sender=sender, reason=reason, letter=letter):
                self._unsent = EventRecords(key, offset + 1, self._output.dead_topic, iter((letter,)))
                self._metrics.on_unreadable(reason)
                place = {"topic": key[0], "partition": key[1], "offset": offset}
                # Without the detail, which may quote the event. The dead letter has it.
                _log.warning("record.dead_lettered", sender=sender, reason=reason, **place)
            case _:
                assert_never(decision)
        if self._traces is not None:
            self._unsent.headers = self._traces.start(record, decision)

    def _send(self) -> bool:
        """Continue to send the records of the current event; return True once all are sent.

        Only then may its offset be committed and the next event start. So a killed router repeats at most
        `max_uncommitted` jobs, or those of a single event that started when nothing else was uncommitted.
        """
        event = self._unsent
        if event is None:
            return True
        if not self._output.send(event):
            return False
        self._unsent = None
        if len(self._arrived) < BATCH:  # otherwise records would arrive faster than they are routed
            self._suspended_since_s = None
        self._commits.sent(event.key, event.next_offset, event.count, event.size)
        if self._traces is not None:
            self._traces.end()
        return True

    def _pause_before(self, record: SourceRecord, why: PauseReason) -> None:
        """Keep a record until there is a decision, and pause its partition behind it; the others continue."""
        key = (record.topic(), record.partition())
        self._paused.pause(key, record, why)
        kept = [other for other in self._arrived if (other.topic(), other.partition()) != key]
        self._arrived.clear()
        self._arrived.extend(kept)
        self._source.pause(key, record.offset() + 1)

    def _on_revoke(self, may_commit: bool) -> None:
        """Release all partitions; `may_commit` is False if they are lost already."""
        self._arrived.clear()
        self._decided.clear()
        self._unsent = None  # the next owner of the partition makes these jobs again, with the same ids
        self._paused.clear()
        self._commits.leave(may_commit)

    def _drain(self) -> bool:
        """Send and commit events that were started; the next owner reads the others again."""
        self._arrived.clear()
        self._decided.clear()
        deadline_s = self._now_s() + self._drain_timeout_s - CLOSE_S
        while (self._unsent or self._commits.pending) and self._now_s() < deadline_s:
            if self._commits.flushing or self._send():
                self._commits.poll(self._now_s(), at_once=True)
            self._output.wait(0.0)
            self._source.keep_alive(IDLE_S)
            if self._output.failure is not None:
                raise Unavailable(self._output.failure)
        if self._unsent or self._commits.pending:
            _log.warning("router.drained", complete=False, uncommitted=self._uncommitted())
            self._commits.leave(may_commit=False)  # else the close would commit once more, and wait for the broker
            return False
        _log.info("router.drained", complete=True)
        return True

    def _uncommitted(self) -> int:
        return self._commits.uncommitted + (self._unsent.count if self._unsent else 0)

    def _observe_if_due(self, now_s: float) -> None:
        if now_s >= self._observe_at_s:
            self._observe_at_s = now_s + OBSERVE_EVERY_S
            self._observe()

    def _observe(self) -> None:
        self._metrics.set_uncommitted(self._uncommitted())
        self._metrics.set_table(len(self._table), self._subscribers.unusable)
        self._metrics.set_table_staleness(self._table.staleness_ms(int(self._now_s() * 1_000)) / 1_000)
        disconnected = self._connectivity.disconnected is not None
        self._metrics.set_waiting_for_broker(disconnected or self._is_stale() or self._unacknowledged)
        positions = self._source.positions()
        for record in self._in_memory():
            key, offset = (record.topic(), record.partition()), record.offset()
            positions[key] = min(offset, positions.get(key, offset))
        if self._unsent is not None:
            positions[self._unsent.key] = self._unsent.next_offset - 1
        self._waiting.turn(self._now_s(), positions)
        self._metrics.set_lag(self._waiting.by_topic(positions))
        self._metrics.set_unread_age(self._waiting.ages_by_topic(positions))

    def _in_memory(self) -> Iterable[SourceRecord]:
        """Return the records that were read and have no jobs yet."""
        return chain(self._arrived, (record for record, _ in self._decided), self._paused.records())
