"""Adaptive timeout of requests to the brokers: it grows after a time-out and shrinks after a quick response.

Ten seconds are enough for a healthy broker, and short enough to notice a dead connection. A new client needs six
responses before it has the positions of a group. If each takes 3 s, a fixed timeout of 10 s would never let it start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from confluent_kafka import KafkaError

from consumers.kafka.admin import CLIENT_ERRORS, reason_of

INITIAL_S: Final = 10.0
MAX_S: Final = 30.0
_TIMED_OUT: Final = frozenset({KafkaError._TIMED_OUT, KafkaError.REQUEST_TIMED_OUT, KafkaError._MSG_TIMED_OUT})


class AdaptiveTimeout:
    """`seconds` is the timeout of the next request, from 10 to 30.

    A time-out doubles it. A response sets it to twice the duration of the request. `now_s` is a monotonic clock.
    """

    def __init__(self, initial_s: float = INITIAL_S, now_s: Callable[[], float] = time.monotonic) -> None:
        self._initial_s = initial_s
        self._now_s = now_s
        self.seconds = initial_s

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Adapt the timeout to the result of the request in this block; an error is raised unchanged."""
        began_s = self._now_s()
        try:
            yield
        except CLIENT_ERRORS as error:
            if reason_of(error).code() in _TIMED_OUT:
                self.seconds = min(2 * self.seconds, MAX_S)
            raise
        self.seconds = min(MAX_S, max(self._initial_s, 2 * (self._now_s() - began_s)))
