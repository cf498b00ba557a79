"""Snapshots of a loop's state for other threads. The loop makes them on request, so that threads share no state."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Lock
from typing import Final, Generic, TypeVar

from schemas.catalog.errors import Unavailable

T = TypeVar("T")
# The maximum age of a snapshot: the loop makes at most one per second for all requests.
MAX_AGE_S: Final = 1.0
_TIMEOUT_S: Final = 3.0


class Snapshots(Generic[T]):
    """The loop's thread calls `make` with the time in ms; `make` returns an immutable value.

    `now_s` is a monotonic clock. Without requests the only cost is a check of `wanted` in each turn.
    """

    def __init__(self, make: Callable[[int], T], now_s: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self._now_s = now_s
        self._requesting = Lock()
        self._made = Event()
        self._last: tuple[float, T] | None = None
        self.wanted = False

    def turn(self, now_ms: int) -> None:
        """Make the snapshot if one is wanted; the loop calls this in each turn."""
        if not self.wanted:
            return
        self.wanted = False
        self._last = (self._now_s(), self._make(now_ms))
        self._made.set()

    def ask(self) -> T:
        """Return a snapshot at most a second old; any other thread may call it. Unavailable if the loop stalls."""
        if not self._requesting.acquire(timeout=_TIMEOUT_S):
            raise Unavailable("too many requests wait for the loop")
        try:
            if self._last is None or self._now_s() - self._last[0] > MAX_AGE_S:
                self._made.clear()
                self.wanted = True
                if not self._made.wait(_TIMEOUT_S):
                    raise Unavailable(f"the loop has not turned for {_TIMEOUT_S:.0f} s, or has not started")
            assert self._last is not None
            return self._last[1]
        finally:
            self._requesting.release()
