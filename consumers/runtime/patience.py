"""How long an answer of the brokers is waited for: longer after one that did not come.

Ten seconds are enough of a broker that is well, and soon over where a connection is dead. But a new client hears six
answers before it has the positions of a group: where each takes 3 s nothing would ever start without more patience.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from confluent_kafka import KafkaError

from consumers.runtime.admin import CLIENT_ERRORS, reason_of

FIRST_S: Final = 10.0
MOST_S: Final = 30.0
_LATE: Final = frozenset({KafkaError._TIMED_OUT, KafkaError.REQUEST_TIMED_OUT, KafkaError._MSG_TIMED_OUT})


class Patience:
    """`seconds` is how long to wait: twice as long after each time-out, else twice what the last answer took; 10 to 30.

    `now_s` is a monotonic clock.
    """

    def __init__(self, first_s: float = FIRST_S, now_s: Callable[[], float] = time.monotonic) -> None:
        self._first_s = first_s
        self._now_s = now_s
        self.seconds = first_s

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Learn from how a question ends, which is raised as it is."""
        began_s = self._now_s()
        try:
            yield
        except CLIENT_ERRORS as error:
            if reason_of(error).code() in _LATE:
                self.seconds = min(2 * self.seconds, MOST_S)
            raise
        self.seconds = min(MOST_S, max(self._first_s, 2 * (self._now_s() - began_s)))
