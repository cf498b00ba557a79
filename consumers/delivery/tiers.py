"""Delay tiers and retry schedules: how long a job waits, and where."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from schemas.durations import milliseconds, parse_duration
from schemas.errors import InvalidInput
from schemas.topics import PARKING, TopicNames


@dataclass(frozen=True, slots=True)
class Tier:
    """One topic in which every record waits for the same time."""

    topic: str
    delay: timedelta
    wait_ms: int  # the delay divided by `delay_speedup`

    @property
    def min_resume_interval_ms(self) -> int:
        """Each resume fetches anew: not more often than every 0.5 s, or 1 % of the wait."""
        return max(500, self.wait_ms // 100) if self.wait_ms >= 1_000 else self.wait_ms // 2


class Tiers:
    """All tiers, ascending; the first has no delay."""

    def __init__(self, names: TopicNames, delays: Sequence[timedelta], speedup: float) -> None:
        self.all = tuple(Tier(names.jobs(delay), delay, int(milliseconds(delay) / speedup)) for delay in sorted(delays))
        self._by_topic = {tier.topic: tier for tier in self.all}
        self._speedup = speedup
        self._name = re.compile(f"{re.escape(names.prefix)}jobs\\.([0-9]+[smh])")
        self.first = self.all[0]
        self.waits_ms = tuple(tier.wait_ms for tier in self.all)
        self._number = {tier.topic: number for number, tier in enumerate(self.all)}
        self.parking = next(tier for tier in self.all if tier.delay == PARKING)
        self._waits = list(self.waits_ms)

    def of(self, topic: str) -> Tier | None:
        """Return the tier of a topic, None if it is none.

        One that no loaded sender has is read all the same, by its name: a newer version may have made it while this
        process was running, or the sender that it was made for is no longer loaded.
        """
        tier = self._by_topic.get(topic)
        match = None if tier is not None else self._name.fullmatch(topic)
        if match is not None:
            try:
                delay = parse_duration(match[1])
            except InvalidInput:  # longer than anybody waits
                return None
            tier = self._by_topic[topic] = Tier(topic, delay, int(milliseconds(delay) / self._speedup))
        return tier

    def number_of(self, tier: Tier) -> int:
        """Return the place of a tier in `all`; 0, where nothing waits, for one that is not in it."""
        return self._number.get(tier.topic, 0)

    def fit(self, remaining_ms: int, late_ms: int = 0) -> Tier | None:
        """Return the longest tier that has ended when `remaining_ms` are over, or `late_ms` later.

        None: so short a wait is in memory.
        """
        index = bisect_right(self._waits, remaining_ms + late_ms) - 1
        return self.all[index] if index > 0 else None


@dataclass(frozen=True, slots=True)
class Schedule:
    """The waits after each failed attempt, in ms; one attempt more than waits, then the job is dead."""

    waits_ms: tuple[int, ...]

    @classmethod
    def of(cls, steps: Sequence[timedelta], speedup: float) -> Schedule:
        """Make a schedule of a sender's steps, divided by `speedup`."""
        return cls(tuple(int(milliseconds(step) / speedup) for step in steps))

    def wait_ms(self, attempt: int) -> int | None:
        """Return the wait after attempt number `attempt` (from 1) failed; None: that was the last."""
        return self.waits_ms[attempt - 1] if attempt <= len(self.waits_ms) else None
