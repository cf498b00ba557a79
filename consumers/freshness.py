"""Whether a table knows what was acknowledged: it has passed an end of its topic that was asked for lately. Pure.

A writer acknowledges a change 250 ms after its record can be read. A process that acts only while its table has passed
an end asked for at most 200 ms ago has therefore read every acknowledged change, with 50 ms to spare for clocks that
tick differently and for the turn of the loop between the check and the act.

Where the broker takes longer than that to answer, nobody could ever act. Once that has lasted a second, up to 5 s
count: a change is then known as much later as answers take. Whoever writes to a slow broker acknowledges later, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

ASK_EVERY_MS: Final = 100
# A broker that takes one question after the other up would fall behind for ever if it were asked more than it answers.
# Two at a time, half an answer apart: where answers take 3 s, one that was asked for 4.5 s ago has always come.
MAX_OPEN: Final = 2
# Turns of a loop that runs are not further apart.
_STOOD_STILL_MS: Final = 500
FRESH_MS: Final = 200
# A broker that for a second has answered nothing within FRESH_MS is away, or slow. It is trusted to have nothing new
# for some seconds, as a broker that is restarted, or busy, would otherwise stop all deliveries.
SILENT_MS: Final = 1_000
GRACE_MS: Final = 5_000
# An answer that the table has not reached yet is kept; a table that is behind for long keeps the oldest, which it will
# reach first, and the newest. 64 are 6 s of them.
MAX_PENDING: Final = 64


@dataclass(frozen=True, slots=True)
class _Answer:
    asked_at_ms: int
    ends: Mapping[int, int]


class Freshness:
    """Keeps the questions for the end of a topic (last stable offsets), and their answers; times are monotonic ms."""

    def __init__(self) -> None:
        self._asked: list[int] = []
        self._last_asked_ms: int | None = None
        self._looked_ms = 0
        self._took_ms = 0  # the last answer
        self._slow_since_ms: int | None = None  # when the first question was asked that got no answer in time
        self._pending: list[_Answer] = []
        self._proven_ms: int | None = None

    @property
    def proven(self) -> bool:
        """Whether the table has passed an end at all."""
        return self._proven_ms is not None

    @property
    def last_asked_ms(self) -> int:
        """When was asked last; -1: never."""
        return -1 if self._last_asked_ms is None else self._last_asked_ms

    @property
    def proven_ms(self) -> int:
        """When the last of those questions was asked whose end has been passed; -1: none."""
        return -1 if self._proven_ms is None else self._proven_ms

    def is_due(self, now_ms: int) -> bool:
        """Whether it is time to ask; called each turn."""
        if self._slow_since_ms is not None and now_ms - self._looked_ms > _STOOD_STILL_MS:
            self._slow_since_ms = now_ms  # time in which this process did not run says nothing about the broker
        self._looked_ms = now_ms
        if self._last_asked_ms is None:
            return True
        apart_ms = max(ASK_EVERY_MS, self._took_ms // MAX_OPEN)
        return len(self._asked) < MAX_OPEN and now_ms - self._last_asked_ms >= apart_ms

    def asked(self, now_ms: int) -> None:
        """Note a question. The time of the question names it, so there is one in a millisecond at most."""
        if self._slow_since_ms is None:
            self._slow_since_ms = now_ms
        self._last_asked_ms = now_ms
        self._asked.append(now_ms)

    def answered(self, asked_at_ms: int, ends: Mapping[int, int], now_ms: int) -> None:
        """Note the answer to the question of `asked_at_ms`, the end of each partition.

        One that was overtaken by the answer to a later question says nothing of the broker now, but its end may still
        be one that the table has not reached: the broker may have looked later.
        """
        if asked_at_ms in self._asked:
            self._asked = [other for other in self._asked if other > asked_at_ms]
            self._took_ms = now_ms - asked_at_ms
            if self._took_ms <= FRESH_MS:
                self._slow_since_ms = self._asked[0] if self._asked else None
        self._pending.append(_Answer(asked_at_ms, ends))
        if len(self._pending) > MAX_PENDING:
            del self._pending[1]

    def failed(self, asked_at_ms: int) -> None:
        """Note that the question of `asked_at_ms` will not be answered."""
        self._asked = [other for other in self._asked if other != asked_at_ms]

    def passed(self, positions: Mapping[int, int]) -> None:
        """Note how far the table has read: its next offset by partition."""
        reached = [answer for answer in self._pending if _is_reached(answer, positions)]
        if reached:
            self._proven_ms = max([self._proven_ms or 0, *(answer.asked_at_ms for answer in reached)])
            self._pending = [answer for answer in self._pending if answer not in reached]

    def is_fresh(self, now_ms: int) -> bool:
        """Whether whoever uses the table may act on it now."""
        if self._proven_ms is None:
            return False
        age_ms = now_ms - self._proven_ms
        if age_ms <= FRESH_MS:
            return True
        # Answers that the table has not reached prove that it lacks something.
        return age_ms <= GRACE_MS and not self._pending and self.is_slow(now_ms)

    def is_slow(self, now_ms: int) -> bool:
        """Whether the broker has answered nothing in time for a second."""
        return self._slow_since_ms is not None and now_ms - self._slow_since_ms >= SILENT_MS


def _is_reached(answer: _Answer, positions: Mapping[int, int]) -> bool:
    return all(positions.get(partition, 0) >= end for partition, end in answer.ends.items())
