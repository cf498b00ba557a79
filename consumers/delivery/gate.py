"""Whether a tier's partition is left alone for a moment, because all that it holds is for an endpoint that is full.

What is parked comes back in the order in which it was written. Where nobody else has written to a partition since, all
behind its head is for the same endpoint, and is better left there until there is room than written to another tier
again. As soon as another subscription's job is written to it, it is read on at once: so that one is never late.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from consumers.delivery.lane import Lane
from consumers.delivery.pacing.pace import Pace
from consumers.delivery.tiers import Tiers
from consumers.delivery.writers import Writers

# Of a partition, so many jobs may wait in memory: what is unfinished of it is bounded (progress.py), and others need
# the rest. For endpoints that soon have theirs all of it: then the partition is read no further for a moment.
MAY_WAIT_OF_LANE: Final = 1_000
# A partition is looked at again so often, at most and at least.
_LEAST_MS: Final = 50
_MOST_MS: Final = 2_000


class Gate:
    """Says for how long a partition is left alone whose head is due; `paces` are those of pacing, by subscription."""

    def __init__(self, writers: Writers, paces: Mapping[str, Pace[Any]], tiers: Tiers) -> None:
        self._writers = writers
        self._paces = paces
        self._tiers = tiers
        self.forget = writers.forget

    def hold_ms(self, lane: Lane, key: bytes | None, appended_at_ms: int, now_ms: int) -> int:
        """Return how long, in ms; 0: its head is read now."""
        if key is None or not lane.tier.wait_ms:
            return 0
        pace = self._paces.get(key.decode("utf-8", "replace"))
        if pace is None or not self._writers.only(lane.topic, lane.partition, key, appended_at_ms):
            return 0
        hold_ms = full_for_ms(pace, now_ms, is_lane_full=lane.progress.unfinished >= MAY_WAIT_OF_LANE)
        if hold_ms and pace.backlog is not None and (number := self._tiers.number_of(lane.tier)):
            pace.backlog.stays(number - 1, now_ms)
        return min(hold_ms, lane.tier.wait_ms // 2)


def full_for_ms(pace: Pace[Any], now_ms: int, *, is_lane_full: bool = False) -> int:
    """Return until when half of what waits for an endpoint has gone, in ms; 0: more may wait, or is to be parked."""
    if pace.backlog is None or not pace.circuit.is_closed or pace.is_stuck(now_ms):
        return 0
    waiting, room = len(pace.waiting), pace.room()
    if waiting < (1 if is_lane_full else room):
        return 0
    return min(_MOST_MS, max(_LEAST_MS, int((waiting - room / 2) * 1_000 / pace.backlog.per_second)))
