"""A log and the consumer that reads it, as a model: what Kafka's client promises of pause, seek, resume and batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from confluent_kafka import KafkaError, TopicPartition

from consumers.kafka.positions import PartitionKey

T = TypeVar("T")


def at_once(_name: str, call: Callable[..., T], *args: Any, **kwargs: Any) -> Future[T]:
    """What `in_thread` does, without a thread: a model says itself when an answer is heard of."""
    future: Future[T] = Future()
    try:
        future.set_result(call(*args, **kwargs))
    except BaseException as error:
        future.set_exception(error)
    return future


@dataclass
class Log:
    """Records by offset, with when they were appended; between them are markers, which no consumer sees.

    `begin` is behind what retention has deleted; the model remembers it.
    """

    records: dict[int, int] = field(default_factory=dict)
    begin: int = 0
    end: int = 0

    def append(self, gap: int, at_ms: int) -> None:
        """Append a record behind so many markers."""
        self.end += gap
        self.records[self.end] = at_ms
        self.end += 1


@dataclass(frozen=True)
class Record:
    """A message as the client hands it out."""

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
    """Hands out what is at the position of each partition that is assigned and not paused, in turns.

    What a call has handed out is behind the position, whoever is paused meanwhile: only a seek brings it back. A pause
    outlives an assignment. A position outside of its log is an error, once, and nothing is read there.
    """

    def __init__(self, logs: dict[PartitionKey, Log]) -> None:
        self.logs = logs
        self.position: dict[PartitionKey, int] = {}
        self.paused: set[PartitionKey] = set()
        self.outside: set[PartitionKey] = set()
        self.hears: dict[str, Callable[..., None]] = {}

    def subscribe(self, _topics: list[str], **hears: Callable[..., None]) -> None:
        self.hears = hears

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
        assert (place.topic, place.partition) in self.position, "of another's partition"
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
