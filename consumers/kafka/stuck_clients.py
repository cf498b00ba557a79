"""Detects stuck clients: the brokers respond to a new client at once, but not to the clients of this process.

A broker that was stalled for longer than its session with the controller returns metadata without brokers. A client
that gets such a response drops all brokers, and never connects again (librdkafka issue 5301). Only a restart of the
process helps. A slow broker is slow for a new client as well. A broker that is down does not respond to a new client.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from typing import Final

from confluent_kafka import IsolationLevel

from consumers.kafka.admin import LATEST, REQUEST_ERRORS, list_offsets, metadata_of, new_admin
from consumers.kafka.threads import in_thread
from schemas.catalog.errors import Unavailable

STUCK: Final = "the brokers respond to a new client, and for a minute they have not responded to those of this process"
STUCK_AFTER_S: Final = 60.0
_TRY_AFTER_S: Final = 30.0
_TRY_EVERY_S: Final = 5.0
# A new client must get its responses this fast, in each try of this time. The clients of the process need some of it
# after the brokers were away: they wait before they connect again, and their old requests have to time out first.
AT_ONCE_S: Final = 1.0
AT_ONCE_FOR_S: Final = 30.0
_TIMEOUT_S: Final = 5.0
# After a longer time between two turns, this process was stalled, and its clients with it: the time does not count.
_STALLED_S: Final = 10.0


class StuckClients:
    """Tries a new client while the requests of a process are not answered. Used by one thread; nothing blocks.

    `attempt` makes the same requests with a new client; its future has the duration in seconds, or one of
    REQUEST_ERRORS.
    """

    def __init__(self, attempt: Callable[[], Future[float]]) -> None:
        self._attempt = attempt
        self._since_s: float | None = None
        self._turn_s = 0.0  # the latest call of `are_stuck`
        self._try_at_s = 0.0
        self._attempted: Future[float] | None = None
        self._tried_s = 0.0  # when the latest attempt began
        self._at_once_since_s: float | None = None  # when the first attempt began of those that succeeded in a row
        self._at_once_for_s = 0.0  # from the beginning of the first attempt in a row to that of the last one

    def are_stuck(self, now_s: float, *, unanswered: bool) -> bool:
        """Return whether only a restart helps; call it each turn. `now_s` is a monotonic clock.

        `unanswered`: the brokers do not respond to the clients of this process, but have responded before.
        """
        if not unanswered or now_s - self._turn_s > _STALLED_S:
            self._since_s = self._attempted = None
            self._end_row()
        self._turn_s = now_s
        if not unanswered:
            return False
        if self._since_s is None:
            self._since_s = now_s
            self._try_at_s = now_s + _TRY_AFTER_S
        self._collect()
        if self._attempted is None and now_s >= self._try_at_s:
            self._try_at_s = now_s + _TRY_EVERY_S
            self._tried_s = now_s
            self._attempted = self._attempt()
        return self._at_once_for_s >= AT_ONCE_FOR_S and now_s - self._since_s > STUCK_AFTER_S

    def _collect(self) -> None:
        if self._attempted is None or not self._attempted.done():
            return
        attempted, self._attempted = self._attempted, None
        try:
            took_s = attempted.result()
        except REQUEST_ERRORS:
            self._end_row()
            return
        if took_s > AT_ONCE_S:
            self._end_row()
            return
        if self._at_once_since_s is None:
            self._at_once_since_s = self._tried_s
        self._at_once_for_s = self._tried_s - self._at_once_since_s

    def _end_row(self) -> None:
        self._at_once_since_s = None
        self._at_once_for_s = 0.0


def stuck_clients(kafka: Mapping[str, str], topics: Collection[str]) -> StuckClients:
    """Return the detector of a process that follows compacted topics; `kafka` are the properties of its connections."""
    return StuckClients(lambda: in_thread("stuck clients", _request_ends, kafka, topics))


def _request_ends(kafka: Mapping[str, str], topics: Collection[str]) -> float:
    """Request the ends of topics with a new client; return the duration in seconds. REQUEST_ERRORS if that fails."""
    began_s = time.monotonic()
    admin = new_admin(kafka)
    known = metadata_of(admin, _TIMEOUT_S).topics
    if missing := [topic for topic in topics if topic not in known]:
        raise Unavailable(f"there is no topic {missing[0]}")
    partitions = [(topic, number) for topic in topics for number in known[topic].partitions]
    list_offsets(admin, partitions, LATEST, IsolationLevel.READ_COMMITTED, _TIMEOUT_S).wait()
    return time.monotonic() - began_s
