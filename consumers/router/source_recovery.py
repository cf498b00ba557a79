"""Partition recovery: find the position of each assigned partition. Nothing blocks, and no position is guessed.

- Reading continues at the committed position. If retention has deleted records there, reading continues at the start
  of the log, and the range is reported. A position after the end means another log (Unavailable).
- A topic without any position and without a record on `sources` is new: it starts at `start_at`, which is committed and
  then recorded before anything is read. The process that owns partition 0 commits all partitions of the topic, so that
  no two processes use different moments for `now`; the others wait. A process that stops between commit and record
  leaves positions without a record, as an older version does. The next recovery writes the record.
- A topic with a record and without any position has lost its positions, and so has a partition with a recorded
  position and without a committed one (Unavailable).
- Any other partition without a position was added later: it starts at its beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import Final, Literal, TypeAlias

import structlog
from confluent_kafka import IsolationLevel, KafkaException
from confluent_kafka.admin import AdminClient

from consumers.kafka.admin import EARLIEST, LATEST, count_partitions, from_time, list_offsets, sentence_of
from consumers.kafka.lost_positions import beyond_sentence, lost_partitions, lost_sentence
from consumers.kafka.pending import Pending
from consumers.kafka.positions import CommittedPositions, PartitionKey, PartitionOffsets, PositionsQuery
from consumers.kafka.source_positions import PositionsBySource
from consumers.kafka.truncation import Truncation
from consumers.router.source_positions import SourcePositionsRecorder
from schemas.catalog.errors import Unavailable
from schemas.records.source import SourcePositions

_RETRY_S: Final = 0.2
_STABLE: Final = IsolationLevel.READ_COMMITTED
_log = structlog.get_logger("router")

Positions: TypeAlias = dict[PartitionKey, int]
StartAt: TypeAlias = Literal["now", "earliest"] | datetime
"""Where a new source starts; a datetime has its offset from UTC."""


class StartQuery:
    """One request for the start offsets of the partitions of a new topic; call `poll` until it returns them."""

    def __init__(self, admin: AdminClient, start_at: StartAt, partitions: Sequence[PartitionKey]) -> None:
        # Not after the last stable offset: the records of an open transaction are still to be read.
        self._ends = list_offsets(admin, partitions, EARLIEST if start_at == "earliest" else LATEST, _STABLE)
        self._times: Pending[PartitionKey, int] | None = None
        if isinstance(start_at, datetime):
            self._times = list_offsets(admin, partitions, from_time(int(start_at.timestamp() * 1_000)), _STABLE)

    def poll(self, now_s: float) -> Positions | None:
        """Return the offsets once they have arrived; KafkaException if the request failed, or was lost."""
        ends = self._ends.poll(now_s)
        times: Positions | None = {} if self._times is None else self._times.poll(now_s)
        if ends is None or times is None:
            return None
        # -1: no record is that young. The end offset may be older than the log now, which misses nothing.
        return {key: min(times[key], end) if times.get(key, -1) >= 0 else end for key, end in ends.items()}


class SourceRecovery:
    """Finds the positions of the partitions `owned`.

    `commit` commits first positions, and calls back with its success. `on_truncated` gets the ranges that retention
    deleted before they were read.
    """

    def __init__(
        self,
        admin: AdminClient,
        positions: CommittedPositions,
        recorder: SourcePositionsRecorder,
        start_at: StartAt,
        owned: Sequence[PartitionKey],
        *,
        commit: Callable[[Positions, Callable[[bool], None]], None],
        on_truncated: Callable[[Truncation], None],
    ) -> None:
        self._admin = admin
        self._positions = positions
        self._recorder = recorder
        self._start_at = start_at
        self._owned = owned
        self._commit = commit
        self._on_truncated = on_truncated
        self._described: Pending[str, int] | None = None
        self._query: PositionsQuery[dict[PartitionKey, PartitionOffsets]] | None = None
        self._starts: StartQuery | None = None
        self._sources: Future[PositionsBySource] | None = None
        self._writing: Future[None] | None = None
        self._started: dict[str, str] = {}  # topics that this recovery has started, with the setting
        self._committing = False
        self._not_before = 0.0
        self.error: str | None = None  # of the last request that failed
        self.readable_since_ms: dict[str, int] = {}  # by topic, once the positions are known (Unix ms)

    def poll(self, now_s: float) -> Positions | None:
        """Return the positions once they are known; never blocks. Unavailable if one cannot be known."""
        if now_s < self._not_before or self._committing:
            return None
        try:
            return self._step(now_s)
        except KafkaException as error:
            self._retry(error, now_s)
            return None

    def _step(self, now_s: float) -> Positions | None:
        if self._starts is not None:
            starts = self._starts.poll(now_s)
            if starts is not None:
                self._set(starts, now_s)
            return None
        if self._writing is not None:
            if self._writing.done():
                self._writing.result()
                self._start_over(now_s, 0.0)
            return None
        if self._sources is None:
            self._sources = self._recorder.read()
        if not self._sources.done():
            return None
        if isinstance(error := self._sources.exception(), Unavailable):
            self._retry(error, now_s)
            return None
        if self._query is None:
            # Only after `sources`: positions are committed before they are recorded, so this request finds them.
            if (partitions := self._partitions(now_s)) is not None:
                self._query = PositionsQuery(self._positions.fetch, partitions)
            return None
        found = self._query.poll(now_s)
        return None if found is None else self._decide(found, self._sources.result(), now_s)

    def _partitions(self, now_s: float) -> list[PartitionKey] | None:
        """Return all partitions of the topics with owned partitions."""
        if self._described is None:
            topics = sorted({topic for topic, _ in self._owned})
            self._described = count_partitions(self._admin, topics)
        counts = self._described.poll(now_s)
        if counts is None:
            return None
        return [(topic, number) for topic, count in counts.items() for number in range(count)]

    def _decide(
        self, found: Mapping[PartitionKey, PartitionOffsets], sources: PositionsBySource, now_s: float
    ) -> Positions | None:
        topics = {topic for topic, _ in self._owned}
        for topic in sorted(topics & sources.keys()):
            if lost := lost_partitions(topic, found, sources[topic]):
                raise Unavailable(lost_sentence(topic, lost, sources[topic]))
        started = {topic for (topic, _), position in found.items() if position.offset is not None}
        new = topics - started
        mine = {topic for topic in topics if (topic, 0) in self._owned}
        if not new and not mine - sources.keys():
            self.readable_since_ms = {topic: self._readable_since_ms(sources.get(topic)) for topic in topics}
            return {key: self._resume_at(key, found[key]) for key in self._owned}
        if starting := new & mine:
            partitions = [key for key in found if key[0] in starting]
            self._starts = StartQuery(self._admin, self._start_at, partitions)
        elif unrecorded := mine - sources.keys() - new:
            self._writing = self._recorder.record_starts(
                {topic: self._started.get(topic) for topic in unrecorded}, found
            )
        else:
            self._start_over(now_s)
        return None

    def _readable_since_ms(self, source: SourcePositions | None) -> int:
        """Return since when the records of a source can be read.

        Without a record, the owner of partition 0 has just started the source, and is about to write its record.
        """
        return self._recorder.now_ms() if source is None else source.readable_since_ms

    def _set(self, starts: Positions, now_s: float) -> None:
        def done(committed: bool) -> None:
            self._committing = False
            if committed:
                topics = sorted({topic for topic, _ in starts})
                self._started |= dict.fromkeys(topics, str(self._start_at))
                _log.info("source.initialized", topics=topics, start_at=str(self._start_at), partitions=len(starts))

        self._committing = True
        self._start_over(now_s, 0.0)
        self._commit(starts, done)

    def _retry(self, error: BaseException, now_s: float) -> None:
        sentence = sentence_of(error)
        if sentence != self.error:
            _log.info("positions.fetch_failed", error=sentence)
        self.error = sentence
        self._start_over(now_s)

    def _start_over(self, now_s: float, after_s: float = _RETRY_S) -> None:
        self._described = None
        self._query = None
        self._starts = None
        self._sources = None
        self._writing = None
        self._not_before = now_s + after_s

    def _resume_at(self, key: PartitionKey, found: PartitionOffsets) -> int:
        """Return the position of a partition; report a range that retention has deleted."""
        topic, partition = key
        if found.offset is None:
            _log.info("partition.added", topic=topic, partition=partition, offset=found.begin)
            return found.begin
        if found.offset < found.begin:
            truncation = Truncation(topic, partition, found.offset, found.begin)
            _log.error(
                "partition.truncated",
                topic=topic,
                partition=partition,
                lost_from=truncation.lost_from,
                lost_to=truncation.begin - 1,
                count=truncation.count,
            )
            self._on_truncated(truncation)
            return found.begin
        if found.offset > found.end:
            raise Unavailable(beyond_sentence(topic, partition, found.offset, found.end))
        return found.offset
