"""Commands that run in the foreground until they are told to end."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Ending:
    """Is asked for by SIGTERM, by Ctrl-C, or by `now()`; made in the main thread."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def now(self) -> None:
        """Ask for it, from any thread."""
        self._asked.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is asked for, at most `seconds`; tell whether it was."""
        return self._asked.wait(seconds)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._asked.set()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C raise KeyboardInterrupt: for work that ends well wherever it is broken off."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    former = [(number, signal.signal(number, signal.default_int_handler)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in former:
            signal.signal(number, handler)
