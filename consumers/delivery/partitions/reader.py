"""Reads the delay topics: recovers partitions, returns due records, pauses partitions whose head is not due.

Rebalance callbacks do not block, except that revocation waits for a commit. `on_assign` assigns nothing: the loop
assigns the partitions when their committed positions are known.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Final, NamedTuple

import structlog
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from consumers.delivery.partitions.assignment import Assignment
from consumers.delivery.partitions.committer import Committer
from consumers.delivery.partitions.outbox import Outbox
from consumers.delivery.partitions.partition_state import Ownership, PartitionState
from consumers.delivery.partitions.progress import MAX_BATCH
from consumers.delivery.partitions.recovery import PartitionRecovery, RecoveredState
from consumers.kafka.admin import CLIENT_ERRORS, reason_of
from consumers.kafka.positions import PartitionKey, PositionsQuery, failed_for_good, is_lost_broker, refuse_hopeless
from consumers.kafka.threads import in_thread
from consumers.kafka.truncation import Truncation
from schemas.catalog.errors import Unavailable
from schemas.records.health import Health

_log = structlog.get_logger("delivery")
_CLOSE_S: Final = 2.0
_TRUNCATED: Final = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})


class ReadRecord(NamedTuple):
    """A record that is due and unfinished, and its partition."""

    partition: PartitionState
    message: Message


@dataclass(frozen=True, slots=True)
class Recovered:
    """The result of a recovery; the caller acts on it.

    `kept` are the partition numbers whose state in memory is still valid. `health` holds, for each number that starts
    from its committed position, the health of its endpoints by subscription id. `truncated` names records that
    retention deleted before they were read.
    """

    kept: frozenset[int]
    health: Mapping[int, Mapping[str, Health]]
    truncated: tuple[tuple[PartitionState, Truncation], ...]


class Reader:
    """The consumer of all delay topics. `clock` is Unix time in ms."""

    def __init__(
        self,
        *,
        consumer: Consumer,
        recovery: PartitionRecovery,
        assignment: Assignment,
        outbox: Outbox,
        committer: Committer,
        clock: Callable[[], int],
    ) -> None:
        self._consumer = consumer
        self._recovery = recovery
        self._assignment = assignment
        self._outbox = outbox
        self._committer = committer
        self._clock = clock
        self._pattern = ""
        self._resubscribes = False  # partitions that should be ours are not assigned
        self._missing: list[PartitionKey] = []  # those partitions, at the last check
        self._assigned_nothing = False  # `recover` has not returned an empty assignment yet
        self._assigned: list[PartitionKey] = []
        self._query: PositionsQuery[RecoveredState] | None = None
        self._waking: list[tuple[int, int, PartitionState]] = []
        self._number = 0
        self._full: list[PartitionState] = []
        self.group_metadata: object = None
        self.lost = False  # the session ended, and no partitions have been assigned since

    @property
    def partitions(self) -> dict[PartitionKey, PartitionState]:
        """The partitions that are ours."""
        return self._assignment.partitions

    @property
    def owns(self) -> bool:
        """Whether this process owns partitions."""
        return bool(self._assignment.partitions)

    @property
    def recovering(self) -> bool:
        """Whether a query for committed positions is under way."""
        return self._query is not None

    @property
    def awaited_s(self) -> float:
        """How long the query for committed positions has taken so far; 0: none is under way."""
        return 0.0 if self._query is None else self._query.awaited_s(time.monotonic())

    @property
    def next_wake_ms(self) -> int | None:
        """When the head of the next paused partition is due."""
        return self._waking[0][0] if self._waking else None

    def subscribe(self, pattern: str) -> None:
        """Join the group for all topics that match the pattern."""
        self._pattern = pattern
        self._consumer.subscribe([pattern], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def recover(self) -> Recovered | None:
        """Continue the recovery of assigned partitions. Return its result once it is complete, else None."""
        if self._resubscribes:
            self._resubscribe()
            return None
        if self._assigned_nothing:
            self._assigned_nothing = False
            return self._install(RecoveredState({}, {}))
        if self._query is None:
            return None
        state = self._query.poll(time.monotonic())
        if state is None:
            return None
        self._query = None
        recovered = self._install(state)
        self._find_missing()  # the recovery has listed the topics that exist
        return recovered

    def _install(self, state: RecoveredState) -> Recovered:
        change = self._assignment.take(state.positions)
        self._outbox.prune()  # else completions of lost partitions would count as uncommitted
        for truncated in change.truncated:
            _log.error(
                "partition.truncated",
                topic=truncated.topic,
                partition=truncated.partition,
                lost_from=truncated.lost_from,
                lost_to=truncated.begin - 1,
                count=truncated.count,
            )
        for partition in change.partitions:
            if state.positions[partition.topic, partition.number].offset is None:
                self._outbox.touch(partition)  # without a position, later truncation would go unnoticed
        self._waking, self._full = [], []
        places = [_place(partition, partition.progress.next_offset) for partition in change.partitions]
        if places:
            self._consumer.assign(places)
            self._consumer.resume(places)  # a pause survives a revocation
        numbers = {partition.number for partition in change.partitions}
        _log.info("partitions.assigned", partitions=len(places), numbers=sorted(numbers))
        return Recovered(
            kept=frozenset(numbers - change.restarted),
            health={number: state.health[number] for number in change.restarted},
            truncated=tuple((self.partitions[one.topic, one.partition], one) for one in change.truncated),
        )

    def _find_missing(self) -> None:
        missing = self._assignment.missing(self._assigned, self._recovery.topics)
        if missing and missing != self._missing:  # once: another process, of an older version, may not know the topic
            self._resubscribes = True
            _log.warning("partitions.unassigned", partitions=[f"{topic}-{number}" for topic, number in missing])
        self._missing = missing

    def _resubscribe(self) -> None:
        """Leave and join the group, so that the coordinator assigns the partitions of new topics as well.

        A static member that returns with more topics gets its former partitions without a rebalance (KAFKA-12759). Then
        no process would read a delay topic that was created while all processes restarted.
        """
        self._resubscribes = False
        self._consumer.unsubscribe()
        self.subscribe(self._pattern)

    def wake(self, now_ms: int) -> None:
        """Resume partitions whose head is due, and full ones that have room again."""
        waking: list[PartitionState] = []
        while self._waking and self._waking[0][0] <= now_ms:
            partition = heapq.heappop(self._waking)[2]
            if partition.is_head_due(now_ms):
                partition.resumed(now_ms)
                waking.append(partition)
        if self._full:
            with_room = [partition for partition in self._full if partition.has_room_again()]
            for partition in with_room:
                self._full.remove(partition)
                partition.paused_full = False
            waking += with_room
        places = [
            _place(partition) for partition in waking if partition.ownership is Ownership.OURS and not partition.paused
        ]
        if places:
            self._consumer.resume(places)

    def read(self, timeout_s: float, limit: int) -> list[ReadRecord]:
        """Return up to `limit` due records (at most 256). Wait up to `timeout_s` for the first one."""
        messages = self._poll(timeout_s, limit)
        now_ms = self._clock()
        partitions = self._assignment.partitions
        records: list[ReadRecord] = []
        for message in messages:
            if message.error() is not None:
                self._on_error(message.error(), message)
                if partitions is not self._assignment.partitions:
                    break  # the partitions are being recovered
                continue
            partition = partitions.get((message.topic(), message.partition()))  # type: ignore[arg-type]  # a consumed message has both
            if partition is not None and not partition.paused and self._is_to_deliver(partition, message, now_ms):
                records.append(ReadRecord(partition, message))
        return records

    def ignore(self, timeout_s: float) -> None:
        """Poll to stay in the group, without returning records."""
        for message in self._poll(timeout_s, 1):
            if message.error() is not None:
                self._on_error(message.error(), message)

    def close(self) -> None:
        """Leave the group. A static member stays in it, because it will return.

        An unresponsive coordinator can block this for minutes, so the process waits for two seconds only.
        """
        wait([in_thread("close", self._consumer.close)], _CLOSE_S)

    def _poll(self, timeout_s: float, limit: int) -> list[Message]:
        try:
            message = self._consumer.poll(timeout_s)
            if message is None or limit <= 1:
                return [] if message is None else [message]
            return [message, *self._consumer.consume(min(limit, MAX_BATCH) - 1, 0)]
        except CLIENT_ERRORS as error:
            raise Unavailable(failed_for_good(reason_of(error))) from None

    def _is_to_deliver(self, partition: PartitionState, message: Message, now_ms: int) -> bool:
        """Count a record as read. Return whether it is due and unfinished."""
        offset = message.offset()
        assert offset is not None
        progress = partition.progress
        if offset < progress.next_offset:
            return False
        if partition.wait_for_head(message.timestamp()[1], now_ms):
            assert partition.resume_at_ms is not None
            self._pause(partition, offset)
            self._number += 1
            heapq.heappush(self._waking, (partition.resume_at_ms, self._number, partition))
            return False
        is_unfinished = partition.take(offset)
        if not is_unfinished:
            self._outbox.touch(partition)
        if progress.full:
            partition.paused_full = True
            self._full.append(partition)
            self._pause(partition, progress.next_offset)
        return is_unfinished

    def _pause(self, partition: PartitionState, offset: int) -> None:
        # The seek drops what was fetched beyond this offset: the next fetch begins at the record that has to wait.
        self._consumer.pause([_place(partition)])
        self._consumer.seek(_place(partition, offset))

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        consumer.assign([])
        self.lost = False
        self.group_metadata = consumer.consumer_group_metadata()
        self._assigned = [(partition.topic, partition.partition) for partition in partitions]
        keys = self._assignment.owned(self._assigned)
        self._query = PositionsQuery(self._recovery.fetch, keys) if keys else None
        self._assigned_nothing = not keys
        self._find_missing()

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._query = None
        self._settle()
        self._assignment.suspend()
        _log.info("partitions.revoked", partitions=len(partitions))

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._query = None
        self._assignment.suspend()
        self.lost = True
        _log.warning("partitions.lost", partitions=len(partitions))

    def _on_error(self, error: KafkaError | None, message: Message) -> None:
        assert error is not None
        refuse_hopeless(error, message.topic())
        if error.code() in _TRUNCATED:
            self._on_truncated(message)
        elif not is_lost_broker(error):
            # For example: max.poll.interval.ms exceeded (the partitions come back), topic deleted, corrupt batch.
            _log.warning("consumer.failed", topic=message.topic(), error=error.str())

    def _on_truncated(self, message: Message) -> None:
        """Recover all partitions, because a position is no longer in its log."""
        _log.warning("position.invalidated", topic=message.topic(), partition=message.partition())
        self._settle()
        self._assignment.suspend()
        self._consumer.assign([])
        keys = self._assignment.owned(self._assigned)
        self._query = PositionsQuery(self._recovery.fetch, keys)

    def _settle(self) -> None:
        self._committer.settle(self._clock, self.group_metadata)


def _place(partition: PartitionState, offset: int | None = None) -> TopicPartition:
    if offset is None:
        return TopicPartition(partition.topic, partition.number)
    return TopicPartition(partition.topic, partition.number, offset)
