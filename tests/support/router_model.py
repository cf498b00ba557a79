"""A model of event topics and a consumer group around the real parts of the router.

The model has logs with begin and end, committed positions, records of sources and a generation. A process gets group
events and results of commits at its next poll.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, cast

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from consumers.kafka.positions import CommittedPositions, PartitionKey, PartitionOffsets
from consumers.kafka.source_positions import PositionsBySource, SourcesTopic
from consumers.kafka.truncation import Truncation
from consumers.router.commits import Commits
from consumers.router.output import Output
from consumers.router.source import Source
from consumers.router.source_positions import SourcePositionsRecorder
from consumers.router.source_recovery import Positions, StartAt
from schemas.records.source import SourcePositions
from tests.support.log_model import Log, LogConsumer, Record

MAX_UNCOMMITTED = 6


def first_since(log: Log, at_ms: int) -> int:
    """Return the offset of the first record that is not older, or -1."""
    return next((at for at, appended in log.records.items() if at >= log.begin and appended >= at_ms), -1)


@dataclass
class Broker:
    """State that outlives every process."""

    now_s: float = 1_000.0
    away: bool = False  # does not respond; accepted commits stay
    logs: dict[PartitionKey, Log] = field(default_factory=dict)
    generation: int = 0
    owners: dict[PartitionKey, RouterProcess] = field(default_factory=dict)
    committed: Positions = field(default_factory=dict)
    sources: PositionsBySource = field(default_factory=dict)
    routed: set[tuple[PartitionKey, int]] = field(default_factory=set)  # events whose jobs the broker has
    reported: set[tuple[PartitionKey, int]] = field(default_factory=set)  # reported as truncated

    @property
    def now_ms(self) -> int:
        return int(self.now_s * 1_000)

    def keys(self, topics: Iterable[str]) -> list[PartitionKey]:
        wanted = set(topics)
        return sorted(key for key in self.logs if key[0] in wanted)

    def found(self, keys: Sequence[PartitionKey]) -> dict[PartitionKey, PartitionOffsets]:
        self._check_available()
        return {
            key: PartitionOffsets(self.committed.get(key), "", self.logs[key].begin, self.logs[key].end) for key in keys
        }

    def commit(self, positions: Positions, generation: int, owned: Iterable[PartitionKey]) -> bool:
        """Accept positions of the current generation only; new positions may be of partitions that others own."""
        if generation != self.generation:
            return False
        assert not (positions.keys() & self.committed.keys()) - set(owned), "a position of another member's partition"
        self.committed |= positions
        return True

    def begins(self, key: PartitionKey, at: int, *, first: bool) -> None:
        """Check the position at which a process starts to read; `first`: it owns partition 0.

        Positions are found, never guessed, and ranges that retention truncated were reported before.
        """
        committed = self.committed.get(key)
        begin = self.logs[key].begin
        source = self.sources.get(key[0])
        assert source is not None or not first, "read before it was recorded"
        assert at <= self.logs[key].end, "of another log"
        if committed is None:
            assert source is None or key[1] not in source.positions, "a lost position was guessed"
            assert at <= begin, "a partition added later is read from its beginning"
            self.reported |= {(key, one) for one in range(at)}  # wherever its log begins by then
        else:
            assert committed <= at <= max(committed, begin), "it continues at the committed position"
            assert all((key, one) in self.reported for one in range(committed, at))

    def lost(self) -> set[PartitionKey]:
        """Return recorded partitions without a position; all of a source if none of its partitions has one."""
        lost: set[PartitionKey] = set()
        for topic, source in self.sources.items():
            assert source is not None
            without = {key for key in self.keys([topic]) if key not in self.committed}
            all_ = len(without) == len(self.keys([topic]))
            lost |= without if all_ else {key for key in without if key[1] in source.positions}
        return lost

    def beyond(self) -> set[PartitionKey]:
        """Return the partitions with positions beyond the end of their log."""
        return {key for key, at in self.committed.items() if at > self.logs[key].end}

    # Methods of `SourcesTopic`, `CommittedPositions` and `AdminClient`:

    def read(self) -> PositionsBySource:
        self._check_available()
        return dict(self.sources)

    def write(self, sources: Iterable[SourcePositions]) -> None:
        self._check_available()
        self.sources |= {source.topic: source for source in sources}

    def fetch(self, keys: Sequence[PartitionKey]) -> dict[PartitionKey, PartitionOffsets]:
        return self.found(keys)

    def fetch_topics(self, topics: Iterable[str]) -> dict[PartitionKey, PartitionOffsets]:
        return self.found(self.keys(topics))

    def describe_topics(self, asked: Any, **_: object) -> dict[str, Future[Any]]:
        return {topic: self._future_of(_Described(self.keys([topic]))) for topic in asked.topic_names}

    def list_offsets(self, asked: dict[TopicPartition, Any], **_: object) -> dict[TopicPartition, Future[Any]]:
        return {place: self._future_of(_Offset(self._offset(place, spec))) for place, spec in asked.items()}

    def _offset(self, place: TopicPartition, spec: Any) -> int:
        log = self.logs[place.topic, place.partition]
        if hasattr(spec, "timestamp"):
            return first_since(log, spec.timestamp)
        return log.begin if "Earliest" in type(spec).__name__ else log.end

    def _future_of(self, result: object) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            self._check_available()
            future.set_result(result)
        except KafkaException as error:
            future.set_exception(error)
        return future

    def _check_available(self) -> None:
        if self.away:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))


@dataclass
class _Described:
    partitions: list[PartitionKey]


@dataclass
class _Offset:
    offset: int


class GroupConsumer(LogConsumer):
    """The consumer methods that `Source` calls; `inbox` has callbacks for the next poll."""

    def __init__(self, config: dict[str, Any], **_: object) -> None:
        self.broker: Broker = config["broker"]
        super().__init__(self.broker.logs)
        self.on_commit: Callable[[KafkaError | None, list[TopicPartition]], None] = config["on_commit"]
        self.generation = -1
        self.owned: Sequence[PartitionKey] = ()
        self.inbox: deque[Callable[[], None]] = deque()
        self.sent: deque[tuple[Positions, int]] = deque()  # commits that have not reached the broker

    def assigned(self, generation: int, keys: Sequence[PartitionKey]) -> None:
        """Start a new generation; the process gets its assignment at its next poll."""

        def assign() -> None:
            self.generation, self.owned = generation, keys
            self.callbacks["on_assign"](self, [TopicPartition(*key) for key in keys])

        self.inbox.append(assign)

    def gone(self, how: str) -> None:
        """Take all partitions: with `on_revoke` they can still be committed, with `on_lost` others own them."""
        self.inbox.clear()
        self.callbacks[how](self, [])
        self.position = {}

    def poll(self, seconds: float) -> Record | None:
        while self.inbox:
            self.inbox.popleft()()
        return super().poll(seconds)

    def assign(self, places: Iterable[TopicPartition]) -> None:
        super().assign(places)
        for key, at in self.position.items():
            self.broker.begins(key, at, first=(key[0], 0) in self.position)

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        positions = {(place.topic, place.partition): place.offset for place in offsets}
        self.sent.append((positions, self.generation))
        if not asynchronous:
            while len(self.sent) > 1:
                self.arrive()
            if not self.broker.commit(*self.sent.popleft(), self.owned):
                raise KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION))
        return offsets

    def arrive(self) -> None:
        """Let the oldest sent commit reach the broker, and queue its result for the process."""
        positions, generation = self.sent.popleft()
        accepted = self.broker.commit(positions, generation, self.owned)
        error = None if accepted else KafkaError(KafkaError.ILLEGAL_GENERATION)
        self.inbox.append(lambda: self.on_commit(error, [TopicPartition(*key, at) for key, at in positions.items()]))


class RouterProcess:
    """A router process: its loop with the real parts; each event makes one record."""

    def __init__(self, broker: Broker, start_at: StartAt) -> None:
        self.broker = broker
        self.source = Source(
            {"group.id": "g", "broker": broker},
            cast("AdminClient", broker),
            cast("CommittedPositions", broker),
            SourcePositionsRecorder(
                cast("SourcesTopic", broker), cast("CommittedPositions", broker), lambda: broker.now_ms
            ),
            start_at,
            on_error=lambda _error: None,
            on_truncated=self._on_truncated,
            now_s=lambda: broker.now_s,
        )
        self.consumer = cast("GroupConsumer", self.source._consumer)
        self.commits = Commits(
            cast("Output", self),
            self.source,
            MAX_UNCOMMITTED,
            now_s=lambda: broker.now_s,
            on_commit=lambda _seconds: None,
        )
        self.failure: str | None = None
        self.arrived: deque[Record] = deque()
        self.unflushed: list[tuple[PartitionKey, int]] = []
        self.source.subscribe(["events"], self._leave)

    def _on_truncated(self, lost: Truncation) -> None:
        self.broker.reported |= {((lost.topic, lost.partition), at) for at in range(lost.lost_from, lost.begin)}

    def flush(self, _seconds: float) -> bool:
        """Let all records reach the broker."""
        self.broker.routed.update(self.unflushed)
        self.unflushed.clear()
        return True

    def turn(self, events: int) -> None:
        """Commit what is due, read, and route up to `events` events."""
        self.commits.poll(self.broker.now_s)
        if self.source.misplaced and not self.arrived and not self.commits.pending:
            self.source.recover_positions()
        self.arrived.extend(cast("list[Record]", self.source.read(0.0, 3)))
        for _ in range(min(events, len(self.arrived))):
            if self.commits.flushing or not self.commits.has_room(1):
                self.commits.make_room()
                return
            record = self.arrived.popleft()
            self.unflushed.append((record.key, record.at))
            self.commits.sent(record.key, record.at + 1, 1, 1)

    def _leave(self, may_commit: bool) -> None:
        self.arrived.clear()
        self.commits.leave(may_commit)
