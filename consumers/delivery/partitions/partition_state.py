"""The state of one partition of a delay topic: its progress, and when it is paused and resumed.

Every record of a delay topic has the same delay, so the head is due first. While the head is not due, the partition is
paused, and all records behind it wait in the topic.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum

from consumers.delivery.delay_topics import DelayTopic
from consumers.delivery.partitions.progress import Position, Progress


class Ownership(Enum):
    """Ownership of a partition, as far as this process knows."""

    OURS = "ours"  # read and committed
    SUSPENDED = "suspended"  # revoked; the state in memory is kept until the next assignment
    LOST = "lost"  # owned by another process: the state in memory is dropped


@dataclass(slots=True, eq=False)
class PartitionState:
    """A partition of a delay topic while this process owns it. `number` is Kafka's partition number.

    Only the assignment writes `ownership`. Only the outbox writes `committed`, `position_changed` and `finished`.
    """

    delay_topic: DelayTopic
    number: int
    committed: Position  # the last position known to be committed
    progress: Progress
    ownership: Ownership = Ownership.OURS
    position_changed: bool = False  # since the last batch was closed
    finished: int = 0  # jobs that ended or moved since then
    resume_at_ms: int | None = None  # paused until then, because the head is not due
    paused_full: bool = False  # paused, because too many jobs are unfinished
    last_resume_ms: int = 0
    head_due_ms: int = 0  # due time of the record that was last seen at the head
    _dues: deque[tuple[int, int]] = field(default_factory=deque)  # offset and due time of the records read

    @property
    def topic(self) -> str:
        """Name of the topic."""
        return self.delay_topic.topic

    @property
    def is_lost(self) -> bool:
        """Whether another process owns it."""
        return self.ownership is Ownership.LOST

    @property
    def paused(self) -> bool:
        """Whether the partition is paused. The client may still return records that it fetched before."""
        return self.paused_full or self.resume_at_ms is not None

    def wait_for_head(self, appended_at_ms: int, now_ms: int) -> bool:
        """Set when the head is due. Return True if the partition has to be paused until `resume_at_ms`."""
        due_ms = appended_at_ms + self.delay_topic.wait_ms
        self.head_due_ms = due_ms
        if due_ms <= now_ms or self.delay_topic.wait_ms == 0:
            return False
        self.resume_at_ms = max(due_ms, self.last_resume_ms + self.delay_topic.min_resume_interval_ms)
        return True

    def take(self, offset: int) -> bool:
        """Count the record at the head as read. Return False if it is finished already."""
        if not self.progress.read(offset):
            return False
        self._dues.append((offset, self.head_due_ms))
        return True

    def oldest_due_ms(self) -> int | None:
        """Return the due time of the oldest unfinished job, else that of the head if the partition waits for it."""
        lowest = self.progress.lowest
        while self._dues and self._dues[0][0] < lowest:
            self._dues.popleft()
        if self._dues:
            return self._dues[0][1]
        return self.head_due_ms if self.resume_at_ms is not None else None

    def is_head_due(self, now_ms: int) -> bool:
        """Whether the wait for the head is over."""
        return self.resume_at_ms is not None and self.resume_at_ms <= now_ms

    def resumed(self, now_ms: int) -> None:
        """Set the state of a partition that was resumed because its head is due."""
        self.resume_at_ms = None
        self.last_resume_ms = now_ms

    def come_back(self, log_begin: int) -> None:
        """Set the state of a suspended partition that was assigned to this process again; it is not paused then."""
        self.ownership = Ownership.OURS
        self.resume_at_ms = None
        self.paused_full = False
        self.progress.skip_to(log_begin)

    def has_room_again(self) -> bool:
        """Whether enough jobs of a full partition are finished to read it again."""
        return self.paused_full and self.progress.has_room_again
