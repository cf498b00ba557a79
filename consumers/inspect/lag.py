"""Lag of sources and delay topics: waiting records, their age, and the members of the consumer group.

Offsets alone overstate lag: the end of a log may be transaction markers that no consumer gets, and delivery may have
finished jobs after its position. So records after the position are read and counted, up to a bound. For the rest only
the number of offsets is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message
from confluent_kafka.admin import AdminClient

from consumers.delivery.partitions.progress import Position, Progress
from consumers.inspect.scan import Scanner, time_of
from consumers.kafka.admin import TIMEOUT_S, result
from consumers.kafka.positions import PartitionKey, PartitionOffsets
from consumers.kafka.topic_reader import Range, place_of
from schemas.catalog.errors import Unavailable, UnreadableRecord
from schemas.records.delivery import JobCodec

# About a second of reading.
BUDGET: Final = 500_000
_JOBS: Final = JobCodec()


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """Waiting records of one partition; the fields are those of TopicLag."""

    partition: int
    waiting: int | None
    exact: bool
    oldest_due_ms: int | None


@dataclass(frozen=True, slots=True)
class TopicLag:
    """Waiting records of one topic, and of `each` of its partitions.

    `waiting` is None if the group has no position, and an upper bound unless `exact`. `oldest_due_ms` is None if no
    record waits; for a source it is the time of the oldest record, for a delay topic the due time of the oldest job.
    """

    topic: str
    waiting: int | None
    exact: bool
    oldest_due_ms: int | None
    partitions: int
    without_position: int
    each: tuple[PartitionLag, ...]


@dataclass(frozen=True, slots=True)
class WaitingCount:
    """Waiting records of one partition: an upper bound unless `exact`."""

    records: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Member:
    """One process of a group: its `instance` (empty if it is not a static member) and its partitions by topic."""

    instance: str
    host: str
    client: str
    partitions: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group: its state, its members, and the partitions without an owner."""

    name: str
    state: str
    members: tuple[Member, ...]
    unowned: Mapping[str, tuple[int, ...]]


@dataclass(slots=True)
class _Count:
    """Counted records of one partition."""

    progress: Progress
    read: int  # the next offset to read
    end: int
    waiting: int = 0
    first: Message | None = None

    def take(self, message: Message, offset: int) -> None:
        if self.progress.read(offset):
            self.waiting += 1
            self.first = self.first or message


def source_due_ms(message: Message) -> int:
    """Return the time of an event."""
    return time_of(message)


def delay_topic_due_ms(message: Message, wait_ms: int) -> int:
    """Return when a job is due: after the wait of its delay topic, and not before its own due time."""
    waited_ms = time_of(message) + wait_ms
    try:
        return max(waited_ms, _JOBS.decode(message.value()).due_at_ms)
    except UnreadableRecord:
        return waited_ms


def lag(
    scanner: Scanner, group: str, due_ms: Mapping[str, Callable[[Message], int]], *, new_at_beginning: bool
) -> list[TopicLag]:
    """Return the lag of those topics that exist; `due_ms`: topic to the due time of its records.

    `new_at_beginning`: a partition without a position is read from its beginning.
    """
    ranges = {(r.topic, r.partition): r for r in scanner.ranges_of(due_ms)}
    committed = scanner.committed(group, list(ranges))
    begun = new_at_beginning and any(found.offset is not None for found in committed.values())
    counts = {key: _count(ranges[key], found) for key, found in committed.items() if begun or found.offset is not None}
    _read(scanner, counts)
    topics = dict.fromkeys(topic for topic, _ in ranges)
    return [_sum(topic, [k for k in ranges if k[0] == topic], counts, due_ms[topic]) for topic in topics]


def waiting_records(
    scanner: Scanner, positions: Mapping[PartitionKey, PartitionOffsets]
) -> dict[PartitionKey, WaitingCount]:
    """Return what waits in each partition that has a position. It reads the waiting records, up to a bound."""
    known = {key: found for key, found in positions.items() if found.offset is not None}
    counts = {log.key: _count(log, known[log.key]) for log in scanner.ranges(known)}
    _read(scanner, counts)
    rest = {key: max(0, count.end - count.read) for key, count in counts.items()}
    return {key: WaitingCount(count.waiting + rest[key], exact=rest[key] == 0) for key, count in counts.items()}


def group_of(admin: AdminClient, name: str, partitions: Sequence[PartitionKey]) -> Group:
    """Return the members of a group, and which of these partitions have no owner."""
    described = _describe(admin, name)
    found = [_member(name, one) for one in (described.members if described else ())]
    members = tuple(sorted(found, key=lambda member: (member.instance, member.host)))
    owned = {(topic, n) for member in members for topic, numbers in member.partitions.items() for n in numbers}
    unowned: dict[str, tuple[int, ...]] = {}
    for topic, number in partitions:
        if (topic, number) not in owned:
            unowned[topic] = (*unowned.get(topic, ()), number)
    state = described.state.name.lower() if described else "unknown to the brokers"
    return Group(name, state, members, unowned)


def spans(numbers: Iterable[int]) -> str:
    """Format numbers as spans: `0-3,7`."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


def _read(scanner: Scanner, counts: Mapping[PartitionKey, _Count]) -> None:
    """Read and count the records that wait, up to a bound in each partition."""
    behind = [key for key, count in counts.items() if count.read < count.end]
    per_partition = max(1_000, BUDGET // max(1, len(behind)))
    parts = [Range(*key, counts[key].read, min(counts[key].end, counts[key].read + per_partition)) for key in behind]
    for batch in scanner.read(parts):
        for message in batch:
            topic, partition, offset = place_of(message)
            counts[topic, partition].take(message, offset)
    for part in parts:
        counts[part.topic, part.partition].read = part.end


def _count(log_range: Range, found: PartitionOffsets) -> _Count:
    offset = log_range.begin if found.offset is None else found.offset
    progress = Progress(Position(offset, found.metadata), log_begin=found.begin, log_end=found.end)
    return _Count(progress, max(log_range.begin, offset), log_range.end)


def _sum(
    topic: str,
    keys: Sequence[PartitionKey],
    counts: Mapping[PartitionKey, _Count],
    due_ms: Callable[[Message], int],
) -> TopicLag:
    each = tuple(_of_partition(key[1], counts.get(key), due_ms) for key in keys)
    waiting = [one.waiting for one in each if one.waiting is not None]
    return TopicLag(
        topic=topic,
        waiting=sum(waiting) if waiting else None,
        exact=all(one.exact for one in each),
        oldest_due_ms=min((one.oldest_due_ms for one in each if one.oldest_due_ms is not None), default=None),
        partitions=len(keys),
        without_position=len(each) - len(waiting),
        each=each,
    )


def _of_partition(number: int, count: _Count | None, due_ms: Callable[[Message], int]) -> PartitionLag:
    if count is None:
        return PartitionLag(number, None, exact=True, oldest_due_ms=None)
    rest = max(0, count.end - count.read)
    oldest_due_ms = None if count.first is None else due_ms(count.first)
    return PartitionLag(number, count.waiting + rest, exact=rest == 0, oldest_due_ms=oldest_due_ms)


def _describe(admin: AdminClient, name: str) -> Any:
    future = admin.describe_consumer_groups([name], request_timeout=TIMEOUT_S)[name]
    try:
        return result(future, f"the members of the group {name} are unknown")
    except Unavailable as error:
        cause = error.__cause__
        if isinstance(cause, KafkaException) and cause.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
            return None
        raise


def _member(group: str, member: Any) -> Member:
    partitions: dict[str, tuple[int, ...]] = {}
    assignment = member.assignment.topic_partitions if member.assignment is not None else ()
    for one in sorted(assignment, key=lambda p: (p.topic, p.partition)):
        partitions[one.topic] = (*partitions.get(one.topic, ()), one.partition)
    # A static member's id is the group's name, a separator, and the instance.
    instance = (member.group_instance_id or "").removeprefix(group)[1:]
    return Member(instance, member.host.removeprefix("/"), member.client_id, partitions)
