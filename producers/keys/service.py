"""API keys of an API process: authentication, rate limits, last uses, and the thread that follows the topic."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog
from confluent_kafka import KafkaException

from producers.compacted.worker import Worker
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
        self._is_failing = False
        self._worker = Worker("api-keys", self._turn, self._on_unavailable, retry_s=_FOLLOW_S)

    def start(self) -> None:
        """Read all keys, then follow the topic in a thread; Unavailable if it cannot be read."""
        self._table.read()
        self._worker.start()

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
        return self._worker.is_alive

    def why_not_ready(self) -> str | None:
        """Return why no key can be checked at present, or None."""
        return None if self._table.is_current else "the API keys could not be read for 5 s"

    def stop(self) -> None:
        """Let the thread end. `close` waits for it."""
        self._worker.stop()

    def close(self) -> None:
        """Stop the thread, write the last uses, and close the connections to the broker."""
        self._worker.join(_STOP_S)
        self._uses.close()
        self._table.close()

    def _turn(self) -> None:
        try:
            self._table.follow(_FOLLOW_S)
            self._uses.flush()
        except KafkaException as error:
            raise Unavailable(str(error)) from error
        self._is_failing = False

    def _on_unavailable(self, error: Unavailable) -> None:
        if not self._is_failing:
            _log.warning("api_keys.read_failed", why=str(error))
        self._is_failing = True
