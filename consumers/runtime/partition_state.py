"""State that a role keeps on a compacted topic, by partition number: read whole when a partition is taken over.

Blocks, and belongs into a helper thread. A partition is read, read_committed, up to its *high watermark*: the last
stable offset is not enough, as the open transaction of a process that is gone hides what a later owner committed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Final

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # OffsetSpec is missing from its __all__
    AdminClient,
    OffsetSpec,
)

from consumers.runtime.adaptive_timeout import AdaptiveTimeout
from consumers.runtime.admin import offset_of

_STALLED_S: Final = 30.0  # a transaction that its producer left open ends after at most 20
_LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # it has no annotations
_OWN: Final[dict[str, str | int | bool]] = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 20,
}

State = dict[str, bytes]
"""The last value of each key of a partition; what has a tombstone is not in it."""


class PartitionState:
    """Reads one such topic; `kafka` are the properties of the connection."""

    def __init__(self, kafka: Mapping[str, str], admin: AdminClient, topic: str) -> None:
        # The group has to be there; it is never joined and commits nothing.
        self._config = {**kafka, **_OWN, "group.id": topic}
        self._admin = admin
        self._topic = topic
        self._timeout = AdaptiveTimeout()

    def read(self, partitions: Iterable[int]) -> dict[int, State]:
        """Return the state of these partitions; KafkaException where the broker does not say."""
        numbers = sorted(set(partitions))
        if not numbers:
            return {}
        consumer = Consumer(self._config, logger=logging.getLogger("signpost.kafka"))
        try:
            with self._timeout.measured():
                return self._read(consumer, numbers)
        finally:
            consumer.close()

    def _read(self, consumer: Consumer, numbers: list[int]) -> dict[int, State]:
        states: dict[int, State] = {number: {} for number in numbers}
        missing = {number: end for number, end in self._ends(numbers).items() if end > 0}
        if missing:
            consumer.assign([TopicPartition(self._topic, number, 0) for number in missing])
        ends_s = time.monotonic() + _STALLED_S
        while missing:
            messages = consumer.consume(1_000, 0.1)
            if messages:  # however much it is, and however slowly it comes
                ends_s = time.monotonic() + _STALLED_S
            for message in messages:
                number, passed = _apply(message, states)
                if passed >= missing.get(number, passed + 1):
                    del missing[number]
            if missing and time.monotonic() > ends_s:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{self._topic} is not read to its end"))
        return states

    def _ends(self, numbers: list[int]) -> dict[int, int]:
        # A consumer's own question would be answered with the last stable offset, as it reads what is committed.
        places = [TopicPartition(self._topic, number) for number in numbers]
        asked = self._admin.list_offsets(
            dict.fromkeys(places, _LATEST),
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=self._timeout.seconds,
        )
        return {place.partition: offset_of(future.result()) for place, future in asked.items()}


def _apply(message: Message, states: dict[int, State]) -> tuple[int, int]:
    """Apply a record, and return its partition and the offset up to which that has been read now."""
    number, offset = message.partition() or 0, message.offset() or 0
    error = message.error()
    if error is not None:
        if error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        return number, offset
    key, value = (message.key() or b"").decode("utf-8", "backslashreplace"), message.value()
    if value is None:
        states[number].pop(key, None)
    else:
        states[number][key] = value
    return number, offset + 1
