"""Reader of the topic `subscriptions` for its writer: blocking calls that read up to a requested end offset.

consumers/kafka/topic_reader.py does the same for consumers, but producers do not import consumers. This reader keeps
its Kafka consumer, so that each call continues where the last one ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

from producers.subscriptions.changes import Current, Unreadable
from schemas.catalog.errors import Unavailable, UnreadableRecord
from schemas.settings.kafka_properties import whole_topic_config
from schemas.subscriptions.subscription import Subscription, decode_subscription

_EARLIEST: Final = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # the library leaves it without types
_LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # as above
_TUNING: Final[dict[str, str | int]] = {"fetch.wait.max.ms": 10}
_RESPONSE_S: Final = 5.0


class SubscriptionLog:
    """All records of the topic up to the read positions; `timeout_s` is the timeout of each call."""

    def __init__(
        self,
        kafka: Mapping[str, str],
        topic: str,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
        timeout_s: float,
    ) -> None:
        self._topic = topic
        self._monotonic = monotonic
        self._sleep = sleep
        self._timeout_s = timeout_s
        logger = logging.getLogger("signpost.kafka")
        self._consumer = Consumer(whole_topic_config(kafka, f"{topic}.read", tuning=_TUNING), logger=logger)
        self._admin = AdminClient(dict(kafka), logger=logger)
        self._servers = kafka.get("bootstrap.servers", "")
        self._records: list[dict[str, Subscription | Unreadable]] = []
        self._positions: dict[int, int] = {}

    @property
    def partitions(self) -> int:
        """Number of partitions; 0 before the first reading."""
        return len(self._records)

    def read(self) -> None:
        """Read up to the current end of committed records."""
        if not self._records:
            self._assign()
        self.read_to(self._ends(range(self.partitions), IsolationLevel.READ_COMMITTED))

    def read_all_of(self, partition: int) -> None:
        """Read a partition up to its high watermark; this waits for the end of open transactions."""
        self.read_to(self._ends([partition], IsolationLevel.READ_UNCOMMITTED))

    def read_to(self, ends: Mapping[int, int]) -> None:
        """Read until each partition has reached its end; Unavailable after the timeout."""
        deadline = self._monotonic() + self._timeout_s
        while any(self._positions.get(partition, 0) < end for partition, end in ends.items()):
            message = self._consumer.poll(0.1)
            for arrived in [message, *self._consumer.consume(1000, 0)] if message is not None else ():
                self._take(arrived)
            if self._monotonic() > deadline:
                raise Unavailable(f"{self._topic} could not be read to its end within {self._timeout_s:g} s")

    def on(self, partition: int, id_: str) -> Current:
        """Return the current record of an id on a partition."""
        return self._records[partition].get(id_)

    def all_on(self, partition: int) -> Iterable[Current]:
        """Return all records of a partition."""
        return self._records[partition].values()

    def find(self, id_: str) -> tuple[int, Current]:
        """Return partition and record of an id; the lowest partition wins. -1 and None if there is no record."""
        for partition, records in enumerate(self._records):
            if (current := records.get(id_)) is not None:
                return partition, current
        return -1, None

    def items(self) -> Iterator[tuple[str, Subscription | Unreadable]]:
        """Yield the winning record of each id, ordered by id."""
        merged: dict[str, Subscription | Unreadable] = {}
        for records in reversed(self._records):
            merged |= records
        return iter(sorted(merged.items()))

    def conflicts(self) -> dict[str, tuple[int, ...]]:
        """Return the ids with records on several partitions, of which the first one wins."""
        where: dict[str, tuple[int, ...]] = {}
        for partition, records in enumerate(self._records):
            for id_ in records:
                where[id_] = (*where.get(id_, ()), partition)
        return {id_: partitions for id_, partitions in where.items() if len(partitions) > 1}

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def _assign(self) -> None:
        try:
            found = self._admin.list_topics(self._topic, timeout=_RESPONSE_S).topics[self._topic]
        except KafkaException as error:
            raise Unavailable(f"no broker responds at {self._servers}: {error.args[0].str()}") from error
        if found.error is not None or not found.partitions:
            reason = found.error.name() if found.error is not None else "no partitions"
            raise Unavailable(f"the topic {self._topic} does not exist ({reason}); `signpost topics apply` creates it")
        numbers = sorted(found.partitions)
        # With OFFSET_BEGINNING the client looks up the offset itself, half a second later.
        begins = self._offsets(numbers, _EARLIEST, IsolationLevel.READ_UNCOMMITTED)
        self._records = [{} for _ in numbers]
        self._consumer.assign([TopicPartition(self._topic, number, offset) for number, offset in begins.items()])

    def _ends(self, partitions: Iterable[int], isolation: IsolationLevel) -> dict[int, int]:
        return self._offsets(partitions, _LATEST, isolation)

    def _offsets(self, partitions: Iterable[int], spec: OffsetSpec, isolation: IsolationLevel) -> dict[int, int]:
        requested = {TopicPartition(self._topic, partition): spec for partition in partitions}
        deadline = self._monotonic() + _RESPONSE_S
        while True:
            futures = self._admin.list_offsets(requested, isolation_level=isolation, request_timeout=_RESPONSE_S)
            try:
                return {one.partition: _offset_of(future.result()) for one, future in futures.items()}
            except KafkaException as error:
                # A partition that was just created, or is moving, has no leader for a moment.
                if self._monotonic() > deadline:
                    raise Unavailable(f"the offsets of {self._topic} could not be read: {_name_of(error)}") from error
            self._sleep(0.05)
            self._refresh_metadata()

    def _refresh_metadata(self) -> None:
        """Update the partition leaders. The client does not do this itself after failed ListOffsets requests."""
        with suppress(KafkaException):
            self._admin.list_topics(self._topic, timeout=_RESPONSE_S)

    def _take(self, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        error = message.error()
        if error is not None and error.code() == KafkaError._PARTITION_EOF:
            if partition is not None and offset is not None:
                self._positions[partition] = max(offset, self._positions.get(partition, 0))
            return
        if error is not None:
            if error.retriable() or error.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
                return  # the client reconnects until the timeout
            raise Unavailable(f"{self._topic} cannot be read: {error.name()}")
        if partition is None or offset is None:
            return
        self._positions[partition] = offset + 1
        id_ = (message.key() or b"").decode("utf-8", "backslashreplace")
        value = message.value()
        if value is None:
            self._records[partition].pop(id_, None)
        else:
            self._records[partition][id_] = _read(id_, value)


def _read(id_: str, value: bytes) -> Subscription | Unreadable:
    try:
        subscription = decode_subscription(value)
    except UnreadableRecord as error:
        return Unreadable(str(error))
    return subscription if subscription.id == id_ else Unreadable("the record's key is not the id in its value")


def _offset_of(result: Any) -> int:
    """Return an end offset. The client returns -1001 for a request that timed out."""
    offset = int(result.offset)
    if offset < 0:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
    return offset


def _name_of(error: KafkaException) -> str:
    cause = error.args[0] if error.args else None
    return cause.name() if isinstance(cause, KafkaError) else str(error)
