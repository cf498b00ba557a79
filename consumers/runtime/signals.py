"""SIGTERM and SIGINT ask a role to end: it drains and exits."""

from __future__ import annotations

import signal
from types import FrameType


class Stop:
    """Becomes true with the first SIGTERM or SIGINT; the loop of a role asks it each turn."""

    def __init__(self) -> None:
        self._stopping = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def __call__(self) -> bool:
        """Tell whether the role is to end."""
        return self._stopping

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True
