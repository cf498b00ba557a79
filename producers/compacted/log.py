"""Reader of a compacted topic for its writers: blocking calls that read up to a requested end offset.

consumers/kafka/topic_reader.py does the same for consumers, but producers do not import consumers. This reader keeps
its Kafka consumer, so that each call continues where the last one ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar

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

from schemas.catalog.errors import NoResponse, Unavailable, UnreadableRecord
from schemas.settings.kafka_properties import whole_topic_config

_EARLIEST: Final = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # the library leaves it without types
_LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # as above
_RESPONSE_S: Final = 5.0
# The client has been seen to lose requests to a broker that was stopped for longer than their timeout: they never end.
_LOST_S: Final = 2 * _RESPONSE_S
_BATCH: Final = 1_000
_RECEIVES_S: Final = 2.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An unreadable record. It can only be overwritten or deleted."""

    reason: str


Read: TypeAlias = Callable[[str, bytes], T]
"""(key, value) to the record; UnreadableRecord if it is invalid."""


class CompactedLog(Generic[T]):
    """All records of a compacted topic up to the read positions; `timeout_s` is the timeout of each call.

    `fetch_wait_ms` is how long the broker may hold a fetch without a new record.
    """

    def __init__(
        self,
        kafka: Mapping[str, str],
        topic: str,
        read: Read[T],
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
        timeout_s: float,
        fetch_wait_ms: int = 10,
    ) -> None:
        self.topic = topic
        self._read = read
        self._monotonic = monotonic
        self._sleep = sleep
        self._timeout_s = timeout_s
        logger = logging.getLogger("signpost.kafka")
        tuning: dict[str, str | int] = {"fetch.wait.max.ms": fetch_wait_ms}
        self._consumer = Consumer(whole_topic_config(kafka, f"{topic}.read", tuning=tuning), logger=logger)
        self._admin = AdminClient(dict(kafka), logger=logger)
        self._servers = kafka.get("bootstrap.servers", "")
        self._records: list[dict[str, T | Unreadable]] = []
        self._positions: dict[int, int] = {}
        self._received_s: float | None = None

    @property
    def receives(self) -> bool:
        """Whether records arrived within the last seconds: the brokers respond, even if the log is behind."""
        return self._received_s is not None and self._monotonic() - self._received_s <= _RECEIVES_S

    @property
    def partitions(self) -> int:
        """Number of partitions; 0 before the first reading."""
        return len(self._records)

    def read(self) -> None:
        """Read up to the current end of committed records."""
        if not self._records:
            self._assign()
        self.read_to(self.ends())

    def ends(self) -> dict[int, int]:
        """Return the current end of committed records of each partition; Unavailable. Any thread may call it."""
        return self._ends(range(self.partitions), IsolationLevel.READ_COMMITTED)

    def high_watermark(self, partition: int) -> int:
        """Return the end of a partition, behind open transactions; Unavailable. Any thread may call it."""
        return self._ends([partition], IsolationLevel.READ_UNCOMMITTED)[partition]

    def has_read(self, partition: int, end: int) -> bool:
        """Return whether a partition has been read up to this offset."""
        return self._positions.get(partition, 0) >= end

    def read_to(self, ends: Mapping[int, int]) -> None:
        """Read until each partition has reached its end; Unavailable after the timeout."""
        deadline = self._monotonic() + self._timeout_s
        while not all(self.has_read(partition, end) for partition, end in ends.items()):
            message = self._consumer.poll(0.1)
            if message is not None:
                self._take_all([message, *self._consumer.consume(_BATCH, 0)])
            if self._monotonic() > deadline:
                raise NoResponse(f"{self.topic} could not be read to its end within {self._timeout_s:g} s")

    def follow(self, wait_s: float) -> None:
        """Wait at most `wait_s` for new records, and read those that have arrived. `read` has to be called first."""
        message = self._consumer.poll(wait_s)
        if message is not None:
            self._take_all([message, *self._consumer.consume(_BATCH, 0)])

    def on(self, partition: int, id_: str) -> T | Unreadable | None:
        """Return the current record of an id on a partition."""
        return self._records[partition].get(id_)

    def all_on(self, partition: int) -> Iterable[T | Unreadable]:
        """Return all records of a partition."""
        return self._records[partition].values()

    def find(self, id_: str) -> tuple[int, T | Unreadable | None]:
        """Return partition and record of an id; the lowest partition wins. -1 and None if there is no record."""
        for partition, records in enumerate(self._records):
            if (current := records.get(id_)) is not None:
                return partition, current
        return -1, None

    def items(self) -> Iterator[tuple[str, T | Unreadable]]:
        """Yield the winning record of each id, ordered by id."""
        merged: dict[str, T | Unreadable] = {}
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
            found = self._admin.list_topics(self.topic, timeout=_RESPONSE_S).topics[self.topic]
        except KafkaException as error:
            raise Unavailable(f"no broker responds at {self._servers}: {error.args[0].str()}") from error
        if found.error is not None or not found.partitions:
            reason = found.error.name() if found.error is not None else "no partitions"
            raise Unavailable(f"the topic {self.topic} does not exist ({reason}); `signpost topics apply` creates it")
        numbers = sorted(found.partitions)
        # With OFFSET_BEGINNING the client looks up the offset itself, half a second later.
        begins = self._offsets(numbers, _EARLIEST, IsolationLevel.READ_UNCOMMITTED)
        self._records = [{} for _ in numbers]
        self._consumer.assign([TopicPartition(self.topic, number, offset) for number, offset in begins.items()])

    def _ends(self, partitions: Iterable[int], isolation: IsolationLevel) -> dict[int, int]:
        return self._offsets(partitions, _LATEST, isolation)

    def _offsets(self, partitions: Iterable[int], spec: OffsetSpec, isolation: IsolationLevel) -> dict[int, int]:
        requested = {TopicPartition(self.topic, partition): spec for partition in partitions}
        deadline = self._monotonic() + _RESPONSE_S
        while True:
            futures = self._admin.list_offsets(requested, isolation_level=isolation, request_timeout=_RESPONSE_S)
            try:
                return {one.partition: _offset_of(future.result(_LOST_S)) for one, future in futures.items()}
            except TimeoutError as error:
                raise NoResponse(f"the offsets of {self.topic} could not be read: no response") from error
            except KafkaException as error:
                # A partition that was just created, or is moving, has no leader for a moment.
                if self._monotonic() > deadline:
                    raise NoResponse(f"the offsets of {self.topic} could not be read: {_name_of(error)}") from error
            self._sleep(0.05)
            self._refresh_metadata()

    def _refresh_metadata(self) -> None:
        """Update the partition leaders. The client does not do this itself after failed ListOffsets requests."""
        with suppress(KafkaException):
            self._admin.list_topics(self.topic, timeout=_RESPONSE_S)

    def _take_all(self, messages: Iterable[Message]) -> None:
        failed: Unavailable | None = None
        for message in messages:
            try:
                self._take(message)
            except Unavailable as error:  # the positions pass this message: those behind it have to be taken now
                failed = error
        if failed is not None:
            raise failed

    def _take(self, message: Message) -> None:
        partition, offset = message.partition(), message.offset()
        error = message.error()
        if error is None or error.code() == KafkaError._PARTITION_EOF:
            self._received_s = self._monotonic()
        if error is not None and error.code() == KafkaError._PARTITION_EOF:
            if partition is not None and offset is not None:
                self._positions[partition] = max(offset, self._positions.get(partition, 0))
            return
        if error is not None:
            if error.retriable() or error.code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
                return  # the client reconnects until the timeout
            raise Unavailable(f"{self.topic} cannot be read: {error.name()}")
        if partition is None or offset is None:
            return
        self._positions[partition] = offset + 1
        id_ = (message.key() or b"").decode("utf-8", "backslashreplace")
        value = message.value()
        self._set(partition, id_, None if value is None else self._readable(id_, value))

    def _set(self, partition: int, id_: str, record: T | Unreadable | None) -> None:
        """Set the current record of an id; None: it is deleted."""
        if record is None:
            self._records[partition].pop(id_, None)
        else:
            self._records[partition][id_] = record

    def _readable(self, id_: str, value: bytes) -> T | Unreadable:
        try:
            return self._read(id_, value)
        except UnreadableRecord as error:
            return Unreadable(str(error))


def _offset_of(result: Any) -> int:
    """Return an end offset. The client returns -1001 for a request that timed out."""
    offset = int(result.offset)
    if offset < 0:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
    return offset


def _name_of(error: KafkaException) -> str:
    cause = error.args[0] if error.args else None
    return cause.name() if isinstance(cause, KafkaError) else str(error)
