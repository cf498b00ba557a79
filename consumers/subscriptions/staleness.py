"""Bounded staleness for compacted-topic tables. Pure.

A table may be used while it has consumed up to an end offset that was requested at most 200 ms ago. A writer
acknowledges a change 250 ms after its record can be read, so a table within the bound has read every acknowledged
change. The other 50 ms cover clocks that tick differently, and the turn of the loop between the check and the act.

If the broker takes longer than 200 ms to respond, no table would ever be within the bound. After a second of such
responses the bound is 5 s. A change then takes effect later, by the duration of a response. Writers also acknowledge
later on a slow broker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

REQUEST_EVERY_MS: Final = 100
# A broker that handles requests one by one falls behind if it gets more of them than it can handle. So at most two are
# open, half a response time apart: with responses of 3 s, the response to the request of 4.5 s ago has always arrived.
MAX_OPEN: Final = 2
# The maximum time between two turns of a running loop.
_STALLED_MS: Final = 500
# A consumer that received something this long ago receives still.
RECEIVES_MS: Final = 1_000
MAX_STALENESS_MS: Final = 200
# A broker that has sent no response within MAX_STALENESS_MS for a second is down or slow. The bound is then longer: a
# broker that restarts or is busy would otherwise stop all deliveries.
SILENT_MS: Final = 1_000
GRACE_MS: Final = 5_000
# The number of requested end offsets that the table keeps until it reaches them: 6 s of requests. A table that is
# behind for longer keeps the oldest, which it reaches first, and the newest.
MAX_PENDING: Final = 64


@dataclass(frozen=True, slots=True)
class _End:
    requested_at_ms: int
    ends: Mapping[int, int]


class Staleness:
    """Tracks requests for the end of a topic (last stable offsets), and their responses; times are monotonic ms."""

    def __init__(self) -> None:
        self._open: list[int] = []  # request times
        self._last_requested_ms: int | None = None
        self._looked_ms = 0
        self._took_ms = 0  # the last response
        self._slow_since_ms: int | None = None  # time of the first request without a response in time
        self._pending: list[_End] = []
        self._verified_ms: int | None = None
        self._began_ms: int | None = None
        self._received_ms: int | None = None

    @property
    def verified(self) -> bool:
        """Whether the table has reached a requested end offset at least once."""
        return self._verified_ms is not None

    @property
    def last_requested_ms(self) -> int:
        """Time of the last request; -1: none."""
        return -1 if self._last_requested_ms is None else self._last_requested_ms

    @property
    def verified_ms(self) -> int:
        """Time of the latest request whose end offset the table has reached; -1: none."""
        return -1 if self._verified_ms is None else self._verified_ms

    def begin(self, now_ms: int) -> None:
        """Count the age from the first call on, while no end offset is reached."""
        if self._began_ms is None:
            self._began_ms = now_ms

    def is_due(self, now_ms: int) -> bool:
        """Whether the next request is due; called each turn."""
        if self._slow_since_ms is not None and now_ms - self._looked_ms > _STALLED_MS:
            self._slow_since_ms = now_ms  # a stall of this process is not slowness of the broker
        self._looked_ms = now_ms
        if self._last_requested_ms is None:
            return True
        apart_ms = max(REQUEST_EVERY_MS, self._took_ms // MAX_OPEN)
        return len(self._open) < MAX_OPEN and now_ms - self._last_requested_ms >= apart_ms

    def on_request(self, now_ms: int) -> None:
        """Record a request. Its time identifies it, so there is at most one per millisecond."""
        if self._slow_since_ms is None:
            self._slow_since_ms = now_ms
        self._last_requested_ms = now_ms
        self._open.append(now_ms)

    def on_response(self, requested_at_ms: int, ends: Mapping[int, int], now_ms: int) -> None:
        """Record the response to the request of `requested_at_ms`: the end offset of each partition.

        Responses may arrive out of order. One that arrives after the response to a later request does not count for the
        broker's speed, but its end offsets do count: the broker may have read them later.
        """
        if requested_at_ms in self._open:
            self._open = [other for other in self._open if other > requested_at_ms]
            self._took_ms = now_ms - requested_at_ms
            if self._took_ms <= MAX_STALENESS_MS:
                self._slow_since_ms = self._open[0] if self._open else None
        self._pending.append(_End(requested_at_ms, ends))
        if len(self._pending) > MAX_PENDING:
            del self._pending[1]

    def on_error(self, requested_at_ms: int) -> None:
        """Record that the request of `requested_at_ms` failed."""
        self._open = [other for other in self._open if other != requested_at_ms]

    def on_advance(self, positions: Mapping[int, int]) -> None:
        """Set the next offset of the table by partition."""
        reached = [end for end in self._pending if _is_reached(end, positions)]
        if reached:
            self._verified_ms = max([self._verified_ms or 0, *(end.requested_at_ms for end in reached)])
            self._pending = [end for end in self._pending if end not in reached]

    def on_receive(self, now_ms: int) -> None:
        """Record that the consumer received records, or the end of a partition."""
        self._received_ms = now_ms

    def receives(self, now_ms: int) -> bool:
        """Whether the consumer receives records: a table that is behind then waits for no response."""
        return self._received_ms is not None and now_ms - self._received_ms <= RECEIVES_MS

    def age_ms(self, now_ms: int) -> int:
        """Return the time since the last moment at which the table was surely complete, or since it began."""
        since_ms = self._began_ms if self._verified_ms is None else self._verified_ms
        return 0 if since_ms is None else max(0, now_ms - since_ms)

    def is_fresh(self, now_ms: int) -> bool:
        """Whether the table may be used now."""
        if self._verified_ms is None:
            return False
        age_ms = now_ms - self._verified_ms
        if age_ms <= MAX_STALENESS_MS:
            return True
        # The table lacks records while it has not reached an end offset.
        return age_ms <= GRACE_MS and not self._pending and self.is_slow(now_ms)

    def is_slow(self, now_ms: int) -> bool:
        """Whether no response was in time for a second. Right after a stall of this process that is unknown."""
        if self._slow_since_ms is None or now_ms - self._looked_ms > _STALLED_MS:
            return False
        return now_ms - self._slow_since_ms >= SILENT_MS


def _is_reached(end: _End, positions: Mapping[int, int]) -> bool:
    return all(positions.get(partition, 0) >= offset for partition, offset in end.ends.items())
