"""Commands that run in the foreground until SIGTERM or Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class StopRequest:
    """A request to stop, set by SIGTERM, by Ctrl-C, or by `now()`. Create it in the main thread."""

    def __init__(self) -> None:
        self._requested = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def now(self) -> None:
        """Request the stop, from any thread."""
        self._requested.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the request, at most `seconds`; return whether it was made."""
        return self._requested.wait(seconds)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._requested.set()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C raise KeyboardInterrupt, for work that is safe to interrupt anywhere."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    previous = [(number, signal.signal(number, signal.default_int_handler)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in previous:
            signal.signal(number, handler)
