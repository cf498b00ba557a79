"""A log and its consumer, as a model of Kafka's client: pause, seek, resume, batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from confluent_kafka import KafkaError, TopicPartition

from consumers.kafka.positions import PartitionKey

T = TypeVar("T")


def at_once(_name: str, call: Callable[..., T], *args: Any, **kwargs: Any) -> Future[T]:
    """Do what `in_thread` does, without a thread: the model decides when a result is collected."""
    future: Future[T] = Future()
    try:
        future.set_result(call(*args, **kwargs))
    except BaseException as error:
        future.set_exception(error)
    return future


@dataclass
class Log:
    """Append times of records by offset. The gaps are markers, which no consumer returns.

    `begin` is the first offset that retention has not deleted.
    """

    records: dict[int, int] = field(default_factory=dict)
    begin: int = 0
    end: int = 0

    def append(self, gap: int, at_ms: int) -> None:
        """Append a record after `gap` markers."""
        self.end += gap
        self.records[self.end] = at_ms
        self.end += 1


@dataclass(frozen=True)
class Record:
    """A message as the client returns it."""

    key: PartitionKey
    at: int
    appended_ms: int = 0
    failure: KafkaError | None = None

    def topic(self) -> str:
        return self.key[0]

    def partition(self) -> int:
        return self.key[1]

    def offset(self) -> int:
        return self.at

    def timestamp(self) -> tuple[int, int]:
        return (2, self.appended_ms)

    def error(self) -> KafkaError | None:
        return self.failure


class LogConsumer:
    """Returns records of the partitions that are assigned and not paused, from their positions.

    A returned record is returned again only after a seek, even if its partition was paused meanwhile. A pause survives
    an assignment. A position outside of the log is one error, and nothing is read there.
    """

    def __init__(self, logs: dict[PartitionKey, Log]) -> None:
        self.logs = logs
        self.position: dict[PartitionKey, int] = {}
        self.paused: set[PartitionKey] = set()
        self.outside: set[PartitionKey] = set()
        self.callbacks: dict[str, Callable[..., None]] = {}

    def subscribe(self, _topics: list[str], **callbacks: Callable[..., None]) -> None:
        self.callbacks = callbacks

    def consumer_group_metadata(self) -> object:
        return object()

    def assign(self, places: Iterable[TopicPartition]) -> None:
        self.position = {(place.topic, place.partition): place.offset for place in places}
        self.outside.clear()

    def pause(self, places: Iterable[TopicPartition]) -> None:
        self.paused |= {(place.topic, place.partition) for place in places}

    def resume(self, places: Iterable[TopicPartition]) -> None:
        self.paused -= {(place.topic, place.partition) for place in places}

    def seek(self, place: TopicPartition) -> None:
        assert (place.topic, place.partition) in self.position, "a partition that is not assigned"
        self.position[place.topic, place.partition] = place.offset

    def poll(self, _seconds: float) -> Record | None:
        return next(iter(self.consume(1, 0)), None)

    def consume(self, count: int, _seconds: float) -> list[Record]:
        found: list[Record] = []
        for key in [key for key in self.position if key not in self.paused | self.outside]:
            if len(found) >= count:
                break
            log, position = self.logs[key], self.position[key]
            if not log.begin <= position <= log.end:
                self.outside.add(key)
                found.append(Record(key, position, failure=KafkaError(KafkaError.OFFSET_OUT_OF_RANGE)))
                continue
            here = [at for at in log.records if at >= position][: count - len(found)]
            found += [Record(key, at, log.records[at]) for at in here]
            if here:
                self.position[key] = here[-1] + 1
        return found
