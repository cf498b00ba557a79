"""Last uses of API keys: each API process writes its own to the topic `api-key-uses`, at most once a minute per key.

Processes write without exclusive access. The last record of a key counts, so with several processes the time is up to
a minute early.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.records.api_key import encode_api_key_use
from schemas.records.topics import TopicNames

EVERY_S: Final = 60.0
_CLOSE_S: Final = 5.0
_TUNING: Final[dict[str, str | int]] = {"linger.ms": 5, "compression.type": "lz4"}
_OWN: Final[dict[str, str | int | bool]] = {
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",
}


class LastUses:
    """The uses that are not written yet. `used` may be called from any thread, `flush` and `close` from one."""

    def __init__(
        self, kafka: Mapping[str, str], names: TopicNames, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        logger = logging.getLogger("signpost.kafka")
        self._producer = Producer({**_TUNING, **kafka, **_OWN}, logger=logger)
        self._topic = names.api_key_uses
        self._monotonic = monotonic
        self._unwritten: dict[str, int] = {}
        self._written_s: dict[str, float] = {}

    def used(self, key_id: str, now_ms: int) -> None:
        """Record a use at `now_ms`, in Unix ms."""
        self._unwritten[key_id] = now_ms

    def flush(self) -> None:
        """Send the uses of keys for which none was sent within a minute. It does not wait for the broker."""
        self._producer.poll(0)
        now_s = self._monotonic()
        self._written_s = {key_id: at_s for key_id, at_s in self._written_s.items() if now_s - at_s < EVERY_S}
        # `list` of a dictionary is one step, so another thread may add to it.
        self._send([key_id for key_id in list(self._unwritten) if key_id not in self._written_s], now_s)

    def close(self) -> None:
        """Send all uses and wait for the broker for at most 5 s."""
        self._send(list(self._unwritten), self._monotonic())
        self._producer.flush(_CLOSE_S)

    def _send(self, key_ids: list[str], now_s: float) -> None:
        for key_id in key_ids:
            at_ms = self._unwritten.pop(key_id)
            self._written_s[key_id] = now_s

            def reported(error: KafkaError | None, _: Message, key_id: str = key_id, at_ms: int = at_ms) -> None:
                if error is not None:
                    self._unwritten.setdefault(key_id, at_ms)  # after a minute it is sent again

            try:
                value = encode_api_key_use(key_id, at_ms)
                self._producer.produce(self._topic, key=key_id, value=value, on_delivery=reported)
            except (BufferError, KafkaException):  # the broker is away and the queue is full
                self._unwritten.setdefault(key_id, at_ms)
