"""Rate, CPU and memory of processes while a counter grows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, Protocol

from tests.support.memory import MIB, peak_resident_bytes, resident_bytes
from tests.support.roles import Role
from tests.support.waiting import wait_until

_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Process(Protocol):
    """A process to measure: a role or another program."""

    @property
    def name(self) -> str: ...
    @property
    def pid(self) -> int: ...
    def is_alive(self) -> bool: ...
    def log_text(self) -> str: ...


def cpu_seconds(pid: int) -> float:
    """Return user and system CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def resident_mib(role: Role) -> float:
    """Return the resident memory of a process."""
    return round(resident_bytes(role.pid) / MIB, 1)


def peak_mib(role: Role) -> float:
    """Return the peak of the resident memory of a process."""
    return round(peak_resident_bytes(role.pid) / MIB, 1)


@dataclass(frozen=True, slots=True)
class _Point:
    at: float
    count: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Throughput:
    """Count, duration and CPU time of an interval."""

    count: float
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        """Return the rate per second."""
        return self.count / self.seconds

    @property
    def cpu_us(self) -> float:
        """Return the CPU time per item in microseconds."""
        return self.cpu / self.count * 1e6


def throughput_of(
    roles: Sequence[Process],
    count: Callable[[], float],
    *,
    begin: float,
    end: float,
    deadline_s: float = 900.0,
    on_count: Callable[[float], object] = lambda _count: None,
) -> Throughput:
    """Measure processes while a counter goes from `begin` to `end`; `on_count` gets each value of the counter."""
    points: list[_Point] = []

    def is_over() -> bool:
        for role in roles:
            if not role.is_alive():
                raise RuntimeError(f"{role.name} ended: {role.log_text()[-2_000:]}")
        done = count()
        on_count(done)
        if done >= begin:
            points.append(_Point(time.monotonic(), done, sum(cpu_seconds(role.pid) for role in roles)))
        return done >= end

    wait_until(is_over, deadline_s, f"{end:g} are done")
    # The last point is an unknown time after the last item, so the point before it ends the interval.
    first, last = points[0], points[-2] if len(points) > 2 else points[-1]
    return Throughput(max(1.0, last.count - first.count), max(1e-9, last.at - first.at), last.cpu - first.cpu)


def medians(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the median of each number, at any depth; all rounds must have the same keys."""
    return {name: _median([figures[name] for figures in rounds]) for name in rounds[0]}


def _median(values: list[Any]) -> Any:
    if isinstance(values[0], Mapping):
        return medians(values)
    if isinstance(values[0], list):
        return [_median(list(each)) for each in zip(*values, strict=True)]
    return median(values) if isinstance(values[0], (int, float)) else values[0]
