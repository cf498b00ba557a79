"""Checks of the clock of this machine against those of the brokers.

Delays count from the brokers' clocks, because they set the timestamps of jobs; a process waits for them by its own
clock. Signatures contain the process's clock, and receivers usually tolerate 5 minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from deploy.doctor.findings import Finding, NotObserved, Observed, Severity, warning

# A retry may be at most one second late, and is never early.
TOLERATED_MS: Final = 1_000
SERIOUS_MS: Final = 60_000
_SYNCHRONIZE: Final = "synchronize the clocks of all machines by NTP (chrony, systemd-timesyncd)"


@dataclass(frozen=True, slots=True)
class ClockReading:
    """The least difference that is certain between our clock and another one, in ms. Negative: ours is behind."""

    other: str
    ahead_ms: int


def compared(other: str, before_ms: int, at_ms: int, after_ms: int, precision_ms: int = 1) -> ClockReading:
    """Return the difference to a clock that showed `at_ms` at some time between two readings of our own clock."""
    if before_ms >= at_ms + precision_ms:
        return ClockReading(other, before_ms - at_ms - precision_ms + 1)
    return ClockReading(other, min(0, after_ms - at_ms))


def check_clocks(readings: Observed[Sequence[ClockReading]] | NotObserved) -> list[Finding]:
    """Return a finding for each clock that differs, or one if no clock could be read."""
    if isinstance(readings, NotObserved):
        do = "run `date` on this machine and on the brokers, and compare"
        return [warning("clock", "clock_unknown", "brokers", readings.reason, do)]
    return [_finding(one) for one in readings.value if abs(one.ahead_ms) > TOLERATED_MS]


def _finding(reading: ClockReading) -> Finding:
    seconds = abs(reading.ahead_ms) / 1_000
    severity = Severity.ERROR if abs(reading.ahead_ms) >= SERIOUS_MS else Severity.WARNING
    where, effect = ("ahead of", "too early") if reading.ahead_ms > 0 else ("behind", "too late")
    what = (
        f"the clock of this machine is {seconds:,.1f} s {where} that of {reading.other}: retries start {effect}, and "
        "receivers usually refuse signatures whose time is over 5 minutes off"
    )
    return Finding(severity, "clock", "clock_differs", "this machine", what, _SYNCHRONIZE)
