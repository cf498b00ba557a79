"""Healthy endpoints with and without faulty ones, in alternating windows.

Other load on the machine affects both kinds of windows alike. Each side has its own delivery process, so that leftovers
of faulty endpoints do not delay the healthy ones of the other side.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.support.scenario import Endpoint, Scenario

# Starts to send the jobs of faulty endpoints: seconds of the window (0: all at once), healthy jobs in the window.
Faults: TypeAlias = Callable[[float, int], threading.Thread | None]


@dataclass(frozen=True, slots=True)
class Windows:
    """Number, length and rate of windows; `backlog` is the size of one window at full speed."""

    turns: int
    without_s: int
    faulty_s: int
    per_second: int
    backlog: int
    backlogs: int
    deadline_s: float


@dataclass(slots=True)
class Side:
    """A delivery process and its healthy endpoints; `sent` has the batches of their jobs."""

    scenario: Scenario
    healthy: list[Endpoint]
    sent: list[range] = field(default_factory=list)

    def warm(self, windows: Windows) -> None:
        """Deliver twice to each endpoint, so that connections are open and response times known."""
        for _ in range(2):
            self._ended(self.scenario.send(self.healthy, len(self.healthy), windows.per_second), windows)

    def even(self, seconds: int, windows: Windows) -> range:
        """Deliver to healthy endpoints at an even rate."""
        return self._ended(self.scenario.send(self.healthy, windows.per_second * seconds, windows.per_second), windows)

    def at_full_speed(self, windows: Windows) -> float:
        """Deliver a backlog of healthy endpoints; return the rate per second."""
        return self.scenario.ends.rate(self._ended(self.scenario.send(self.healthy, windows.backlog), windows))

    def _ended(self, batch: range, windows: Windows) -> range:
        self.sent.append(batch)
        self.scenario.ended(batch, windows.deadline_s)
        return batch


def in_turns(without: Side, with_faults: Side, windows: Windows, faults: Faults) -> tuple[list[range], list[range]]:
    """Deliver at an even rate; return the batches without and with faults."""
    alone: list[range] = []
    faulty: list[range] = []
    for _ in range(windows.turns):
        alone.append(without.even(windows.without_s, windows))
        thread = faults(windows.faulty_s, windows.per_second * windows.faulty_s)
        faulty.append(with_faults.even(windows.faulty_s, windows))
        _join([thread])
    return alone, faulty


def per_second(without: Side, with_faults: Side, windows: Windows, faults: Faults) -> tuple[float, float]:
    """Deliver backlogs; return the median rate of healthy deliveries per second, without and with faults."""
    alone: list[float] = []
    faulty: list[float] = []
    for _ in range(windows.backlogs):
        alone.append(without.at_full_speed(windows))
        thread = faults(0, windows.backlog)
        faulty.append(with_faults.at_full_speed(windows))
        _join([thread])
    return statistics.median(alone), statistics.median(faulty)


def _join(threads: Iterable[threading.Thread | None]) -> None:
    for thread in threads:
        if thread is not None:
            thread.join()
