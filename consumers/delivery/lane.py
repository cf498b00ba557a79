"""One partition of one tier: what was read of it, and when it is read on.

Every record of a tier has the same delay, so the head is due first: where it is not, the partition is paused until it
is, and all behind it waits in the topic.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from consumers.delivery.progress import Position, Progress
from consumers.delivery.tiers import Tier


class Ownership(Enum):
    """Whose a partition is, as far as this process knows."""

    OURS = "ours"  # read and committed
    SUSPENDED = "suspended"  # revoked; what is in memory waits to see whether it comes back
    LOST = "lost"  # somebody else's: what is in memory is dropped


@dataclass(slots=True, eq=False)
class Lane:
    """A partition of a tier, as long as this process owns it."""

    tier: Tier
    partition: int
    committed: Position  # the last position known to be committed
    progress: Progress
    ownership: Ownership = Ownership.OURS
    touched: bool = False  # something finished, or was read past, since the last batch was sealed
    ends: int = 0  # jobs that ended or moved since then
    resume_at_ms: int | None = None  # paused because the head is not due before
    paused_full: bool = False  # paused because too much is unfinished
    last_resume_ms: int = 0
    head_due_ms: int = 0  # when the record last seen at the head was, or is, due
    log_end: int = 0  # the offset at which the log ended when it was last reached, transaction markers included
    _dues: deque[tuple[int, int]] = field(default_factory=deque)  # offset and due time of what was taken

    @property
    def topic(self) -> str:
        """Name of the topic."""
        return self.tier.topic

    @property
    def is_lost(self) -> bool:
        """Whether what belongs to it is to be dropped."""
        return self.ownership is Ownership.LOST

    @property
    def paused(self) -> bool:
        """Whether records of it that are still at hand have to be left alone."""
        return self.paused_full or self.resume_at_ms is not None

    def wait_for_head(self, appended_at_ms: int, now_ms: int) -> bool:
        """Note the head's time; True: it is not due, the lane waits (and has to be paused) until `resume_at_ms`."""
        due_ms = appended_at_ms + self.tier.wait_ms
        self.head_due_ms = due_ms
        if due_ms <= now_ms or self.tier.wait_ms == 0:
            return False
        self.resume_at_ms = max(due_ms, self.last_resume_ms + self.tier.min_resume_interval_ms)
        return True

    def take(self, offset: int) -> bool:
        """Note that the record at the head was read; False: it is finished already."""
        if not self.progress.read(offset):
            return False
        self._dues.append((offset, self.head_due_ms))
        return True

    def oldest_due_ms(self) -> int | None:
        """Return when the oldest job at hand was due, or the head that was not read on in time; None: neither."""
        lowest = self.progress.lowest
        while self._dues and self._dues[0][0] < lowest:
            self._dues.popleft()
        if self._dues:
            return self._dues[0][1]
        return self.head_due_ms if self.resume_at_ms is not None else None

    def is_over(self, now_ms: int) -> bool:
        """Whether the wait for the head is over."""
        return self.resume_at_ms is not None and self.resume_at_ms <= now_ms

    def resumed(self, now_ms: int) -> None:
        """Note that the wait for the head is over."""
        self.resume_at_ms = None
        self.last_resume_ms = now_ms

    def has_room_again(self) -> bool:
        """Whether a lane that was full has worked off enough to be read on."""
        return self.paused_full and self.progress.roomy
