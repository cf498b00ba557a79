"""Creates, reads and deletes topics for tests."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType
from typing import TypeAlias

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __all__ lacks them
    AdminClient,
    NewTopic,
    OffsetSpec,
)

from tests.support.waiting import HANGS_S, wait_until

Headers: TypeAlias = list[tuple[str, str | bytes | None]]
_PAGE = 5_000
# Transient errors right after a topic was created or a broker started.
_NOT_YET = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.FENCED_LEADER_EPOCH,
)


@cache
def admin_of(bootstrap_servers: str) -> AdminClient:
    """Return the admin client of this process for a broker; it does not log. Each client costs threads and sockets."""
    return AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})


def create_topic(bootstrap_servers: str, topic: str, partitions: int = 1, **configs: str) -> None:
    """Create a topic and wait until it is writable; `configs` with underscores (`cleanup_policy="compact"`)."""
    config = {name.replace("_", "."): value for name, value in configs.items()}
    admin_of(bootstrap_servers).create_topics([NewTopic(topic, partitions, 1, config=config)])[topic].result(30)
    end_offsets(bootstrap_servers, topic)  # the controller responds before the broker knows the topic


def remove_topics(bootstrap_servers: str, prefix: str) -> None:
    """Delete all topics whose names start with `prefix`, so that a long run does not burden the broker."""
    admin = admin_of(bootstrap_servers)
    found = [name for name in admin.list_topics(timeout=30).topics if name.startswith(prefix)]
    for future in admin.delete_topics(found, operation_timeout=30).values() if found else ():
        try:
            future.result(30)
        except KafkaException as error:  # another cleanup may have deleted it
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise


def produce(
    bootstrap_servers: str,
    topic: str,
    value: bytes | None,
    key: bytes | None = None,
    *,
    partition: int = -1,
    headers: Headers | None = None,
) -> None:
    """Write one record and wait until the broker has it."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "message.max.bytes": 8_000_000, "log_level": 0})
    producer.produce(topic, value, key, partition, headers=headers)  # type: ignore[arg-type]  # None is fine
    assert producer.flush(30) == 0, "the broker did not accept the record"


def end_offsets(
    bootstrap_servers: str,
    topic: str,
    isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    admin: AdminClient | None = None,
) -> dict[int, int]:
    """Return the last stable offset of each partition of a topic, or with READ_UNCOMMITTED the high watermark."""
    admin = admin or admin_of(bootstrap_servers)

    def fetch() -> dict[int, int]:
        partitions = admin.list_topics(topic, timeout=30).topics[topic].partitions
        assert partitions, f"{topic} is not known yet"
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # it has no annotations
        futures = admin.list_offsets({TopicPartition(topic, n): latest for n in partitions}, isolation_level=isolation)
        try:
            return {partition.partition: future.result(30).offset for partition, future in futures.items()}
        except KafkaException as error:
            if error.args[0].code() in _NOT_YET:
                raise AssertionError(str(error)) from error
            raise

    return wait_until(fetch, what=f"the partitions of {topic} have leaders")


def read_topic(
    bootstrap_servers: str,
    topic: str,
    *,
    partitions: Iterable[int] | None = None,
    isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    begins: Mapping[int, int] = MappingProxyType({}),
    admin: AdminClient | None = None,
    deadline_s: float = HANGS_S,
) -> list[Message]:
    """Return all messages of a topic from `begins` to its last stable offset, by partition and offset.

    With READ_UNCOMMITTED: to its high watermark, including aborted messages. Tombstones are included. A partition
    without an offset in `begins` is read from its beginning.
    """
    ends = end_offsets(bootstrap_servers, topic, isolation, admin)
    chosen = ends if partitions is None else partitions
    wanted = {number for number in chosen if ends[number] > begins.get(number, 0)}
    if not wanted:
        return []
    committed = isolation == IsolationLevel.READ_COMMITTED
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "unused: no position is stored",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed" if committed else "read_uncommitted",
            "fetch.wait.max.ms": 50,
            "log_level": 0,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, number, begins.get(number, 0)) for number in wanted])
        messages = _read(consumer, wanted, {number: ends[number] for number in wanted}, deadline_s)
    finally:
        consumer.close()
    return sorted(messages, key=lambda message: (message.partition(), message.offset()))


class TopicFollower:
    """Reads the committed records of a topic; each read continues where the last one ended."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topic = topic
        self._admin = admin_of(bootstrap_servers)
        self._begins: dict[int, int] = {}

    def read(self) -> list[Message]:
        """Return the records since the last read, by partition and offset."""
        messages = read_topic(self._bootstrap_servers, self._topic, begins=self._begins, admin=self._admin)
        for message in messages:
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            self._begins[partition] = offset + 1
        return messages


def _read(consumer: Consumer, missing: set[int], ends: dict[int, int], deadline_s: float) -> list[Message]:
    """Read until each partition has reported its end at or behind the wanted offset."""
    found: list[Message] = []
    ends_at = time.monotonic() + deadline_s
    while missing:
        if time.monotonic() > ends_at:
            raise AssertionError(f"partitions {sorted(missing)} were not read to their end within {deadline_s:g} s")
        if (first := consumer.poll(0.2)) is None:
            continue
        for message in [first, *consumer.consume(_PAGE, 0)]:
            partition, offset, error = message.partition(), message.offset(), message.error()
            assert partition is not None
            assert offset is not None
            if error is None and offset < ends[partition]:
                found.append(message)
            elif error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            elif offset >= ends[partition]:
                missing.discard(partition)
    return found
