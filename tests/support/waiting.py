"""Waiting for a condition with a deadline: what tests do in place of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], deadline_s: float = 60.0, what: str = "the condition") -> T:
    """Ask until the answer is true and return it; AssertionError with `what` and the last answer after the deadline.

    An AssertionError of the condition itself counts as "not yet" and is shown at the end.
    """
    ends_at = time.monotonic() + deadline_s
    pause_s = 0.005
    while True:
        answer: T | AssertionError
        try:
            answer = condition()
            if answer:
                return answer
        except AssertionError as error:
            answer = error
        if time.monotonic() >= ends_at:
            raise AssertionError(f"not within {deadline_s:g} s: {what} (last: {answer!r})")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.1)
