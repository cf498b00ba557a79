"""Where to read each partition from, once it was assigned: found out without waiting, and never guessed.

- A position that was committed is where to go on. One that retention has overtaken goes on at the log's start, and the
  range is reported; one after the log's end means another log (Unavailable).
- A topic without any position, of which nothing is noted on `sources`, is new: it starts at `start_at`, which is
  committed and then noted before anything is read. All of its partitions are committed at once by the process that has
  partition 0, so that no two take different moments for `now`; the others wait for it. A process that ends between
  commit and note leaves positions without a note, as does an older version: the next takeover notes them.
- A topic that is noted and has no position any more has lost them, and so has a partition of which one is noted:
  nothing is guessed (Unavailable).
- Any other partition without a position was added later: it starts at its beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

import structlog
from confluent_kafka import IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its package names no __all__
    AdminClient,
    OffsetSpec,
)

from consumers.router.notes import Noting
from consumers.runtime.admin import TIMEOUT_S, offset_of
from consumers.runtime.lost_positions import beyond_sentence, lost_partitions, lost_sentence
from consumers.runtime.overtaken import Overtaken
from consumers.runtime.positions import CommittedPositions, Found, PartitionKey, PositionsQuery
from consumers.runtime.source_notes import Notes
from schemas.errors import Unavailable

_ASK_AGAIN_S: Final = 0.2
_EARLIEST: Final = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # it has no annotations
_LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # as above
_log = structlog.get_logger("router")

Positions: TypeAlias = dict[PartitionKey, int]
StartAt: TypeAlias = Literal["now", "earliest"] | datetime
"""Where a new source starts; a datetime has its offset from UTC."""


class StartQuery:
    """One question for the offsets at which the partitions of a new topic start; `poll` until it is answered."""

    def __init__(self, admin: AdminClient, start_at: StartAt, partitions: Sequence[PartitionKey]) -> None:
        asked = [TopicPartition(topic, number) for topic, number in partitions]
        # Not past the last stable offset: what an open transaction holds is still to come.
        self._ends = _list(admin, asked, _EARLIEST if start_at == "earliest" else _LATEST)
        self._times: dict[PartitionKey, Future[Any]] = {}
        if isinstance(start_at, datetime):
            self._times = _list(admin, asked, OffsetSpec.for_timestamp(int(start_at.timestamp() * 1_000)))

    def poll(self) -> Positions | None:
        """Return the answer once it is there; KafkaException if there is none."""
        if not all(future.done() for future in [*self._ends.values(), *self._times.values()]):
            return None
        positions = {key: offset_of(future.result()) for key, future in self._ends.items()}
        for key, future in self._times.items():
            # -1: nothing that late is there yet. An earlier end than the one now misses nothing.
            offset = offset_of(future.result())
            positions[key] = min(offset, positions[key]) if offset >= 0 else positions[key]
        return positions


class Takeover:
    """Finds where to read `owned` from.

    `commit` commits first positions, and calls back whether that was done; `overtaken` hears what retention
    took before it was read.
    """

    def __init__(
        self,
        admin: AdminClient,
        positions: CommittedPositions,
        noting: Noting,
        start_at: StartAt,
        owned: Sequence[PartitionKey],
        *,
        commit: Callable[[Positions, Callable[[bool], None]], None],
        overtaken: Callable[[Overtaken], None],
    ) -> None:
        self._admin = admin
        self._positions = positions
        self._noting = noting
        self._start_at = start_at
        self._owned = owned
        self._commit = commit
        self._overtaken = overtaken
        self._described: dict[str, Future[Any]] | None = None
        self._query: PositionsQuery[dict[PartitionKey, Found]] | None = None
        self._starts: StartQuery | None = None
        self._notes: Future[Notes] | None = None
        self._writing: Future[None] | None = None
        self._started: dict[str, str] = {}  # what this takeover has started, and by which setting
        self._committing = False
        self._not_before = 0.0

    def poll(self, now_s: float) -> Positions | None:
        """Return the positions once they are known; never blocks. Unavailable if one cannot be known."""
        if now_s < self._not_before or self._committing:
            return None
        try:
            return self._step(now_s)
        except KafkaException as error:
            _log.debug("router.takeover", error=error.args[0].str())
            self._begin_anew(now_s)
            return None

    def _step(self, now_s: float) -> Positions | None:
        if self._starts is not None:
            starts = self._starts.poll()
            if starts is not None:
                self._set(starts, now_s)
            return None
        if self._writing is not None:
            if self._writing.done():
                self._writing.result()
                self._begin_anew(now_s, 0.0)
            return None
        if self._notes is None:
            self._notes = self._noting.read()
        if not self._notes.done():
            return None
        if self._query is None:
            # After the notes: whoever noted a source has committed its positions before, and they are found then.
            if (partitions := self._partitions()) is not None:
                self._query = PositionsQuery(self._positions.fetch, partitions)
            return None
        found = self._query.poll(now_s)
        return None if found is None else self._judge(found, self._notes.result(), now_s)

    def _partitions(self) -> list[PartitionKey] | None:
        """Return all partitions of the topics of which some are owned."""
        if self._described is None:
            topics = sorted({topic for topic, _ in self._owned})
            asked = TopicCollection(topics)
            self._described = self._admin.describe_topics(asked, request_timeout=TIMEOUT_S)
        if not all(future.done() for future in self._described.values()):
            return None
        counts = {topic: len(future.result().partitions) for topic, future in self._described.items()}
        return [(topic, number) for topic, count in counts.items() for number in range(count)]

    def _judge(self, found: Mapping[PartitionKey, Found], notes: Notes, now_s: float) -> Positions | None:
        topics = {topic for topic, _ in self._owned}
        for topic in sorted(topics & notes.keys()):
            if lost := lost_partitions(topic, found, notes[topic]):
                raise Unavailable(lost_sentence(topic, lost, notes[topic]))
        started = {topic for (topic, _), position in found.items() if position.offset is not None}
        new = topics - started
        mine = {topic for topic in topics if (topic, 0) in self._owned}
        if not new and not mine - notes.keys():
            return {key: self._go_on(key, found[key]) for key in self._owned}
        if starting := new & mine:
            partitions = [key for key in found if key[0] in starting]
            self._starts = StartQuery(self._admin, self._start_at, partitions)
        elif unnoted := mine - notes.keys() - new:
            self._writing = self._noting.begin({topic: self._started.get(topic) for topic in unnoted}, found)
        else:
            self._begin_anew(now_s)
        return None

    def _set(self, starts: Positions, now_s: float) -> None:
        def done(committed: bool) -> None:
            self._committing = False
            if committed:
                topics = sorted({topic for topic, _ in starts})
                self._started |= dict.fromkeys(topics, str(self._start_at))
                _log.info("router.started", topics=topics, start_at=str(self._start_at), partitions=len(starts))

        self._committing = True
        self._begin_anew(now_s, 0.0)
        self._commit(starts, done)

    def _begin_anew(self, now_s: float, after_s: float = _ASK_AGAIN_S) -> None:
        self._described = None
        self._query = None
        self._starts = None
        self._notes = None
        self._writing = None
        self._not_before = now_s + after_s

    def _go_on(self, key: PartitionKey, found: Found) -> int:
        """Return where to go on; what retention took is reported."""
        topic, partition = key
        if found.offset is None:
            _log.info("router.new_partition", topic=topic, partition=partition, offset=found.begin)
            return found.begin
        if found.offset < found.begin:
            lost = {"first_lost": found.offset, "last_lost": found.begin - 1, "count": found.begin - found.offset}
            _log.error("router.overtaken", topic=topic, partition=partition, goes_on_at=found.begin, **lost)
            self._overtaken(Overtaken(topic, partition, found.offset, found.begin))
            return found.begin
        if found.offset > found.end:
            raise Unavailable(beyond_sentence(topic, partition, found.offset, found.end))
        return found.offset


def _list(admin: AdminClient, asked: Sequence[TopicPartition], spec: OffsetSpec) -> dict[PartitionKey, Future[Any]]:
    answers = admin.list_offsets(
        dict.fromkeys(asked, spec),
        isolation_level=IsolationLevel.READ_COMMITTED,
        request_timeout=TIMEOUT_S,
    )
    return {(partition.topic, partition.partition): future for partition, future in answers.items()}
