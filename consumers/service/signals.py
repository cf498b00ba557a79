"""SIGTERM and SIGINT ask a role to end: it drains and exits. That it asks shows that it is alive."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

# No turn takes longer than a few seconds, whatever the broker does: a loop that stalls for that long has hung.
STUCK_AFTER_S: Final = 60.0
ENDING: Final = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Becomes true with the first SIGTERM or SIGINT; the loop of a role asks it each turn."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._stopping = False
        self._monotonic_s = monotonic_s
        self._asked_s = monotonic_s()
        for number in ENDING:
            signal.signal(number, self._on_signal)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def __call__(self) -> bool:
        """Tell whether the role is to end."""
        self._asked_s = self._monotonic_s()
        return self._stopping

    def why_not_alive(self) -> str | None:
        """Return why the process is to be started again, None while it is alive; for any thread.

        One that drains has its own deadline (`drain_timeout`).
        """
        stands_s = self._monotonic_s() - self._asked_s
        if self._stopping or stands_s < STUCK_AFTER_S:
            return None
        return f"the loop has not turned for {stands_s:.0f} s"

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True
