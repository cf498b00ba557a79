"""Readers of the topics `api-keys` and `api-key-uses`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from producers.compacted.log import CompactedLog, Unreadable
from schemas.records.api_key import ApiKey, decode_api_key, decode_api_key_use
from schemas.records.partitioner import partition_of
from schemas.records.topics import TopicNames

_TIMEOUT_S: Final = 5.0


class KeyLog:
    """All API keys up to the read positions. Each has its record on the partition of its id.

    Records of other partitions are ignored. One thread reads, others may call `get` meanwhile: records are immutable,
    and one assignment in a dictionary replaces a record.
    """

    def __init__(
        self, kafka: Mapping[str, str], names: TopicNames, *, timeout_s: float = _TIMEOUT_S, fetch_wait_ms: int = 10
    ) -> None:
        self.topic = names.api_keys
        self.compacted: CompactedLog[ApiKey] = CompactedLog(
            kafka,
            self.topic,
            decode_api_key,
            monotonic=time.monotonic,
            sleep=time.sleep,
            timeout_s=timeout_s,
            fetch_wait_ms=fetch_wait_ms,
        )

    def partition(self, id_: str) -> int:
        """Return the partition of a key; `read` of the log has to be called first."""
        return partition_of(id_, self.compacted.partitions)

    def get(self, id_: str) -> ApiKey | Unreadable | None:
        """Return the current record of an id."""
        return self.compacted.on(self.partition(id_), id_)

    def all(self) -> dict[str, ApiKey | Unreadable]:
        """Return all records by id, ordered by id. Only for the thread that reads."""
        return {id_: record for id_, _ in self.compacted.items() if (record := self.get(id_)) is not None}


def read_last_uses(kafka: Mapping[str, str], names: TopicNames) -> dict[str, int]:
    """Return the last use of each API key, in Unix ms; Unavailable if the topic cannot be read."""
    log: CompactedLog[int] = CompactedLog(
        kafka,
        names.api_key_uses,
        lambda _, value: decode_api_key_use(value),
        monotonic=time.monotonic,
        sleep=time.sleep,
        timeout_s=_TIMEOUT_S,
    )
    try:
        log.read()
        return {id_: at_ms for id_, at_ms in log.items() if not isinstance(at_ms, Unreadable)}
    finally:
        log.close()
