"""The delivery loop: one thread that reads jobs, runs their requests, judges answers and commits.

It never waits for one of them while another could go on: a loop that stands still makes answered requests look late.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from consumers.delivery.committer import Committer
from consumers.delivery.dispatch import MAX_BYTES_AT_HAND, Dispatcher
from consumers.delivery.endpoint import Endpoint
from consumers.delivery.outbox import Outbox
from consumers.delivery.progress import MAX_BATCH
from consumers.delivery.reader import Reader
from consumers.delivery.transport import Transport
from consumers.runtime.collector import spare_hot_path
from consumers.runtime.outage import Outage
from consumers.table import SubscriptionTable
from schemas.errors import BeginAnew, Unavailable

_log = structlog.get_logger("delivery")
# So many jobs at hand keep all places filled; more would only wait here instead of in their topic.
_AT_HAND: Final = 1_024
# In a loop that is busy all the time endpoints wait for it, not it for them. What it reads long before it is sent has
# left the processor's cache by then: 5 us of a delivery's 50.
_AT_HAND_BUSY: Final = 256
# With requests open the loop looks at Kafka this often, without any it waits there.
_SOCKETS_S: Final = 0.002
_IDLE_S: Final = 0.02
# A loop that has found something to do all the time for so long is what its endpoints wait for.
_IDLED_MS: Final = 100
# The group has to be polled though nothing can be taken (max.poll.interval.ms is 15 s): one record a second then.
_POLL_AT_LEAST_MS: Final = 1_000
# Half the session timeout: whoever stood still so long may have lost its partitions without knowing.
STALL_MS: Final = 5_000
# No turn of a process that runs takes so long.
_LONG_TURN_MS: Final = 1_500
# So many moves to other tiers may be uncommitted: half of `max_uncommitted` as it is by default.
_MAX_MOVES: Final = 2_500
_LOOK_FOR_STUCK_MS: Final = 250
_TELL_AFTER_S: Final = 1.0
_LOG_AGAIN_MS: Final = 60_000
_NO_COMMIT: Final = "the broker has not committed for over 2 s"
_NO_NEWS: Final = "the broker does not say what is new in subscriptions"


@dataclass(frozen=True, slots=True)
class Clocks:
    """Time, handed in: Unix time and a monotonic clock, both in ms."""

    unix_ms: Callable[[], int]
    monotonic_ms: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a process."""

    max_in_flight: int
    drain_ms: int


class DeliveryLoop:
    """Runs until told to stop, then drains."""

    def __init__(
        self,
        *,
        reader: Reader,
        dispatcher: Dispatcher,
        transport: Transport,
        outbox: Outbox,
        committer: Committer,
        table: SubscriptionTable[Endpoint],
        clocks: Clocks,
        limits: Limits,
    ) -> None:
        self._reader = reader
        self._dispatcher = dispatcher
        self._transport = transport
        self._outbox = outbox
        self._committer = committer
        self._table = table
        self._now = clocks.unix_ms
        self._monotonic = clocks.monotonic_ms
        self._limits = limits
        self._last_turn_ms = clocks.monotonic_ms()
        self._last_read_ms = 0
        self._look_for_stuck_ms = 0
        self._doubted_at: int | None = None  # number of the last transaction that was begun before a stall
        self._outage = Outage()
        self._moves_sealed = 0  # of the dispatcher's, when the last transaction was begun
        self._moves_committed = 0
        self._idled_ms = 0  # when nothing was to be done last
        self._may_park = False  # nothing of ours keeps jobs from being started, or parked
        self._logged = True  # whether `waiting` was
        self._log_again_ms: dict[str, int] = {}
        self.waiting: str | None = "starting"  # why nothing is started, for /readyz and the log

    @property
    def waits_for_broker(self) -> bool:
        """Whether nothing is started because the broker does not answer."""
        return self.waiting in (_NO_COMMIT, _NO_NEWS)

    def run(self, pattern: str, stopping: Callable[[], bool], each_turn: Callable[[int], None]) -> bool:
        """Deliver until `stopping`, then drain; True if everything that happened is committed."""
        while not (self._table.current or stopping()):
            known = len(self._table)
            self._table.poll(self._monotonic())
            each_turn(self._now())
            if len(self._table) == known:
                time.sleep(_SOCKETS_S)
        spare_hot_path()
        self._reader.subscribe(pattern)
        self._work(stopping, each_turn)
        return self._drain(each_turn)

    def _work(self, stopping: Callable[[], bool], each_turn: Callable[[int], None]) -> None:
        try:
            while not stopping():
                self._turn()
                each_turn(self._now())
        except Unavailable as error:
            self._note_standstill(self._monotonic())
            # Who stood still and is fenced before it could commit again has lost its slot to another process.
            if self._doubted_at is None and self._outage.explains(self._monotonic() / 1_000):
                raise BeginAnew(str(error)) from error
            raise

    def _turn(self) -> None:
        monotonic_ms = self._monotonic()
        self._note_standstill(monotonic_ms)
        self._table.poll(monotonic_ms)
        self._housekeeping(self._now())
        self._read(monotonic_ms)
        # Asked after reading, which may have taken partitions away.
        now_ms = self._now()
        room = self._room(now_ms, self._monotonic())
        if room > 0 and self._dispatcher.has_startable(now_ms):
            self._dispatcher.start(room, now_ms)
        self._answers(_SOCKETS_S)

    def _note_standstill(self, monotonic_ms: int) -> None:
        stood_ms = monotonic_ms - self._last_turn_ms
        if stood_ms > _LONG_TURN_MS:
            self._outage.stood_still(stood_ms / 1_000)
            self._dispatcher.stood_still(self._now())
        if stood_ms > STALL_MS and self._reader.owns:
            _log.warning("delivery.stood_still", for_ms=stood_ms)
            self._doubted_at = self._committer.last_number
        self._last_turn_ms = monotonic_ms

    def _housekeeping(self, now_ms: int) -> None:
        """Collect and begin transactions, go on with a takeover, wake lanes."""
        committed = self._committer.collect(now_ms)
        if committed or self._committer.idle:
            self._moves_committed = self._moves_sealed if committed else self._dispatcher.moves
        if self._doubted_at is not None and committed > self._doubted_at:
            self._doubted_at = None
        if not self._committer.busy and self._reader.take_over():
            self._dispatcher.drop_lost(now_ms)
        self._committer.while_taking_over(self._reader.awaited_s)
        if not self._reader.owns:
            if self._reader.lost and self._outage.is_stranded(self._monotonic() / 1_000):
                raise Unavailable("the partitions were lost, and none were assigned since")
            return
        if self._doubted_at is not None and not self._outbox.pending:
            self._outbox.touch(next(iter(self._reader.lanes.values())))
        before = self._committer.last_number
        self._committer.commit(now_ms, self._reader.group_metadata)
        if self._committer.last_number != before:
            self._moves_sealed = self._dispatcher.moves
        self._reader.wake(now_ms)
        if now_ms >= self._look_for_stuck_ms and self._may_park:
            self._look_for_stuck_ms = now_ms + _LOOK_FOR_STUCK_MS
            self._dispatcher.park_stuck(now_ms)

    def _room(self, now_ms: int, monotonic_ms: int) -> int:
        """Return how many requests may be started now, and say why if it is none for a reason of ours."""
        reason = self._reason_to_wait(now_ms, monotonic_ms)
        self._tell(reason, monotonic_ms)
        uncommitted = self._committer.room() if reason is None else 0
        self._may_park = self._dispatcher.may_start = uncommitted > 0
        return min(self._limits.max_in_flight - self._transport.in_flight, uncommitted)

    def _has_room(self, now_ms: int, monotonic_ms: int) -> bool:
        """Tell whether something may be started now, where no request is open."""
        return self._reason_to_wait(now_ms, monotonic_ms) is None and self._committer.room() > 0

    def _tell(self, reason: str | None, monotonic_ms: int) -> None:
        """Log why nothing is started, once that has lasted a second, and when it goes on; each reason once a minute.

        A slow broker has it wait in every transaction.
        """
        if reason is None:
            if self._logged and self.waiting is not None:
                _log.info("delivery.goes_on", after=self.waiting)
                self._dispatcher.stood_still(self._now())  # endpoints got nothing: that says nothing of what they take
            self.waiting = None
            self._outage.works(monotonic_ms / 1_000)
        elif reason != self.waiting and self._outage.lasts_s(monotonic_ms / 1_000) > _TELL_AFTER_S:
            self.waiting = reason
            self._logged = monotonic_ms >= self._log_again_ms.get(reason, 0)
            if self._logged:
                self._log_again_ms[reason] = monotonic_ms + _LOG_AGAIN_MS
                _log.warning("delivery.waits", reason=reason)

    def _reason_to_wait(self, now_ms: int, monotonic_ms: int) -> str | None:
        if not self._reader.owns:
            return "no partitions assigned yet"
        if self._committer.is_overdue(now_ms):
            return _NO_COMMIT
        if self._doubted_at is not None:
            return "the process stood still: its partitions are in doubt until a transaction succeeds"
        if not self._table.is_fresh(monotonic_ms):
            return _NO_NEWS
        return None

    def _read(self, monotonic_ms: int) -> None:
        idled = monotonic_ms - self._idled_ms < _IDLED_MS
        wanted = _AT_HAND - self._dispatcher.at_hand if idled else _AT_HAND_BUSY - self._dispatcher.soon
        now_ms = self._now()
        idle = not self._transport.is_busy and not (
            self._dispatcher.has_startable(now_ms) and self._has_room(now_ms, monotonic_ms)
        )
        if wanted <= 0 or self._dispatcher.bytes >= MAX_BYTES_AT_HAND or not self._may_read():
            if monotonic_ms - self._last_read_ms < _POLL_AT_LEAST_MS:
                if idle:
                    time.sleep(_SOCKETS_S)
                return
            wanted = 1
        self._last_read_ms = monotonic_ms
        self._reader.read(self._idle_s() if idle else 0.0, min(wanted, MAX_BATCH), self._now)

    def _may_read(self) -> bool:
        """Whether more may be uncommitted; half of it is for attempts, though a flood is parked as fast as it is read.

        What cannot be committed is not to grow by what is parked or poison either.
        """
        uncommitted_moves = self._dispatcher.moves - self._moves_committed
        return self._committer.room() > 0 and uncommitted_moves < _MAX_MOVES

    def _idle_s(self) -> float:
        """Return how long to wait for a record while nothing else is to be done."""
        due_ms = self._dispatcher.next_due_ms if self._has_room(self._now(), self._monotonic()) else None
        wake_ms = self._reader.next_wake_ms if self._reader.owns else None
        soon = [at_ms for at_ms in (due_ms, wake_ms) if at_ms is not None]
        if not soon:
            return _IDLE_S
        return max(0.0, min(_IDLE_S, (min(soon) - self._now()) / 1_000))

    def _answers(self, timeout_s: float) -> None:
        if self._transport.is_busy:
            answers = self._transport.work(0.0)
            if not answers:
                self._idled_ms = self._monotonic()
                answers = self._transport.work(timeout_s)
            if answers:
                self._dispatcher.answered(answers, self._now())
        else:
            self._idled_ms = self._monotonic()

    def _drain(self, each_turn: Callable[[int], None]) -> bool:
        """Wait for what is in flight, commit, leave the group."""
        deadline = self._monotonic() + self._limits.drain_ms
        _log.info("delivery.draining", in_flight=self._transport.in_flight + self._transport.resolving)
        while self._monotonic() < deadline and not self._is_drained():
            self._table.poll(self._monotonic())
            self._committer.collect(self._now())
            if not self._committer.busy and self._reader.take_over():
                self._dispatcher.drop_lost(self._now())
            if self._reader.owns:
                at_once = not self._transport.is_busy
                self._committer.commit(self._now(), self._reader.group_metadata, at_once=at_once)
            self._reader.ignore(0.0 if self._transport.is_busy else _SOCKETS_S)
            self._answers(_SOCKETS_S)
            each_turn(self._now())
        complete = self._is_drained()
        self._reader.close()
        self._table.close()
        _log.info("delivery.drained", complete=complete)
        return complete

    def _is_drained(self) -> bool:
        """Whether nothing is open, and what happened is committed or no longer ours to commit."""
        if self._transport.is_busy or self._committer.busy:
            return False
        return self._committer.idle or not (self._reader.owns or self._reader.takes_over)
