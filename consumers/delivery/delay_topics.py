"""Delay topics and retry schedules: how long a job waits, and in which topic. Pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from schemas.catalog.errors import InvalidInput
from schemas.input.durations import milliseconds, parse_duration
from schemas.records.topics import DEFERRAL_DELAY, TopicNames

# A wait may end this much late if that saves steps through shorter delay topics. A retry is at most 1 s late, or 2 % of
# its wait. After the last step of a short wait the commit (0.25 s) and the resume (0.5 s) leave less of that second.
_LATE_MS: Final = 1_000
_LATE_SHORT_MS: Final = 150
_SHORT_MS: Final = 30_000


def rounding_ms(remaining_ms: int) -> int:
    """Return how much a wait of `remaining_ms` may be rounded up: 2 % of it, within the limits above."""
    return min(remaining_ms // 50, _LATE_MS if remaining_ms > _SHORT_MS else _LATE_SHORT_MS)


@dataclass(frozen=True, slots=True)
class DelayTopic:
    """A topic whose records all wait for the same time before they are read."""

    topic: str
    delay: timedelta
    wait_ms: int  # the delay divided by `delay_speedup`

    @property
    def min_resume_interval_ms(self) -> int:
        """Shortest time between two resumes of a partition: each costs a fetch. 0.5 s, or 1 % of a long wait."""
        if self.wait_ms < 1_000:
            return self.wait_ms // 2
        return max(500, self.wait_ms // 100)


class DelayTopics:
    """All delay topics in ascending order of their delay. The first one is `jobs.0s`, without a delay."""

    def __init__(self, names: TopicNames, delays: Sequence[timedelta], speedup: float) -> None:
        self.all = tuple(
            DelayTopic(names.jobs(delay), delay, int(milliseconds(delay) / speedup)) for delay in sorted(delays)
        )
        self._by_topic = {delay_topic.topic: delay_topic for delay_topic in self.all}
        self._speedup = speedup
        self._name = re.compile(f"{re.escape(names.prefix)}jobs\\.([0-9]+[smh])")
        self.first = self.all[0]
        self.waits_ms = tuple(delay_topic.wait_ms for delay_topic in self.all)
        self._numbers = {delay_topic.topic: number for number, delay_topic in enumerate(self.all)}
        self.deferral = next(delay_topic for delay_topic in self.all if delay_topic.delay == DEFERRAL_DELAY)
        self._waits = list(self.waits_ms)

    def of(self, topic: str) -> DelayTopic | None:
        """Return the delay topic with this name; None if the name is not that of a delay topic.

        A delay that no loaded sender uses is parsed from the name: a newer version may have created the topic while
        this process was running, or its sender is no longer loaded.
        """
        known = self._by_topic.get(topic)
        if known is not None:
            return known
        match = self._name.fullmatch(topic)
        if match is None:
            return None
        try:
            delay = parse_duration(match[1])
        except InvalidInput:  # longer than any duration that is allowed
            return None
        delay_topic = DelayTopic(topic, delay, int(milliseconds(delay) / self._speedup))
        self._by_topic[topic] = delay_topic
        return delay_topic

    def number_of(self, delay_topic: DelayTopic) -> int:
        """Return the index of a delay topic in `all`; 0 (the topic without a delay) if it is not in `all`."""
        return self._numbers.get(delay_topic.topic, 0)

    def fit(self, remaining_ms: int, late_ms: int = 0) -> DelayTopic | None:
        """Return the delay topic with the longest wait that is at most `remaining_ms` plus `late_ms`.

        None: every delay topic waits longer, so the job waits in memory.
        """
        index = bisect_right(self._waits, remaining_ms + late_ms) - 1
        return self.all[index] if index > 0 else None


@dataclass(frozen=True, slots=True)
class Schedule:
    """The waits after failed attempts, in ms: one for each attempt but the last."""

    waits_ms: tuple[int, ...]

    @classmethod
    def of(cls, steps: Sequence[timedelta], speedup: float) -> Schedule:
        """Return the schedule with these waits, divided by `speedup`."""
        return cls(tuple(int(milliseconds(step) / speedup) for step in steps))

    def wait_ms(self, attempt: int) -> int | None:
        """Return the wait after attempt number `attempt` (from 1) has failed; None: it was the last attempt."""
        return self.waits_ms[attempt - 1] if attempt <= len(self.waits_ms) else None
