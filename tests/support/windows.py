"""Healthy endpoints with and without others beside them, in windows that alternate.

So whatever else happens on the machine happens to both. Each side is a delivery process of its own: what faulty
endpoints left is not in the way of the healthy ones without them.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.support.scenario import Endpoint, Scenario

# Begins to send what is for faulty endpoints within so many seconds (0: at once) beside so many healthy jobs.
Faults: TypeAlias = Callable[[float, int], threading.Thread | None]


@dataclass(frozen=True, slots=True)
class Windows:
    """How many, how long, at which rate; `backlog` is that of one window at full speed."""

    turns: int
    without_s: int
    beside_s: int
    per_second: int
    backlog: int
    backlogs: int
    deadline_s: float


@dataclass(slots=True)
class Side:
    """A delivery process and its healthy endpoints; `sent` are their jobs so far."""

    scenario: Scenario
    healthy: list[Endpoint]
    sent: list[range] = field(default_factory=list)

    def warm(self, windows: Windows) -> None:
        """Have each endpoint known, and connected to."""
        for _ in range(2):
            self._ended(self.scenario.send(self.healthy, len(self.healthy), windows.per_second), windows)

    def even(self, seconds: int, windows: Windows) -> range:
        """Deliver to healthy endpoints at an even rate."""
        return self._ended(self.scenario.send(self.healthy, windows.per_second * seconds, windows.per_second), windows)

    def at_full_speed(self, windows: Windows) -> float:
        """Deliver a backlog of healthy endpoints; return how many a second."""
        return self.scenario.ends.rate(self._ended(self.scenario.send(self.healthy, windows.backlog), windows))

    def _ended(self, batch: range, windows: Windows) -> range:
        self.sent.append(batch)
        self.scenario.ended(batch, windows.deadline_s)
        return batch


def in_turns(without: Side, beside: Side, windows: Windows, faults: Faults) -> tuple[list[range], list[range]]:
    """Return the jobs that were delivered at an even rate, without and with faults."""
    alone, others = [], []
    for _ in range(windows.turns):
        alone.append(without.even(windows.without_s, windows))
        thread = faults(windows.beside_s, windows.per_second * windows.beside_s)
        others.append(beside.even(windows.beside_s, windows))
        _join([thread])
    return alone, others


def per_second(without: Side, beside: Side, windows: Windows, faults: Faults) -> tuple[float, float]:
    """Return how many healthy deliveries a second a backlog makes, without and with faults: medians."""
    alone, others = [], []
    for _ in range(windows.backlogs):
        alone.append(without.at_full_speed(windows))
        thread = faults(0, windows.backlog)
        others.append(beside.at_full_speed(windows))
        _join([thread])
    return statistics.median(alone), statistics.median(others)


def _join(threads: Iterable[threading.Thread | None]) -> None:
    for thread in threads:
        if thread is not None:
            thread.join()
