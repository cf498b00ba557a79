"""Topics read once, to an end that was asked for: all partitions at a time, in large batches.

A million records take about two seconds, most of it in Python, so whoever looks for something compares bytes first and
decodes only what may be it. The end is the last stable offset; the last records before it may be markers that no
consumer ever sees.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # OffsetSpec is missing from its __all__
    AdminClient,
    OffsetSpec,
)

from consumers.runtime.admin import TIMEOUT_S, offset_result, settled
from consumers.runtime.positions import CommittedPositions, PartitionOffsets, is_lost_broker
from schemas.errors import Unavailable

BATCH: Final = 10_000
_SILENT_AFTER_S: Final = 20.0
_LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # it has no annotations
_EARLIEST: Final = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # as above
_TUNING: Final[dict[str, Any]] = {
    "fetch.wait.max.ms": 50,
    # With the queue full the next fetch is tried after this; the default second would be most of the time.
    "fetch.queue.backoff.ms": 10,
}
_OWN: Final[dict[str, Any]] = {
    # The group is never joined and commits nothing; librdkafka wants a name.
    "group.id": "signpost.console",
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    # What retention removes while it is being read is not missed by whoever looks.
    "auto.offset.reset": "earliest",
}

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of offsets that were read, and of all."""


@dataclass(frozen=True, slots=True)
class Range:
    """The offsets of one partition from `begin` up to, not including, `end`."""

    topic: str
    partition: int
    begin: int
    end: int


def no_progress(done: int, total: int) -> None:
    """Report no progress."""


def place_of(message: Message) -> tuple[str, int, int]:
    """Return topic, partition and offset of a record that was read."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return topic, partition, offset


def time_of(message: Message) -> int:
    """Return the time of a record in Unix ms, 0 where it has none."""
    kind, at_ms = message.timestamp()
    return at_ms if kind else 0


class Scanner:
    """Reads topics of one cluster; `kafka` are the properties of the connection."""

    def __init__(self, kafka: Mapping[str, str], admin: AdminClient, progress: Progress = no_progress) -> None:
        self._kafka = kafka
        self._admin = admin
        self.progress = progress

    def topics(self) -> set[str]:
        """Return the names of all topics."""
        return set(self._admin.list_topics(timeout=TIMEOUT_S).topics)

    def partitions(self, topics: Iterable[str]) -> list[tuple[str, int]]:
        """Return all partitions of those of the topics that are there."""
        found = self._admin.list_topics(timeout=TIMEOUT_S).topics
        there = [topic for topic in dict.fromkeys(topics) if topic in found and found[topic].error is None]
        return [(topic, number) for topic in there for number in sorted(found[topic].partitions)]

    def committed(self, group: str, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], PartitionOffsets]:
        """Return the positions of a group; KafkaException if no broker can say."""
        return CommittedPositions(self._kafka, self._admin, group).fetch(partitions) if partitions else {}

    def ranges(self, topics: Iterable[str], since_ms: int | None = None) -> list[Range]:
        """Return what there is to read of topics, those of which there are none left out; `since_ms`: Unix ms."""
        spec = _EARLIEST if since_ms is None else OffsetSpec.for_timestamp(since_ms)
        keys = self.partitions(topics)
        begins, ends = self._offsets(keys, spec), self._offsets(keys, _LATEST)
        # Nothing so young is there: -1.
        return [Range(*key, begins[key] if begins[key] >= 0 else ends[key], ends[key]) for key in keys]

    def read(self, ranges: Iterable[Range]) -> Iterator[list[Message]]:
        """Yield all records of these ranges, in batches; Unavailable if the brokers fall silent."""
        wanted = {(r.topic, r.partition): r for r in ranges if r.begin < r.end}
        if not wanted:
            return
        consumer = Consumer({**_TUNING, **self._kafka, **_OWN}, logger=logging.getLogger("signpost.kafka"))
        try:
            consumer.assign([TopicPartition(r.topic, r.partition, r.begin) for r in wanted.values()])
            yield from self._read(consumer, wanted)
        finally:
            consumer.close()

    def first(self, ranges: Iterable[Range]) -> dict[tuple[str, int], Message]:
        """Return the first record of each range that has one, reading little more than that."""
        found: dict[tuple[str, int], Message] = {}
        waiting = {(r.topic, r.partition): r for r in ranges if r.begin < r.end}
        width = 64
        while waiting:
            heads = [Range(r.topic, r.partition, r.begin, min(r.end, r.begin + width)) for r in waiting.values()]
            for batch in self.read(heads):
                for message in batch:
                    topic, partition, _ = place_of(message)
                    found.setdefault((topic, partition), message)
            waiting = {
                key: Range(r.topic, r.partition, r.begin + width, r.end)
                for key, r in waiting.items()
                if key not in found and r.begin + width < r.end
            }
            width *= 16  # nothing but markers so far: there may be many
        return found

    def _read(self, consumer: Consumer, wanted: dict[tuple[str, int], Range]) -> Iterator[list[Message]]:
        total = sum(r.end - r.begin for r in wanted.values())
        positions = {key: r.begin for key, r in wanted.items()}
        missing = set(wanted)
        heard_s = time.monotonic()
        while missing:
            first = consumer.poll(0.2)
            if first is None:
                if time.monotonic() - heard_s > _SILENT_AFTER_S:
                    raise Unavailable(f"no broker has sent anything of {min(missing)[0]} for {_SILENT_AFTER_S:.0f} s")
                continue
            heard_s = time.monotonic()
            batch = []
            for message in (first, *consumer.consume(BATCH, 0)):
                topic, partition, offset = place_of(message) if _is_place(message) else ("", -1, -1)
                key = (topic, partition)
                if key not in missing:
                    continue
                if offset < wanted[key].end and message.error() is None:
                    batch.append(message)
                # The end of a partition is told as an error that has the offset of the next record.
                positions[key] = min(wanted[key].end, offset if message.error() is not None else offset + 1)
            ended = {key for key in missing if positions[key] >= wanted[key].end}
            if ended:
                missing -= ended
                consumer.pause([TopicPartition(*key) for key in ended])
            self.progress(sum(positions[key] - r.begin for key, r in wanted.items()), total)
            if batch:
                yield batch

    def _offsets(self, keys: list[tuple[str, int]], spec: OffsetSpec) -> dict[tuple[str, int], int]:
        if not keys:
            return {}

        def ask() -> dict[tuple[str, int], int]:
            futures = self._admin.list_offsets(
                {TopicPartition(*key): spec for key in keys},
                isolation_level=IsolationLevel.READ_COMMITTED,
                request_timeout=TIMEOUT_S,
            )
            return {
                (asked.topic, asked.partition): offset_result(future, f"asking where {asked.topic} begins and ends")
                for asked, future in futures.items()
            }

        return settled(ask)


def _is_place(message: Message) -> bool:
    """Tell a record, or the end of a partition, from an error of the connection, which passes or is raised."""
    error = message.error()
    if error is None or error.code() == KafkaError._PARTITION_EOF:
        return True
    if is_lost_broker(error):
        return False
    raise KafkaException(error)


def newest(
    scanner: Scanner, ranges: Iterable[Range], limit: int | None, accepts: Callable[[Message], bool]
) -> list[Message]:
    """Return the newest `limit` records of a topic's ranges that are accepted (all with None), oldest first.

    Read from the end backwards in growing steps, so that the last ten of a million cost no more than of a thousand.
    """
    whole = {r.partition: r for r in ranges if r.begin < r.end}
    low = {partition: r.end for partition, r in whole.items()}
    found: list[Message] = []
    step = 500
    while low:
        steps = [
            replace(r, begin=r.begin if limit is None else max(r.begin, low[r.partition] - step), end=low[r.partition])
            for r in whole.values()
            if r.partition in low
        ]
        oldest: dict[int, int] = {}
        for batch in scanner.read(steps):
            for message in batch:
                number = place_of(message)[1]
                oldest[number] = min(oldest.get(number, time_of(message)), time_of(message))
                if accepts(message):
                    found.append(message)
        found.sort(key=lambda message: (time_of(message), place_of(message)))
        low = {r.partition: r.begin for r in steps if r.begin > whole[r.partition].begin}
        if limit is None:
            continue
        found = found[-limit:] if limit else []
        # What is not read yet of a partition is older than what was read of it; of markers alone nothing is known.
        if len(found) == limit and all(n in oldest and oldest[n] <= time_of(found[0]) for n in low if limit):
            break
        step *= 4
    return found
