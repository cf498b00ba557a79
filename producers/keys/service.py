"""API keys of an API process: authentication, rate limits, last uses, and the thread that follows the topic."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog
from confluent_kafka import KafkaException

from producers.keys.rate_limit import RateLimiter
from producers.keys.table import KeyTable
from producers.keys.uses import LastUses
from schemas.catalog.errors import Unavailable
from schemas.keys.hashing import KeyHasher
from schemas.records.api_key import ApiKey
from schemas.records.topics import TopicNames

_FOLLOW_S: Final = 0.02
_STOP_S: Final = 15.0
_log = structlog.get_logger("api")


class ApiKeys:
    """Authenticates keys and limits their requests, in memory. One thread of its own follows the topic.

    `authenticate` and `may_request` are for one thread, such as that of an event loop: they do not block.
    """

    def __init__(
        self,
        kafka: Mapping[str, str],
        names: TopicNames,
        sealing_keys: Sequence[bytes],
        *,
        rate_limit: float,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = KeyTable(kafka, names, KeyHasher(names.api_keys, sealing_keys))
        self._limiter = RateLimiter(rate_limit)
        self._uses = LastUses(kafka, names)
        self._clock = clock
        self._monotonic = monotonic
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="api-keys", daemon=True)

    def start(self) -> None:
        """Read all keys, then follow the topic in a thread; Unavailable if it cannot be read."""
        self._table.read()
        self._thread.start()

    def authenticate(self, text: str) -> ApiKey | None:
        """Return the active key that a text is, and record its use; None if there is none.

        Unavailable if the topic could not be read for 5 s.
        """
        now_ms = int(self._clock() * 1_000)
        key = self._table.authenticate(text, now_ms)
        if key is not None:
            self._uses.used(key.id, now_ms)
        return key

    def may_request(self, key_id: str) -> float:
        """Count a request and return 0.0, or return how many seconds the caller has to wait."""
        return self._limiter.wait_s(key_id, self._monotonic())

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def why_not_ready(self) -> str | None:
        """Return why no key can be checked at present, or None."""
        return None if self._table.is_current else "the API keys could not be read for 5 s"

    def stop(self) -> None:
        """Let the thread end. `close` waits for it."""
        self._stopping.set()

    def close(self) -> None:
        """Stop the thread, write the last uses, and close the connections to the broker."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)
        self._uses.close()
        self._table.close()

    def _follow(self) -> None:
        is_failing = False
        while not self._stopping.is_set():
            try:
                self._table.follow(_FOLLOW_S)
                self._uses.flush()
                is_failing = False
            except (Unavailable, KafkaException) as error:
                if not is_failing:
                    _log.warning("api_keys.read_failed", why=str(error))
                is_failing = True
                self._stopping.wait(_FOLLOW_S)
