"""What a loop's thread shows to others: made when somebody asks, by the loop itself, so that nothing is shared."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Lock
from typing import Final, Generic, TypeVar

from schemas.catalog.errors import Unavailable

T = TypeVar("T")
# However many ask: the loop makes one so often at most.
FRESH_S: Final = 1.0
_PATIENCE_S: Final = 3.0


class Snapshots(Generic[T]):
    """`make` is called in the loop's thread with the time in ms, and returns something that never changes.

    `now_s` is a monotonic clock. Nobody asks: it costs a look at `wanted` each turn.
    """

    def __init__(self, make: Callable[[int], T], now_s: Callable[[], float] = time.monotonic) -> None:
        self._make = make
        self._now_s = now_s
        self._asking = Lock()
        self._made = Event()
        self._last: tuple[float, T] | None = None
        self.wanted = False

    def turn(self, now_ms: int) -> None:
        """Make what is wanted; for the loop, in each of its turns."""
        if not self.wanted:
            return
        self.wanted = False
        self._last = self._now_s(), self._make(now_ms)
        self._made.set()

    def ask(self) -> T:
        """Return a snapshot that is a second old at most; for any other thread. Unavailable where the loop stands."""
        if not self._asking.acquire(timeout=_PATIENCE_S):
            raise Unavailable("many ask, and the loop does not answer")
        try:
            if self._last is None or self._now_s() - self._last[0] > FRESH_S:
                self._made.clear()
                self.wanted = True
                if not self._made.wait(_PATIENCE_S):
                    raise Unavailable(f"the loop has not turned for {_PATIENCE_S:.0f} s, or has not begun")
            assert self._last is not None
            return self._last[1]
        finally:
            self._asking.release()
