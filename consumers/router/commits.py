"""Commits of source offsets after the records of their events.

About every 100 ms, or when the maximum of uncommitted records is reached, all sent records are flushed. If every record
was acknowledged, the offsets of their events are committed. One commit is in flight at a time. Until it is confirmed
its records count as uncommitted, because a process that is killed now would repeat them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from consumers.kafka.positions import PartitionKey
from consumers.router.output import Output
from consumers.router.source import Source
from consumers.router.source_recovery import Positions

COMMIT_EVERY_S: Final = 0.1
# A flush waits at most this long, as the consumer has to be polled meanwhile.
FLUSH_S: Final = 0.1
# The whole group waits for this process in a rebalance.
LEAVE_S: Final = 1.0
MAX_BYTES: Final = 32 * 1024 * 1024


@dataclass(slots=True)
class _Sent:
    """Next offsets of the sent events, and the number and size of their records."""

    positions: Positions = field(default_factory=dict)
    records: int = 0
    size: int = 0


class Commits:
    """Keeps at most `max_uncommitted` records uncommitted; `on_commit` gets the duration of each flush and commit."""

    def __init__(
        self,
        output: Output,
        source: Source,
        max_uncommitted: int,
        *,
        now_s: Callable[[], float],
        on_commit: Callable[[float], None],
    ) -> None:
        self._output = output
        self._source = source
        self._max_uncommitted = max_uncommitted
        self._now_s = now_s
        self._on_commit = on_commit
        self._new = _Sent()
        self._in_flight: _Sent | None = None
        self._flushing_since_s: float | None = None
        self._due_at_s = 0.0
        self.committed = 0  # number of successful commits

    @property
    def uncommitted(self) -> int:
        """Number of records that a process killed now would repeat."""
        return self._new.records + (self._in_flight.records if self._in_flight else 0)

    @property
    def pending(self) -> bool:
        """Whether there is anything to commit, or a commit in flight."""
        return bool(self._new.positions) or self._in_flight is not None

    @property
    def flushing(self) -> bool:
        """Whether nothing may be sent until the flush ends."""
        return self._flushing_since_s is not None

    @property
    def awaited(self) -> bool:
        """Whether there is no room until the commit in flight is confirmed."""
        return self.flushing and self._in_flight is not None

    def has_room(self, records: int) -> bool:
        """Whether this many records may be sent before the next commit; those of a single event always may."""
        uncommitted = self.uncommitted
        if uncommitted == 0:
            return True
        return uncommitted + records <= self._max_uncommitted and self._new.size < MAX_BYTES

    def sent(self, key: PartitionKey, next_offset: int, records: int, size: int) -> None:
        """Count all records of the event before `next_offset` as sent; `size` is in bytes."""
        new = self._new
        new.positions[key] = next_offset
        new.records += records
        new.size += size

    def next_s(self) -> float | None:
        """Return when the next commit is due; None if there is nothing to commit, or a commit is in flight."""
        return self._due_at_s if self._new.positions and self._in_flight is None else None

    def make_room(self) -> None:
        """Flush and commit now."""
        if self._flushing_since_s is None:
            self._flushing_since_s = self._now_s()
        # The records of a commit in flight are uncommitted until it is confirmed, even if nothing is left to flush.
        if not self._output.flush(FLUSH_S) or self._in_flight is not None or self._output.failure is not None:
            return
        since_s = self._flushing_since_s
        self._flushing_since_s = None
        self._due_at_s = self._now_s() + COMMIT_EVERY_S
        if not self._new.positions:
            return
        sent = self._new
        self._new = _Sent()
        self._in_flight = sent
        self._source.commit(sent.positions, lambda committed: self._on_committed(sent, since_s, committed))

    def poll(self, now_s: float, *, at_once: bool = False) -> None:
        """Continue a flush, or start one if a commit is due."""
        due = bool(self._new.positions) and self._in_flight is None and (at_once or now_s >= self._due_at_s)
        if due or self.flushing:
            self.make_room()

    def leave(self, may_commit: bool) -> None:
        """Flush for a second, commit for at most 10 s, then forget everything: the next owner routes the rest again."""
        positions = (self._in_flight.positions if self._in_flight else {}) | self._new.positions
        may_commit = may_commit and bool(positions) and self._output.failure is None
        # The flush may report a failure.
        if may_commit and self._output.flush(LEAVE_S) and self._output.failure is None:
            self._source.commit_now(positions)
        self._new = _Sent()
        self._in_flight = None
        self._flushing_since_s = None

    def _on_committed(self, sent: _Sent, since_s: float, committed: bool) -> None:
        if self._in_flight is not sent:
            return  # the partitions were revoked
        self._in_flight = None
        if committed:
            self.committed += 1
            self._on_commit(self._now_s() - since_s)
            return
        # Add its offsets to the next commit.
        self._new.positions = sent.positions | self._new.positions
        self._new.records += sent.records
        self._new.size += sent.size
