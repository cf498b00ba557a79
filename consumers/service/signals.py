"""SIGTERM and SIGINT stop a role: its loop checks `Stop` in each turn, drains and exits.

A loop that no longer checks has hung, which /healthz reports.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

# A turn takes a few seconds at most, whatever the broker does. A loop without a turn for this long has hung.
STUCK_AFTER_S: Final = 60.0
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Returns True after the first SIGTERM or SIGINT; the loop of a role calls it in each turn."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._stopping = False
        self._monotonic_s = monotonic_s
        self._checked_s = monotonic_s()
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def __call__(self) -> bool:
        """Return whether the role has to stop."""
        self._checked_s = self._monotonic_s()
        return self._stopping

    def why_not_alive(self) -> str | None:
        """Return why the process has to be restarted, None while it is alive; any thread may call it.

        A process that drains is alive: it has its own deadline (`drain_timeout`).
        """
        stalled_s = self._monotonic_s() - self._checked_s
        if self._stopping or stalled_s < STUCK_AFTER_S:
            return None
        return f"the loop has not turned for {stalled_s:.0f} s"

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True
