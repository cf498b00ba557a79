"""The router's records on the topic `sources`. The owner of partition 0 of a source writes them in helper threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Final

import structlog

from consumers.kafka.admin import REQUEST_ERRORS, sentence_of
from consumers.kafka.positions import CommittedPositions, PartitionKey, PartitionOffsets
from consumers.kafka.source_positions import PositionsBySource, SourcesTopic
from consumers.kafka.threads import in_thread
from schemas.records.source import SourcePositions

EVERY_S: Final = 3_600.0
# So that a process that restarts more often than hourly also records its last positions.
FIRST_AFTER_S: Final = 60.0
_RETRY_S: Final = 60.0
_log = structlog.get_logger("router")


class SourcePositionsRecorder:
    """Reads and writes the topic `sources` in helper threads; `unix_ms` is a clock."""

    def __init__(self, topic: SourcesTopic, positions: CommittedPositions, unix_ms: Callable[[], int]) -> None:
        self._topic = topic
        self._positions = positions
        self._unix_ms = unix_ms
        self._due_s: float | None = None
        self._hourly: Future[int] | None = None

    def now_ms(self) -> int:
        """Return the time of the records' clock (Unix ms)."""
        return self._unix_ms()

    def read(self) -> Future[PositionsBySource]:
        """Read the records of all sources."""
        return in_thread("sources", self._topic.read)

    def record_starts(
        self, started: Mapping[str, str | None], found: Mapping[PartitionKey, PartitionOffsets]
    ) -> Future[None]:
        """Record the start of sources; `started`: topic to `start_at`, None if the topic had positions before."""
        now_ms = self._unix_ms()
        starts = [
            SourcePositions(topic, now_ms, start_at, _committed(topic, found)) for topic, start_at in started.items()
        ]
        return in_thread("sources", self._topic.write, starts)

    def poll(self, now_s: float, owned: Sequence[PartitionKey]) -> None:
        """Record the last positions when they are due (`now_s`: a monotonic clock, in seconds)."""
        if self._due_s is None:
            self._due_s = now_s + FIRST_AFTER_S
        if now_s < self._due_s:
            return
        if self._hourly is None:
            topics = [topic for topic, partition in owned if partition == 0]
            self._hourly = in_thread("sources", self.record_last, topics) if topics else None
            self._due_s = now_s if topics else now_s + EVERY_S
        elif self._hourly.done():
            self._due_s += EVERY_S if self._is_written(self._hourly) else _RETRY_S
            self._hourly = None

    def record_last(self, topics: Iterable[str]) -> int:
        """Record the committed positions of these sources; returns the number of records written. Blocks."""
        found = self._positions.fetch_topics(topics)
        now_ms = self._unix_ms()
        last = {topic: _committed(topic, found) for topic, _ in found}
        # Partition recovery writes the first record of a source.
        records = [
            replace(source, last={**source.last, **last[topic]}, last_at_ms=now_ms)
            for topic, source in self._topic.read().items()
            if source is not None and last.get(topic)
        ]
        self._topic.write(records)
        return len(records)

    def _is_written(self, hourly: Future[int]) -> bool:
        try:
            hourly.result()
        except REQUEST_ERRORS as error:
            _log.warning("source_positions.write_failed", error=sentence_of(error))
            return False
        return True


def _committed(topic: str, found: Mapping[PartitionKey, PartitionOffsets]) -> dict[int, int]:
    return {
        partition: position.offset
        for (name, partition), position in found.items()
        if name == topic and position.offset is not None
    }
