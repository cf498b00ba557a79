"""Delay topics and retry schedules: how long a job waits, and in which topic. Pure."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from schemas.catalog.errors import InvalidInput
from schemas.input.durations import milliseconds, parse_duration
from schemas.records.topics import DEFERRAL_DELAY, TopicNames


@dataclass(frozen=True, slots=True)
class DelayTopic:
    """A topic in which every record waits for the same time before it is read."""

    topic: str
    delay: timedelta
    wait_ms: int  # the delay divided by `delay_speedup`

    @property
    def min_resume_interval_ms(self) -> int:
        """Shortest time between two resumes of a partition: each costs a fetch. 0.5 s, or 1 % of a long wait."""
        return max(500, self.wait_ms // 100) if self.wait_ms >= 1_000 else self.wait_ms // 2


class DelayTopics:
    """All delay topics in ascending order of their delay; the first has none."""

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
        """Return the delay topic with this name; None if the name is of no delay topic.

        A delay that no loaded sender uses is read from the name: a newer version may have created the topic while this
        process was running, or its sender is no longer loaded.
        """
        delay_topic = self._by_topic.get(topic)
        match = None if delay_topic is not None else self._name.fullmatch(topic)
        if match is not None:
            try:
                delay = parse_duration(match[1])
            except InvalidInput:  # longer than any duration that is allowed
                return None
            delay_topic = DelayTopic(topic, delay, int(milliseconds(delay) / self._speedup))
            self._by_topic[topic] = delay_topic
        return delay_topic

    def number_of(self, delay_topic: DelayTopic) -> int:
        """Return the index of a delay topic in `all`; 0, where nothing waits, for one that is not in it."""
        return self._numbers.get(delay_topic.topic, 0)

    def fit(self, remaining_ms: int, late_ms: int = 0) -> DelayTopic | None:
        """Return the delay topic with the longest wait that ends within `remaining_ms`, or at most `late_ms` later.

        None: the wait is shorter than any delay topic's, so the job waits in memory.
        """
        index = bisect_right(self._waits, remaining_ms + late_ms) - 1
        return self.all[index] if index > 0 else None


@dataclass(frozen=True, slots=True)
class Schedule:
    """The waits after each failed attempt, in ms. There is one attempt more than waits."""

    waits_ms: tuple[int, ...]

    @classmethod
    def of(cls, steps: Sequence[timedelta], speedup: float) -> Schedule:
        """Make the schedule of a sender's or subscription's steps, divided by `speedup`."""
        return cls(tuple(int(milliseconds(step) / speedup) for step in steps))

    def wait_ms(self, attempt: int) -> int | None:
        """Return the wait after attempt number `attempt` (from 1) failed; None: that was the last attempt."""
        return self.waits_ms[attempt - 1] if attempt <= len(self.waits_ms) else None
