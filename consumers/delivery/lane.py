"""One partition of one tier: what was read of it, and when it is read on.

Every record of a tier has the same delay, so the head is due first: where it is not, the partition is paused until it
is, and all behind it waits in the topic.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from consumers.delivery.progress import Position, Progress
from consumers.delivery.tiers import Tier


@dataclass(slots=True, eq=False)
class Lane:
    """A partition of a tier, as long as this process owns it."""

    tier: Tier
    partition: int
    committed: Position  # the last position known to be committed
    progress: Progress
    alive: bool = True  # False once the partition is lost: what belongs to it is dropped
    touched: bool = False  # something finished, or was read past, since the last commit
    resume_at_ms: int | None = None  # paused because the head is not due before
    paused_full: bool = False  # paused because too much is unfinished
    last_resume_ms: int = 0
    head_due_ms: int = 0  # when the record last seen at the head was, or is, due
    read: int = field(default=0)  # records taken from it, for metrics

    @property
    def topic(self) -> str:
        """Name of the topic."""
        return self.tier.topic

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
