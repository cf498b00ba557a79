"""The delivery loop: poll Kafka, start requests, collect responses, commit.

It is single-threaded, and nothing may block here: a stalled loop makes finished requests look like timeouts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from consumers.delivery.endpoint import Endpoint
from consumers.delivery.housekeeping import Housekeeping
from consumers.delivery.http.client import HttpClient
from consumers.delivery.long_timeouts import LongTimeouts
from consumers.delivery.partitions.committer import Committer
from consumers.delivery.partitions.outbox import Outbox
from consumers.delivery.partitions.progress import MAX_BATCH
from consumers.delivery.partitions.reader import Reader
from consumers.delivery.scheduler import MAX_BUFFERED_BYTES, Scheduler
from consumers.service.gc_tuning import tune_gc
from consumers.service.restart_policy import RestartPolicy
from consumers.subscriptions.table import SubscriptionTable
from schemas.catalog.errors import RestartRequired, Unavailable

_log = structlog.get_logger("delivery")
# This many buffered jobs keep all permits in use; more would only wait in memory instead of in their topic.
_BUFFERED: Final = 1_024
# In a busy loop endpoints wait for the loop, not the loop for them. Jobs that are read long before they are sent have
# left the processor's cache by then.
_BUFFERED_BUSY: Final = 256
# While requests are open, the loop polls Kafka this often.
_SOCKETS_S: Final = 0.002
# While none are open, a poll of Kafka waits this long.
_IDLE_S: Final = 0.02
# The loop counts as busy after this long without an idle turn.
_BUSY_AFTER_MS: Final = 100
# The group has to be polled even while nothing may be read (max.poll.interval.ms is 15 s): one record a second then.
_POLL_AT_LEAST_MS: Final = 1_000
# Half the session timeout. After such a stall the process may have lost its partitions without knowing.
STALL_MS: Final = 5_000
# No turn of a running process takes this long.
_LONG_TURN_MS: Final = 1_500
# Moves to other delay topics that may be uncommitted: half of the default of `max_uncommitted`.
_MAX_MOVES: Final = 2_500
_DEFER_STUCK_EVERY_MS: Final = 250
_LOG_AFTER_S: Final = 1.0
_LOG_AGAIN_MS: Final = 60_000
_NO_COMMIT: Final = "the broker has not committed for over 2 s"
_STALE_TABLE: Final = "the broker does not confirm that the subscriptions table is current"
_UNVERIFIED: Final = "the process stalled: ownership of its partitions is unverified until a transaction commits"
_CUT: Final = "drain_timeout is over: the next process sends the open requests again"
_NO_PARTITIONS: Final = "no partitions are assigned yet, or their positions are not known yet"


@dataclass(frozen=True, slots=True)
class Clocks:
    """Unix time and a monotonic clock, both in ms."""

    unix_ms: Callable[[], int]
    monotonic_ms: Callable[[], int]


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """Limits of a process: concurrent requests, and the time for draining."""

    max_in_flight: int
    drain_ms: int


class DeliveryLoop:
    """Runs until it is stopped, then drains."""

    def __init__(
        self,
        *,
        reader: Reader,
        scheduler: Scheduler,
        client: HttpClient,
        outbox: Outbox,
        committer: Committer,
        table: SubscriptionTable[Endpoint],
        long_timeouts: LongTimeouts,
        housekeeping: Housekeeping,
        clocks: Clocks,
        limits: ProcessLimits,
    ) -> None:
        self._reader = reader
        self._scheduler = scheduler
        self._client = client
        self._outbox = outbox
        self._committer = committer
        self._table = table
        self._long_timeouts = long_timeouts
        self._housekeeping = housekeeping
        self._now = clocks.unix_ms
        self._monotonic = clocks.monotonic_ms
        self._limits = limits
        self._last_turn_ms = clocks.monotonic_ms()
        self._last_read_ms = 0
        self._defer_stuck_ms = 0
        # Number of the last transaction begun before a stall. The commit of a later one verifies ownership.
        self._unverified_until: int | None = None
        self._restart_policy = RestartPolicy()
        self._moves_in_transaction = 0  # the scheduler's count when the last transaction was begun
        self._moves_committed = 0
        self._idle_ms = 0  # when the loop was idle last
        self._has_room = False  # nothing pauses this process, and more results may be uncommitted
        self._logged = True  # whether the pause named by `paused_by` is in the log
        self._log_again_ms: dict[str, int] = {}
        self.paused_by: str | None = "starting"  # why no request may start, for /readyz and the log

    @property
    def waits_for_broker(self) -> bool:
        """Whether no request may start because the broker does not respond."""
        return self.paused_by in (_NO_COMMIT, _STALE_TABLE)

    @property
    def unanswered(self) -> bool:
        """Whether the brokers do not respond to requests, though they did once."""
        return self.paused_by == _STALE_TABLE and not self._table.receives(self._monotonic())

    def run(self, pattern: str, stopping: Callable[[], bool]) -> bool:
        """Deliver until `stopping` returns True, then drain. Return whether all results are committed.

        SettingsError if a subscription has a timeout that is too long for the drain.
        """
        self._load_table(stopping)
        self._long_timeouts.check_start()
        tune_gc()
        self._reader.subscribe(pattern)
        self._deliver(stopping)
        return self._drain()

    def _load_table(self, stopping: Callable[[], bool]) -> None:
        while not (self._table.current or stopping()):
            known = len(self._table)
            self._table.poll(self._monotonic())
            self._housekeeping.turn(self._now(), self.waits_for_broker)
            if len(self._table) == known:
                time.sleep(_SOCKETS_S)

    def _deliver(self, stopping: Callable[[], bool]) -> None:
        try:
            while not stopping():
                self._turn()
                self._housekeeping.turn(self._now(), self.waits_for_broker)
        except Unavailable as error:
            self._detect_stall(self._monotonic())
            # A process that is fenced after a stall, before it commits again, has lost its instance id to another one.
            if self._unverified_until is None and self._restart_policy.should_restart(self._monotonic() / 1_000):
                raise RestartRequired(str(error)) from error
            raise

    def _turn(self) -> None:
        monotonic_ms = self._monotonic()
        self._detect_stall(monotonic_ms)
        self._table.poll(monotonic_ms)
        self._advance_transactions(self._now())
        self._read(monotonic_ms)
        # Reading may have taken partitions away, so the room is computed after it.
        now_ms = self._now()
        room = self._room(now_ms, self._monotonic())
        if room > 0 and self._scheduler.has_startable(now_ms):
            self._scheduler.start(room, now_ms)
        self._collect_responses(_SOCKETS_S)

    def _detect_stall(self, monotonic_ms: int) -> None:
        stalled_ms = monotonic_ms - self._last_turn_ms
        if stalled_ms > _LONG_TURN_MS:
            self._restart_policy.record_stall(stalled_ms / 1_000)
            self._scheduler.on_stall(self._now())
        if stalled_ms > STALL_MS and self._reader.owns:
            _log.warning("delivery.stalled", for_ms=stalled_ms)
            self._unverified_until = self._committer.last_number
        self._last_turn_ms = monotonic_ms

    def _advance_transactions(self, now_ms: int) -> None:
        """Collect a finished transaction, continue a recovery, begin the next transaction, resume partitions."""
        self._collect_transaction(now_ms)
        self._recover(now_ms)
        self._committer.while_recovering(self._reader.awaited_s)
        if not self._reader.owns:
            if self._reader.lost and self._restart_policy.is_stranded(self._monotonic() / 1_000):
                raise Unavailable("the partitions were lost, and none have been assigned since")
            return
        if self._unverified_until is not None and not self._outbox.pending:
            self._outbox.touch(next(iter(self._reader.partitions.values())))
        before = self._committer.last_number
        self._committer.commit(now_ms, self._reader.group_metadata)
        if self._committer.last_number != before:
            self._moves_in_transaction = self._scheduler.moves
        self._reader.wake(now_ms)
        if now_ms >= self._defer_stuck_ms and self._has_room:
            self._defer_stuck_ms = now_ms + _DEFER_STUCK_EVERY_MS
            self._scheduler.defer_stuck(now_ms)

    def _collect_transaction(self, now_ms: int) -> None:
        committed = self._committer.collect(now_ms)
        if committed:
            self._moves_committed = self._moves_in_transaction
        elif self._committer.idle:
            self._moves_committed = self._scheduler.moves
        if self._unverified_until is not None and committed > self._unverified_until:
            self._unverified_until = None

    def _recover(self, now_ms: int) -> None:
        # Until the transaction under way has ended, the committed positions are unknown.
        if self._committer.busy:
            return
        recovered = self._reader.recover()
        if recovered is not None:
            self._scheduler.on_recovered(recovered, now_ms)

    def _room(self, now_ms: int, monotonic_ms: int) -> int:
        """Return how many requests may start now. Report the reason if this process has to pause."""
        reason = self._reason_to_pause(now_ms, monotonic_ms)
        self._report_pause(reason, monotonic_ms)
        uncommitted = self._committer.room() if reason is None else 0
        self._has_room = uncommitted > 0
        return min(self._limits.max_in_flight - self._client.in_flight, uncommitted)

    def _may_start(self, now_ms: int, monotonic_ms: int) -> bool:
        """Whether a request may start now, as far as the limit of requests in flight allows."""
        return self._reason_to_pause(now_ms, monotonic_ms) is None and self._committer.room() > 0

    def _report_pause(self, reason: str | None, monotonic_ms: int) -> None:
        """Log a pause that has lasted a second, and its end. Each reason is logged at most once a minute.

        With a slow broker the loop pauses in every transaction. Endpoints get no requests meanwhile, so their measured
        throughput is discarded: it would defer the jobs that are read during the pause, or right after it.
        """
        if reason is None:
            if self.paused_by is not None:
                if self._logged:
                    _log.info("delivery.resumed", after=self.paused_by)
                self._scheduler.on_stall(self._now())
            self.paused_by = None
            self._restart_policy.record_progress(monotonic_ms / 1_000)
        elif reason != self.paused_by and self._restart_policy.idle_s(monotonic_ms / 1_000) > _LOG_AFTER_S:
            if self.paused_by is None:
                self._scheduler.on_stall(self._now())
            self.paused_by = reason
            self._logged = monotonic_ms >= self._log_again_ms.get(reason, 0)
            if self._logged:
                self._log_again_ms[reason] = monotonic_ms + _LOG_AGAIN_MS
                _log.warning("delivery.paused", reason=reason)

    def _reason_to_pause(self, now_ms: int, monotonic_ms: int) -> str | None:
        owns = self._reader.owns
        if owns and self._committer.is_overdue(now_ms):
            return _NO_COMMIT
        if owns and self._unverified_until is not None:
            return _UNVERIFIED
        # Brokers that do not respond are the reason also when the partitions were lost with them.
        if not self._table.is_fresh(monotonic_ms):
            return _STALE_TABLE
        return None if owns else _NO_PARTITIONS

    def _read(self, monotonic_ms: int) -> None:
        if monotonic_ms - self._idle_ms < _BUSY_AFTER_MS:
            wanted = _BUFFERED - self._scheduler.buffered
        else:
            wanted = _BUFFERED_BUSY - self._scheduler.soon
        now_ms = self._now()
        idle = not self._client.is_busy and not (
            self._scheduler.has_startable(now_ms) and self._may_start(now_ms, monotonic_ms)
        )
        if wanted <= 0 or self._scheduler.bytes >= MAX_BUFFERED_BYTES or not self._may_read():
            if monotonic_ms - self._last_read_ms < _POLL_AT_LEAST_MS:
                if idle:
                    time.sleep(_SOCKETS_S)
                return
            wanted = 1
        self._last_read_ms = monotonic_ms
        records = self._reader.read(self._idle_s() if idle else 0.0, min(wanted, MAX_BATCH))
        if records:
            self._scheduler.add(records, self._now())

    def _may_read(self) -> bool:
        """Whether more records may be read: their results will be uncommitted for a while.

        Deferred jobs may use half of `max_uncommitted`; the other half is reserved for attempts. A flood is deferred as
        fast as it is read.
        """
        uncommitted_moves = self._scheduler.moves - self._moves_committed
        return self._committer.room() > 0 and uncommitted_moves < _MAX_MOVES

    def _idle_s(self) -> float:
        """Return how long an idle loop may wait for a record."""
        due_ms = self._scheduler.next_due_ms if self._may_start(self._now(), self._monotonic()) else None
        wake_ms = self._reader.next_wake_ms if self._reader.owns else None
        soon = [at_ms for at_ms in (due_ms, wake_ms) if at_ms is not None]
        if not soon:
            return _IDLE_S
        return max(0.0, min(_IDLE_S, (min(soon) - self._now()) / 1_000))

    def _collect_responses(self, timeout_s: float) -> None:
        if not self._client.is_busy:
            self._idle_ms = self._monotonic()
            return
        result = self._client.poll(0.0)
        if not (result.completed or result.to_confirm):
            self._idle_ms = self._monotonic()
            result = self._client.poll(timeout_s)
        if result.completed:
            self._scheduler.on_responses(result.completed, self._now())
        if result.to_confirm:
            self._scheduler.confirm(result.to_confirm, may_start=self._has_room)

    def _drain(self) -> bool:
        """Wait for open requests, commit, leave the group."""
        deadline = self._monotonic() + self._limits.drain_ms
        _log.info("delivery.drain_started", in_flight=self._client.in_flight + self._client.resolving)
        while self._monotonic() < deadline and not self._is_drained():
            self._detect_stall(self._monotonic())
            self._table.poll(self._monotonic())
            self._collect_transaction(self._now())
            self._recover(self._now())
            if self._reader.owns:
                at_once = not self._client.is_busy
                self._committer.commit(self._now(), self._reader.group_metadata, at_once=at_once)
            self._reader.ignore(0.0 if self._client.is_busy else _SOCKETS_S)
            self._has_room = self._may_start(self._now(), self._monotonic())  # for requests to confirm
            self._collect_responses(_SOCKETS_S)
            self._housekeeping.turn(self._now(), self.waits_for_broker)
        complete = self._is_drained()
        open_requests = self._client.in_flight
        self._reader.close()
        self._table.close()
        if complete:
            _log.info("delivery.drained", complete=True)
        else:
            _log.warning("delivery.drained", complete=False, open_requests=open_requests, note=_CUT)
        return complete

    def _is_drained(self) -> bool:
        """Whether no request is open, and every result is committed or belongs to other processes."""
        if self._client.is_busy or self._committer.busy:
            return False
        return self._committer.idle or not (self._reader.owns or self._reader.recovering)
