"""The consumer of event topics: assignment, positions, reading and commits.

No partition is read before its position is known (source_recovery.py): an assignment starts empty, and the loop
polls for the positions. Every assignment has a number; records read in one are never committed in another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, cast

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from consumers.kafka.admin import CLIENT_ERRORS
from consumers.kafka.dead_letters import SourceRecord
from consumers.kafka.group_member import OUTSIDE_OF_LOG, close_within, member_config, poll_messages
from consumers.kafka.positions import CommittedPositions, PartitionKey, failed_for_good, is_lost_broker
from consumers.kafka.truncation import Truncation
from consumers.router.source_positions import SourcePositionsRecorder
from consumers.router.source_recovery import Positions, SourceRecovery, StartAt
from schemas.catalog.errors import Unavailable

_log = structlog.get_logger("router")
_REFUSED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
    }
)


def consumer_config(kafka: Mapping[str, str], group: str, instance: int | None) -> dict[str, Any]:
    """Return librdkafka's properties for the consumer of the event topics."""
    # Bounds of the prefetch queue, and so of most of the memory. A response has up to `fetch.message.max.bytes`,
    # compressed, of each partition, or one larger record.
    tuning = {"queued.max.messages.kbytes": 4_096, "fetch.message.max.bytes": 128 * 1_024, "fetch.queue.backoff.ms": 10}
    return member_config(kafka, group, instance, tuning=tuning)


class Source:
    """The consumer of the event topics, used by one thread; `on_error` gets connection errors."""

    def __init__(
        self,
        config: Mapping[str, Any],
        admin: AdminClient,
        positions: CommittedPositions,
        recorder: SourcePositionsRecorder,
        start_at: StartAt,
        *,
        on_error: Callable[[KafkaError], None],
        on_truncated: Callable[[Truncation], None],
        now_s: Callable[[], float],
    ) -> None:
        self._group: str = config["group.id"]
        self._admin = admin
        self._positions = positions
        self._recorder = recorder
        self._start_at = start_at
        self._report_error = on_error
        self._on_truncated = on_truncated
        self._now_s = now_s
        self._before_revoke: Callable[[bool], None] = lambda may_commit: None
        own = {"on_commit": self._on_commit, "error_cb": self._on_error}
        self._consumer = Consumer({**config, **own}, logger=logging.getLogger("signpost.kafka"))
        self._owned: list[PartitionKey] = []
        self._recovery: SourceRecovery | None = None
        self._reading = False
        self._suspended = False
        self._paused: dict[PartitionKey, int] = {}
        self._started: dict[PartitionKey, int] = {}  # where reading began in this assignment
        self._readable_since_ms: dict[str, int] = {}
        self._committing: tuple[Positions, Callable[[bool], None]] | None = None
        self.assignment = 0
        self.lost = False  # the session ended, and no partition has been assigned since
        self.misplaced = False  # a position is outside its log: `recover_positions` is due
        self._fatal: str | None = None

    def subscribe(self, topics: Sequence[str], before_revoke: Callable[[bool], None]) -> None:
        """Join the group.

        `before_revoke` is called inside `read`, `keep_alive` or `close` before partitions are revoked. Its argument is
        True while offsets may still be committed, False if the partitions are lost already.
        """
        self._before_revoke = before_revoke
        self._consumer.subscribe(
            list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    @property
    def reading(self) -> bool:
        """Whether there is an assignment, and its positions are known."""
        return self._reading

    @property
    def why_not_reading(self) -> str | None:
        """Why nothing is read, or None; any thread may call it."""
        if self._reading:
            return None
        if not self._owned:
            return "no partition of a source has been assigned yet"
        recovery = self._recovery
        error = f": {recovery.error}" if recovery is not None and recovery.error else ""
        return f"the positions of the assigned partitions are not known yet{error}"

    @property
    def owned(self) -> Sequence[PartitionKey]:
        """The assigned partitions."""
        return self._owned

    def readable_since_ms(self, topic: str) -> int:
        """Return since when (Unix ms) the records of a topic can be read: since its start, or since positions were set.

        Older records are a backfill, which was not late.
        """
        return self._readable_since_ms.get(topic, 0)

    def read(self, seconds: float, limit: int) -> list[SourceRecord]:
        """Return records that have arrived, after at most `seconds`; never those of an assignment that has ended."""
        if self._suspended:
            self._suspended = False
            self._consumer.resume(_partitions(key for key in self._owned if key not in self._paused))
        return self._poll(seconds, limit)

    def keep_alive(self, seconds: float) -> list[SourceRecord]:
        """Stay in the group without reading further; returns records that had arrived already."""
        if self._reading and not self._suspended:
            self._suspended = True
            self._consumer.pause(_partitions(self._owned))
        return self._poll(seconds, 1)

    def _poll(self, seconds: float, limit: int) -> list[SourceRecord]:
        self._find_positions()
        if self._reading:
            self._recorder.poll(self._now_s(), self._owned)
        assignment = self.assignment
        messages = poll_messages(self._consumer, seconds, limit)
        if self._fatal is not None:
            raise Unavailable(self._fatal)
        if assignment != self.assignment:
            return []  # a new assignment is read from its positions, which are not known yet
        # A consumed message without an error implements the whole protocol.
        return cast(
            "list[SourceRecord]",
            [message for message in messages if message.error() is None or self._accept(message)],
        )

    def pause(self, key: PartitionKey, offset: int) -> None:
        """Stop reading a partition until `resume`, which continues at `offset`."""
        self._paused[key] = offset
        self._consumer.pause(_partitions([key]))
        self._consumer.seek(TopicPartition(*key, offset))

    def resume(self, key: PartitionKey) -> None:
        """Resume a paused partition."""
        self._paused.pop(key, None)  # partition recovery may have resumed it already
        if not self._suspended:
            self._consumer.resume(_partitions([key]))

    def commit(self, positions: Positions, done: Callable[[bool], None]) -> None:
        """Commit next offsets; a later `read` or `keep_alive` calls `done` with the success."""
        self._committing = (positions, done)
        try:
            self._consumer.commit(offsets=_offsets(positions), asynchronous=True)
        except KafkaException as error:
            self._finish_commit(error.args[0])

    def commit_now(self, positions: Positions) -> bool:
        """Commit next offsets and wait; return whether that succeeded."""
        self._committing = None
        try:
            committed = self._consumer.commit(offsets=_offsets(positions), asynchronous=False)
        except CLIENT_ERRORS as error:
            _log.warning("commit.failed", error=str(error))
            return False
        return all(partition.error is None for partition in committed or ())

    def recover_positions(self) -> None:
        """Start recovery of the positions of the assignment; no partition is read meanwhile."""
        self.misplaced = False
        self._reading = False
        self._suspended = False
        self._paused.clear()
        self._consumer.assign([])
        self._recovery = SourceRecovery(
            self._admin,
            self._positions,
            self._recorder,
            self._start_at,
            self._owned,
            commit=self.commit,
            on_truncated=self._on_truncated,
        )

    def positions(self) -> dict[PartitionKey, int]:
        """Return the next offset to read of each assigned partition; none before their positions are known."""
        if not self._reading:
            return {}
        found = self._started | self._paused
        for place in self._consumer.position(_partitions(key for key in self._owned if key not in self._paused)):
            if place.offset >= 0:  # else nothing of it was read yet
                found[place.topic, place.partition] = place.offset
        return found

    def close(self, seconds: float) -> None:
        """Close the consumer; gives up after `seconds`."""
        close_within(self._consumer, seconds, _log)

    def _find_positions(self) -> None:
        if self._recovery is None:
            return
        positions = self._recovery.poll(self._now_s())
        if positions is None:
            return
        self._readable_since_ms = self._recovery.readable_since_ms
        self._recovery = None
        self._started = dict(positions)
        self._consumer.assign([TopicPartition(*key, offset) for key, offset in positions.items()])
        # A pause survives the end of its assignment.
        self._consumer.resume(_partitions(self._owned))
        self._reading = True

    def _accept(self, message: Message) -> bool:
        """Return True for a record; handle an error."""
        error = message.error()
        if error is None:
            return True
        if error.code() in OUTSIDE_OF_LOG:
            self.misplaced = True
        else:
            self._on_error(error)
        return False

    def _on_error(self, error: KafkaError) -> None:
        self._report_error(error)
        if error.fatal() or error.code() == KafkaError._FATAL:  # in a message, `fatal()` is false
            self._fatal = failed_for_good(error)
        elif error.code() in _REFUSED:
            self._fatal = f"the group {self._group} may not read: {error.str()}"
        elif not is_lost_broker(error):
            _log.warning("consumer.failed", error=error.str())

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        if self._committing is None:
            return
        offsets = {(partition.topic, partition.partition): partition.offset for partition in partitions}
        if offsets == self._committing[0]:  # else the assignment of the commit has ended
            self._finish_commit(error or next((p.error for p in partitions if p.error is not None), None))

    def _finish_commit(self, error: KafkaError | None) -> None:
        if self._committing is None:
            return
        done = self._committing[1]
        self._committing = None
        if error is not None:
            _log.warning("commit.failed", error=error.str())
            self._on_error(error)
        done(error is None)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.assignment += 1
        self.lost = False
        self._owned = sorted((partition.topic, partition.partition) for partition in partitions)
        _log.info("partitions.assigned", partitions=len(partitions), assignment=self.assignment)
        self.recover_positions()

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._before_revoke(True)
        self._drop_assignment()

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        _log.warning("partitions.lost", partitions=len(partitions))
        self.lost = True
        self._before_revoke(False)
        self._drop_assignment()

    def _drop_assignment(self) -> None:
        self.assignment += 1
        self.misplaced = False
        self._owned = []
        self._recovery = None
        self._reading = False
        self._suspended = False
        self._paused.clear()
        self._committing = None


def _partitions(keys: Iterable[PartitionKey]) -> list[TopicPartition]:
    return [TopicPartition(*key) for key in keys]


def _offsets(positions: Positions) -> list[TopicPartition]:
    return [TopicPartition(*key, offset) for key, offset in positions.items()]
