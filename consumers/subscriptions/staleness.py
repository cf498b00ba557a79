"""Bounded staleness for compacted-topic tables. Pure.

A table may be used while it has consumed up to an end offset that was requested at most 200 ms ago. A writer
acknowledges a change 250 ms after its record can be read, so a table within the bound has read every acknowledged
change. The other 50 ms cover clocks that tick differently, and the turn of the loop between the check and the act.

If the broker takes longer than that to respond, no table would ever be within the bound. After a second of that, the
bound is 5 s: a change then takes effect later, by as much as responses take. Writers acknowledge later
on a slow broker, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

ASK_EVERY_MS: Final = 100
# A broker that handles requests one by one would fall further and further behind if it were sent more than it handles.
# Two at a time, half a response time apart: with responses of 3 s, the one requested 4.5 s ago has always arrived.
MAX_OPEN: Final = 2
# Turns of a running loop are not further apart.
_STALLED_MS: Final = 500
MAX_STALENESS_MS: Final = 200
# A broker that has answered nothing within MAX_STALENESS_MS for a second is down or slow. The bound is longer then,
# as a broker that is restarted, or busy, would otherwise stop all deliveries.
SILENT_MS: Final = 1_000
GRACE_MS: Final = 5_000
# End offsets that the table has not reached yet are kept. A table that is behind for long keeps the oldest, which it
# reaches first, and the newest. 64 are 6 s of them.
MAX_PENDING: Final = 64


@dataclass(frozen=True, slots=True)
class _End:
    asked_at_ms: int
    ends: Mapping[int, int]


class Staleness:
    """Tracks requests for the end of a topic (last stable offsets), and their responses; times are monotonic ms."""

    def __init__(self) -> None:
        self._asked: list[int] = []
        self._last_asked_ms: int | None = None
        self._looked_ms = 0
        self._took_ms = 0  # of the last response
        self._slow_since_ms: int | None = None  # time of the first request without a response in time
        self._pending: list[_End] = []
        self._verified_ms: int | None = None

    @property
    def verified(self) -> bool:
        """Whether the table has ever reached a requested end."""
        return self._verified_ms is not None

    @property
    def last_asked_ms(self) -> int:
        """Time of the last request; -1: none."""
        return -1 if self._last_asked_ms is None else self._last_asked_ms

    @property
    def verified_ms(self) -> int:
        """Time of the latest request whose end offset the table has reached; -1: none."""
        return -1 if self._verified_ms is None else self._verified_ms

    def is_due(self, now_ms: int) -> bool:
        """Whether the next request is due; called each turn."""
        if self._slow_since_ms is not None and now_ms - self._looked_ms > _STALLED_MS:
            self._slow_since_ms = now_ms  # a stall of this process says nothing about the broker
        self._looked_ms = now_ms
        if self._last_asked_ms is None:
            return True
        apart_ms = max(ASK_EVERY_MS, self._took_ms // MAX_OPEN)
        return len(self._asked) < MAX_OPEN and now_ms - self._last_asked_ms >= apart_ms

    def asked(self, now_ms: int) -> None:
        """Note a request. Its time identifies it, so there is at most one in a millisecond."""
        if self._slow_since_ms is None:
            self._slow_since_ms = now_ms
        self._last_asked_ms = now_ms
        self._asked.append(now_ms)

    def answered(self, asked_at_ms: int, ends: Mapping[int, int], now_ms: int) -> None:
        """Note the response to the request of `asked_at_ms`: the end of each partition.

        A response that arrives after that to a later request says nothing about the broker's speed, but the table may
        not have reached its end yet: the broker may have looked later.
        """
        if asked_at_ms in self._asked:
            self._asked = [other for other in self._asked if other > asked_at_ms]
            self._took_ms = now_ms - asked_at_ms
            if self._took_ms <= MAX_STALENESS_MS:
                self._slow_since_ms = self._asked[0] if self._asked else None
        self._pending.append(_End(asked_at_ms, ends))
        if len(self._pending) > MAX_PENDING:
            del self._pending[1]

    def failed(self, asked_at_ms: int) -> None:
        """Note that the request of `asked_at_ms` failed."""
        self._asked = [other for other in self._asked if other != asked_at_ms]

    def advanced(self, positions: Mapping[int, int]) -> None:
        """Note how far the table has read: its next offset by partition."""
        reached = [answer for answer in self._pending if _is_reached(answer, positions)]
        if reached:
            self._verified_ms = max([self._verified_ms or 0, *(answer.asked_at_ms for answer in reached)])
            self._pending = [answer for answer in self._pending if answer not in reached]

    def is_fresh(self, now_ms: int) -> bool:
        """Whether the table may be used now."""
        if self._verified_ms is None:
            return False
        age_ms = now_ms - self._verified_ms
        if age_ms <= MAX_STALENESS_MS:
            return True
        # An end offset that the table has not reached means that records are missing.
        return age_ms <= GRACE_MS and not self._pending and self.is_slow(now_ms)

    def is_slow(self, now_ms: int) -> bool:
        """Whether the broker has answered nothing in time for a second."""
        return self._slow_since_ms is not None and now_ms - self._slow_since_ms >= SILENT_MS


def _is_reached(answer: _End, positions: Mapping[int, int]) -> bool:
    return all(positions.get(partition, 0) >= end for partition, end in answer.ends.items())
