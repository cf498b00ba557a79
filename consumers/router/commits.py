"""What was sent since the last commit, and when it is committed.

Offsets follow their records: about every 100 ms, or when there is no room for more, everything that was sent is
flushed, and what it came from is committed if every record was acknowledged. One commit is on its way at a time; until
it is confirmed, its records count as uncommitted, because a process that is killed now would repeat them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from consumers.kafka.positions import PartitionKey
from consumers.router.output import Output
from consumers.router.partition_recovery import Positions
from consumers.router.source import Source

COMMIT_EVERY_S: Final = 0.1
# A flush that takes longer than this waits for a broker: meanwhile the consumer has to be polled.
FLUSH_S: Final = 0.1
# In a rebalance, all of the group waits for us.
LEAVE_S: Final = 1.0
MAX_BYTES: Final = 32 * 1024 * 1024


@dataclass(slots=True)
class _Sent:
    """Next offsets behind what was sent, and how much it was."""

    positions: Positions = field(default_factory=dict)
    records: int = 0
    size: int = 0


class Commits:
    """Keeps at most `max_uncommitted` records uncommitted; `committed` gets the duration of each flush and commit."""

    def __init__(
        self,
        output: Output,
        source: Source,
        max_uncommitted: int,
        *,
        now_s: Callable[[], float],
        committed: Callable[[float], None],
    ) -> None:
        self._output = output
        self._source = source
        self._max_uncommitted = max_uncommitted
        self._now_s = now_s
        self._committed = committed
        self._new = _Sent()
        self._on_its_way: _Sent | None = None
        self._flushing_since_s: float | None = None
        self._due_at_s = 0.0

    @property
    def uncommitted(self) -> int:
        """Number of records that a process killed now would repeat."""
        return self._new.records + (self._on_its_way.records if self._on_its_way else 0)

    @property
    def pending(self) -> bool:
        """Whether there is anything to commit, or a commit on its way."""
        return bool(self._new.positions) or self._on_its_way is not None

    @property
    def flushing(self) -> bool:
        """Whether nothing may be sent, because what was sent is being waited for."""
        return self._flushing_since_s is not None

    @property
    def awaited(self) -> bool:
        """Whether there is no room before the commit that is on its way has been confirmed."""
        return self.flushing and self._on_its_way is not None

    def has_room(self, records: int) -> bool:
        """Whether so many records may be sent before the next commit; those of one event alone always may."""
        uncommitted = self.uncommitted
        if uncommitted == 0:
            return True
        return uncommitted + records <= self._max_uncommitted and self._new.size < MAX_BYTES

    def sent(self, key: PartitionKey, next_offset: int, records: int, size: int) -> None:
        """Note that all records of the event before `next_offset` were sent; `size` is in bytes."""
        new = self._new
        new.positions[key] = next_offset
        new.records += records
        new.size += size

    def next_s(self) -> float | None:
        """Return when the next commit is due; None if there is nothing to commit, or one is on its way."""
        return self._due_at_s if self._new.positions and self._on_its_way is None else None

    def make_room(self) -> None:
        """Flush and commit now."""
        if self._flushing_since_s is None:
            self._flushing_since_s = self._now_s()
        # The records of a commit on its way are uncommitted until it is confirmed: nothing to flush would change that.
        if not self._output.flush(FLUSH_S) or self._on_its_way is not None or self._output.trouble is not None:
            return
        since_s, self._flushing_since_s = self._flushing_since_s, None
        self._due_at_s = self._now_s() + COMMIT_EVERY_S
        if not self._new.positions:
            return
        sent, self._new = self._new, _Sent()
        self._on_its_way = sent
        self._source.commit(sent.positions, lambda committed: self._ended(sent, since_s, committed))

    def poll(self, now_s: float, *, at_once: bool = False) -> None:
        """Go on with a flush, or begin one where it is time."""
        due = bool(self._new.positions) and self._on_its_way is None and (at_once or now_s >= self._due_at_s)
        if due or self.flushing:
            self.make_room()

    def leave(self, may_commit: bool) -> None:
        """Let go: what was sent is committed within a second or so, or else forgotten, to be routed again."""
        positions = (self._on_its_way.positions if self._on_its_way else {}) | self._new.positions
        if positions and may_commit and self._output.trouble is None and self._output.flush(LEAVE_S):
            # A failure may have been reported just now.
            _ = self._output.trouble is None and self._source.commit_now(positions)
        self._new = _Sent()
        self._on_its_way = None
        self._flushing_since_s = None

    def _ended(self, sent: _Sent, since_s: float, committed: bool) -> None:
        if self._on_its_way is not sent:
            return  # of partitions that have been let go
        self._on_its_way = None
        if committed:
            self._committed(self._now_s() - since_s)
            return
        # It is part of the next commit.
        self._new.positions = sent.positions | self._new.positions
        self._new.records += sent.records
        self._new.size += sent.size
