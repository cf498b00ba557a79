"""The consumer of event topics: what is assigned, where it is read from, what is committed.

Nothing is read before its position is known (partition_recovery.py): an assignment begins empty and gets its positions
from the loop. Every assignment has a number; records that were read in one are never committed in another.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, cast

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient

from consumers.kafka.admin import CLIENT_ERRORS, reason_of
from consumers.kafka.dead_letters import SourceRecord
from consumers.kafka.group_member import member_config
from consumers.kafka.positions import CommittedPositions, PartitionKey, failed_for_good, is_lost_broker
from consumers.kafka.threads import in_thread
from consumers.kafka.truncation import Truncation
from consumers.router.partition_recovery import PartitionRecovery, Positions, StartAt
from consumers.router.source_positions import SourcePositionsRecorder
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
    # Bound what is read ahead, and with it most of the memory: one answer brings up to the second of them, compressed,
    # of each partition. A larger record is fetched all the same.
    tuning = {"queued.max.messages.kbytes": 4_096, "fetch.message.max.bytes": 128 * 1_024, "fetch.queue.backoff.ms": 10}
    return member_config(kafka, group, instance, tuning=tuning)


class Source:
    """The consumer of the event topics, used by one thread; `on_error` gets errors of the connection."""

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
        self._leave: Callable[[bool], None] = lambda may_commit: None
        own = {"on_commit": self._on_commit, "error_cb": self._on_error}
        self._consumer = Consumer({**config, **own}, logger=logging.getLogger("signpost.kafka"))
        self._owned: list[PartitionKey] = []
        self._recovery: PartitionRecovery | None = None
        self._reading = False
        self._suspended = False
        self._paused: dict[PartitionKey, int] = {}
        self._committing: tuple[Positions, Callable[[bool], None]] | None = None
        self.assignment = 0
        self.lost = False  # the session ended, and nothing has been assigned since
        self.misplaced = False  # a position turned out to be outside the log: `recover_positions` is due
        self._fatal: str | None = None

    def subscribe(self, topics: Sequence[str], leave: Callable[[bool], None]) -> None:
        """Join the group.

        `leave` is called before partitions are taken away (True: they may still be committed; False: they are lost
        already), inside a call of `read`, `keep_alive` or `close`.
        """
        self._leave = leave
        self._consumer.subscribe(
            list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    @property
    def reading(self) -> bool:
        """Whether there is an assignment, and its positions are known."""
        return self._reading

    @property
    def owned(self) -> Sequence[PartitionKey]:
        """The partitions that are assigned."""
        return self._owned

    def read(self, seconds: float, limit: int) -> list[SourceRecord]:
        """Return what has arrived, after at most `seconds`; never records of an assignment that has ended."""
        if self._suspended:
            self._suspended = False
            self._consumer.resume(_partitions(key for key in self._owned if key not in self._paused))
        return self._poll(seconds, limit)

    def keep_alive(self, seconds: float) -> list[SourceRecord]:
        """Stay in the group without reading on; returns records that had arrived already."""
        if self._reading and not self._suspended:
            self._suspended = True
            self._consumer.pause(_partitions(self._owned))
        return self._poll(seconds, 1)

    def _poll(self, seconds: float, limit: int) -> list[SourceRecord]:
        self._find_positions()
        if self._reading:
            self._recorder.poll(self._now_s(), self._owned)
        assignment = self.assignment
        try:
            # `consume` would wait the whole time unless `limit` messages arrive.
            first = self._consumer.poll(seconds)
            messages = [] if first is None else [first, *self._consumer.consume(limit - 1, 0)]
        except CLIENT_ERRORS as error:
            raise Unavailable(failed_for_good(reason_of(error))) from error
        if self._fatal is not None:
            raise Unavailable(self._fatal)
        if assignment != self.assignment:
            return []  # a new assignment begins at its positions, which are still to be found
        # A message that was consumed without an error has all that the protocol says.
        return cast(
            "list[SourceRecord]",
            [message for message in messages if message.error() is None or self._accept(message)],
        )

    def pause(self, key: PartitionKey, offset: int) -> None:
        """Stop reading a partition before the record at `offset`, until `resume`."""
        self._paused[key] = offset
        self._consumer.pause(_partitions([key]))
        self._consumer.seek(TopicPartition(*key, offset))

    def resume(self, key: PartitionKey) -> None:
        """Resume a paused partition."""
        self._paused.pop(key, None)  # recovery of positions has resumed it already
        if not self._suspended:
            self._consumer.resume(_partitions([key]))

    def commit(self, positions: Positions, done: Callable[[bool], None]) -> None:
        """Commit next offsets; `done` is called by a later `read` or `keep_alive` with the success."""
        self._committing = (positions, done)
        try:
            self._consumer.commit(offsets=_offsets(positions), asynchronous=True)
        except KafkaException as error:
            self._ended(error.args[0])

    def commit_now(self, positions: Positions) -> bool:
        """Commit next offsets and wait; whether that worked."""
        self._committing = None
        try:
            answer = self._consumer.commit(offsets=_offsets(positions), asynchronous=False)
        except CLIENT_ERRORS as error:
            _log.warning("router.not_committed", error=str(error))
            return False
        return all(partition.error is None for partition in answer or ())

    def recover_positions(self) -> None:
        """Look for the positions of the assignment (again); nothing is read meanwhile."""
        self.misplaced = False
        self._reading = False
        self._suspended = False
        self._paused.clear()
        self._consumer.assign([])
        self._recovery = PartitionRecovery(
            self._admin,
            self._positions,
            self._recorder,
            self._start_at,
            self._owned,
            commit=self.commit,
            on_truncated=self._on_truncated,
        )

    def lag(self) -> dict[str, int]:
        """Return by topic how many records are there that were not read yet, as far as is known without asking."""
        behind = dict.fromkeys((topic for topic, _ in self._owned), 0)
        for position in self._consumer.position(_partitions(self._owned)) if self._reading else ():
            bounds = self._consumer.get_watermark_offsets(position, cached=True)
            if bounds is not None and position.offset >= 0:
                behind[position.topic] += max(0, bounds[1] - position.offset)
        return behind

    def close(self, seconds: float) -> None:
        """Leave the group (a static member only goes away); gives up after `seconds`.

        A commit on its way to a coordinator that does not answer would hold the close up for minutes (measured), and
        there is no call that takes it back: then the process ends with the consumer still open.
        """
        closing = in_thread("close", self._consumer.close)
        try:
            closing.result(seconds)
        except TimeoutError:
            _log.warning("router.not_closed")

    def _find_positions(self) -> None:
        if self._recovery is None:
            return
        positions = self._recovery.poll(self._now_s())
        if positions is None:
            return
        self._recovery = None
        self._consumer.assign([TopicPartition(*key, offset) for key, offset in positions.items()])
        # A pause outlives the assignment in which it was made.
        self._consumer.resume(_partitions(self._owned))
        self._reading = True

    def _accept(self, message: Message) -> bool:
        """Return whether this is a record; an error in its place is handled here."""
        error = message.error()
        if error is None:
            return True
        if error.code() in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:
            self.misplaced = True
        else:
            self._on_error(error)
        return False

    def _on_error(self, error: KafkaError) -> None:
        self._report_error(error)
        if error.fatal() or error.code() == KafkaError._FATAL:  # as a message it does not call itself fatal
            self._fatal = failed_for_good(error)
        elif error.code() in _REFUSED:
            self._fatal = f"the brokers refuse to let the group {self._group} read: {error.str()}"
        elif not is_lost_broker(error):
            _log.warning("router.consumer_failed", error=error.str())

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        if self._committing is None:
            return
        offsets = {(partition.topic, partition.partition): partition.offset for partition in partitions}
        if offsets == self._committing[0]:  # else it is of an assignment that has ended
            self._ended(error or next((p.error for p in partitions if p.error is not None), None))

    def _ended(self, error: KafkaError | None) -> None:
        if self._committing is None:
            return
        done = self._committing[1]
        self._committing = None
        if error is not None:
            _log.warning("router.not_committed", error=error.str())
            self._on_error(error)
        done(error is None)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.assignment += 1
        self.lost = False
        self._owned = sorted((partition.topic, partition.partition) for partition in partitions)
        _log.info("router.assigned", partitions=len(partitions), assignment=self.assignment)
        self.recover_positions()

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._leave(True)
        self._drop()

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        _log.warning("router.lost", partitions=len(partitions))
        self.lost = True
        self._leave(False)
        self._drop()

    def _drop(self) -> None:
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
