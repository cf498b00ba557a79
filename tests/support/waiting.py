"""Waiting for a condition with a deadline, in place of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

# A test that waits longer hangs. The load of the machine decides how long a step takes: this is far above all of them.
HANGS_S: Final = 180.0


def wait_until(condition: Callable[[], T], deadline_s: float = HANGS_S, what: str = "the condition") -> T:
    """Call `condition` until its result is true and return it; AssertionError with `what` after the deadline.

    An AssertionError of the condition counts as false; the error at the deadline shows the last result.
    """
    ends_at = time.monotonic() + deadline_s
    pause_s = 0.005
    while True:
        result: T | AssertionError
        try:
            result = condition()
            if result:
                return result
        except AssertionError as error:
            result = error
        if time.monotonic() >= ends_at:
            raise AssertionError(f"not within {deadline_s:g} s: {what} (last: {result!r})")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.1)
