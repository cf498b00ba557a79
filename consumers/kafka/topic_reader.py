"""Reader of partitions: from given offsets to an end that was requested first, in large batches. All calls block.

The end is the last stable offset, or the high watermark if the reader has to wait for open transactions. The consumer
is `read_committed` in both cases. The last offsets before an end may be transaction markers, which no consumer gets;
then the client's report of the end of the partition completes the range.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from consumers.kafka.adaptive_timeout import AdaptiveTimeout
from consumers.kafka.admin import EARLIEST, LATEST, failed, from_time, list_offsets, settled
from consumers.kafka.positions import PartitionKey, is_lost_broker
from schemas.catalog.errors import NoResponse, Unavailable
from schemas.settings.kafka_properties import whole_topic_config

BATCH: Final = 10_000
# Brokers end an open transaction after at most 20 s: its timeout (10 s) and the interval of their checks (10 s).
SILENT_AFTER_S: Final = 30.0
_POLL_S: Final = 0.2
_TUNING: Final[dict[str, Any]] = {
    "fetch.wait.max.ms": 50,
    # The delay of the next fetch after a full queue. With the default of 1 s a reader would mostly wait.
    "fetch.queue.backoff.ms": 10,
}
# The reader skips a range that retention deletes meanwhile.
_OWN: Final[dict[str, Any]] = {"auto.offset.reset": "earliest"}

ReadProgress: TypeAlias = Callable[[int, int], None]
"""Called with the number of offsets read so far, and of all offsets."""


@dataclass(frozen=True, slots=True)
class Range:
    """The offsets of one partition from `begin` up to, not including, `end`."""

    topic: str
    partition: int
    begin: int
    end: int

    @property
    def key(self) -> PartitionKey:
        """Topic and partition."""
        return self.topic, self.partition


def no_progress(done: int, total: int) -> None:
    """Report no progress."""


def place_of(message: Message) -> tuple[str, int, int]:
    """Return topic, partition and offset of a consumed record."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    return topic, partition, offset


class TopicReader:
    """Reads partitions of one cluster; `kafka` are the properties of the connection.

    `group` is the name of a group that the reader never joins. All calls block, and raise Unavailable if brokers refuse
    or do not respond.
    """

    def __init__(
        self,
        kafka: Mapping[str, str],
        admin: AdminClient,
        group: str,
        *,
        progress: ReadProgress = no_progress,
        silent_after_s: float = SILENT_AFTER_S,
    ) -> None:
        self._kafka = kafka
        self._admin = admin
        self._group = group
        self.progress = progress
        self._silent_after_s = silent_after_s
        self._timeout = AdaptiveTimeout()

    def topics(self) -> set[str]:
        """Return the names of all topics."""
        return set(self._metadata())

    def partitions(self, topics: Iterable[str]) -> list[PartitionKey]:
        """Return all partitions of those topics that exist."""
        present = self._metadata()
        existing = [topic for topic in dict.fromkeys(topics) if topic in present and present[topic].error is None]
        return [(topic, number) for topic in existing for number in sorted(present[topic].partitions)]

    def partitions_of(self, topic: str) -> list[PartitionKey]:
        """Return all partitions of a topic; Unavailable if it does not exist."""
        if not (keys := self.partitions([topic])):
            raise Unavailable(f"the topic {topic} does not exist: `signpost topics apply` creates it")
        return keys

    def ranges(
        self,
        partitions: Iterable[PartitionKey],
        since_ms: int | None = None,
        *,
        isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> list[Range]:
        """Return the ranges to read, from the beginning or the first record not older than `since_ms` (Unix ms).

        The end is the last stable offset, or the high watermark with READ_UNCOMMITTED.
        """
        keys = list(partitions)
        if not keys:
            return []
        begin = EARLIEST if since_ms is None else from_time(since_ms)

        def request() -> list[Range]:
            begins, ends = self._offsets(keys, (begin, LATEST), isolation)
            # -1: no record is that young.
            return [Range(*key, begins[key] if begins[key] >= 0 else ends[key], ends[key]) for key in keys]

        return settled(request)

    def read(self, ranges: Iterable[Range]) -> Iterator[list[Message]]:
        """Yield all records of these ranges in batches, in order within each partition.

        A caller that needs no more closes the iterator.
        """
        wanted = {one.key: one for one in ranges if one.begin < one.end}
        if not wanted:
            return
        config = whole_topic_config(self._kafka, self._group, tuning=_TUNING, own=_OWN)
        consumer = Consumer(config, logger=logging.getLogger("signpost.kafka"))
        try:
            consumer.assign([TopicPartition(*key, one.begin) for key, one in wanted.items()])
            yield from self._read(consumer, wanted)
        except KafkaException as error:
            raise failed(error, f"{', '.join(sorted({topic for topic, _ in wanted}))} cannot be read") from error
        finally:
            consumer.close()

    def _read(self, consumer: Consumer, wanted: Mapping[PartitionKey, Range]) -> Iterator[list[Message]]:
        total = sum(one.end - one.begin for one in wanted.values())
        positions = {key: one.begin for key, one in wanted.items()}
        missing = set(wanted)
        silent_since_s = time.monotonic()
        while missing:
            batch: list[Message] = []
            for message in _consume(consumer):
                error = message.error()
                if error is not None and not _is_end(error):
                    continue
                topic, number, offset = place_of(message)
                key = (topic, number)
                silent_since_s = time.monotonic()
                if key not in missing:
                    continue
                if error is None and offset < wanted[key].end:
                    batch.append(message)
                # The report of an end carries the offset of the next record.
                positions[key] = min(wanted[key].end, offset + (error is None))
            ended = {key for key in missing if positions[key] >= wanted[key].end}
            if ended:
                missing -= ended
                consumer.pause([TopicPartition(*key) for key in ended])
            self.progress(sum(positions[key] - one.begin for key, one in wanted.items()), total)
            if batch:
                yield batch
                silent_since_s = time.monotonic()  # the caller may have been slow
            elif time.monotonic() - silent_since_s > self._silent_after_s:
                topic, number = min(missing)
                raise NoResponse(
                    f"{topic} was not read to its end: no broker has sent a record of partition {number} for "
                    f"{self._silent_after_s:g} s"
                )

    def _metadata(self) -> Mapping[str, Any]:
        try:
            with self._timeout.measured():
                return self._admin.list_topics(timeout=self._timeout.seconds).topics
        except KafkaException as error:
            raise failed(error, "the brokers do not list their topics") from error

    def _offsets(
        self, keys: list[PartitionKey], specs: Iterable[Any], isolation: IsolationLevel
    ) -> list[dict[PartitionKey, int]]:
        timeout_s = self._timeout.seconds
        try:
            with self._timeout.measured():
                requests = [list_offsets(self._admin, keys, spec, isolation, timeout_s) for spec in specs]
                return [request.wait() for request in requests]
        except KafkaException as error:
            # After a broker restart the client keeps the leaders that it knew, and its requests fail
            # (FENCED_LEADER_EPOCH) until it refreshes its metadata.
            self._metadata()
            raise failed(error, f"the brokers do not return where {keys[0][0]} begins and ends") from error


def _consume(consumer: Consumer) -> list[Message]:
    first = consumer.poll(_POLL_S)
    return [] if first is None else [first, *consumer.consume(BATCH, 0)]


def _is_end(error: KafkaError) -> bool:
    """Return True for the end of a partition, False for a temporary connection error; raise any other error."""
    if error.code() == KafkaError._PARTITION_EOF:
        return True
    if is_lost_broker(error):
        return False
    raise KafkaException(error)
