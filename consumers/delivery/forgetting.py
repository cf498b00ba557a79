"""What is known of the health of subscriptions that were deleted is forgotten, in the topic as well. Pure.

A deleted subscription gets no jobs, so that nothing else would ever come by that takes its record away. One that this
process has not read yet looks deleted, too: the health record of a process that was ahead may be taken over with its
partition. So what is missing is looked at twice, seconds apart, while the table is fresh.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from consumers.delivery.health import Change, HealthBook
from consumers.delivery.lane import Lane

LOOK_EVERY_MS: Final = 5_000


class Forgetting:
    """Looks for such subscriptions every five seconds.

    `exists` tells whether there is a record of a subscription, `is_fresh` whether that may be acted on now, `lane_of`
    gives what is ours of a partition number, and `write` gets what is to be written with the position of that.
    """

    def __init__(
        self,
        book: HealthBook,
        exists: Callable[[str], bool],
        is_fresh: Callable[[], bool],
        lane_of: Callable[[int], Lane | None],
        write: Callable[[Change, Lane], None],
    ) -> None:
        self._book = book
        self._exists = exists
        self._is_fresh = is_fresh
        self._lane_of = lane_of
        self._write = write
        self._missed: set[str] = set()
        self._look_at_ms = 0

    def turn(self, now_ms: int) -> None:
        """Look, if it is time to."""
        if now_ms < self._look_at_ms or not self._is_fresh():
            return
        self._look_at_ms = now_ms + LOOK_EVERY_MS
        missing = {id_ for id_ in self._book.known if not self._exists(id_)}
        for id_ in missing & self._missed:
            self._forget(id_)
        self._missed = missing

    def _forget(self, id_: str) -> None:
        partition = self._book.partition_of(id_)
        lane = None if partition is None else self._lane_of(partition)
        if lane is not None and (change := self._book.deleted(lane.partition, id_)) is not None:
            self._write(change, lane)
