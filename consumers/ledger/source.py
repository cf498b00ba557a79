"""The consumer of the ledger. The database has the positions; nothing is committed to the group.

An assignment starts empty. The loop reads the positions from the database and calls `start`. What was read in one
assignment is never written in another: the loop compares `assignment`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import structlog
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from consumers.kafka.dead_letters import SourceRecord
from consumers.kafka.group_member import OUTSIDE_OF_LOG, close_within, member_config, poll_messages
from consumers.kafka.positions import PartitionKey, is_lost_broker, refuse_hopeless
from consumers.kafka.topic_reader import Range
from consumers.kafka.truncation import Truncation
from schemas.catalog.errors import Unavailable

_log = structlog.get_logger("ledger")
# Bounds of the prefetch queue: a batch of outcomes has about 1 MB.
_TUNING: Final = {"queued.max.messages.kbytes": 8_192, "fetch.queue.backoff.ms": 10}


@dataclass(frozen=True, slots=True)
class Start:
    """Where reading of a partition starts; `lost` are the records that retention deleted before they were read."""

    offset: int
    lost: Truncation | None


def start_of(log: Range, position: int | None) -> Start:
    """Return where to start, given the position in the database; Unavailable if the log ends before the position."""
    if position is None:
        return Start(log.begin, None)
    if position > log.end:
        raise Unavailable(
            f"the ledger has read {log.topic} partition {log.partition} up to offset {position}, but it ends at "
            f"{log.end}: was the topic created again? Give the ledger an empty database"
        )
    lost = Truncation(log.topic, log.partition, position, log.begin) if position < log.begin else None
    return Start(max(position, log.begin), lost)


class LedgerSource:
    """Reads topics as a member of a group; `on_error` gets connection errors. One thread uses it."""

    def __init__(
        self,
        kafka: Mapping[str, str],
        group: str,
        topics: Collection[str],
        instance: int | None,
        *,
        on_error: Callable[[KafkaError], None],
    ) -> None:
        self._topics = sorted(topics)
        self._report_error = on_error
        own: dict[str, Any] = {"error_cb": self._on_error}
        config = {**member_config(kafka, group, instance, tuning=_TUNING), **own}
        self._consumer = Consumer(config, logger=logging.getLogger("signpost.kafka"))
        self._fatal: str | None = None
        self._paused = False
        self.assignment = 0
        self.owned: Sequence[PartitionKey] = ()
        self.reading = False
        self.lost = False  # the session ended, and no partitions have been assigned since
        self.misplaced = False  # a position is outside of its log: `restart` is due

    def subscribe(self) -> None:
        """Join the group."""
        self._consumer.subscribe(
            self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def start(self, starts: Mapping[PartitionKey, int]) -> None:
        """Read the owned partitions from these offsets."""
        self._consumer.assign([TopicPartition(*key, offset) for key, offset in starts.items()])
        self._consumer.resume([TopicPartition(*key) for key in starts])  # a pause survives the end of its assignment
        self._paused = False
        self.reading = True

    def restart(self) -> None:
        """Stop reading until `start`: the positions are looked up again."""
        self.assignment += 1
        self.misplaced = False
        self.reading = False

    def poll(self, seconds: float, limit: int) -> list[SourceRecord]:
        """Return records that have arrived, after at most `seconds`. With a limit of 0, only stay in the group."""
        self._pause(limit == 0)
        assignment = self.assignment
        messages = poll_messages(self._consumer, seconds, limit)
        if self._fatal is not None:
            raise Unavailable(self._fatal)
        if assignment != self.assignment or not self.reading:
            return []
        # A consumed message without an error implements the whole protocol.
        return cast("list[SourceRecord]", [message for message in messages if self._accept(message)])

    def close(self, seconds: float) -> None:
        """Leave the group; gives up after `seconds`."""
        close_within(self._consumer, seconds, _log)

    def _pause(self, pause: bool) -> None:
        if not self.reading or pause == self._paused:
            return
        self._paused = pause
        change = self._consumer.pause if pause else self._consumer.resume
        change([TopicPartition(*key) for key in self.owned])

    def _accept(self, message: Message) -> bool:
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
        try:
            refuse_hopeless(error, None)
        except Unavailable as hopeless:
            self._fatal = str(hopeless)  # raised by `poll`, not in the client's callback
            return
        if not is_lost_broker(error):
            _log.warning("consumer.failed", error=error.str())

    def _on_assign(self, _consumer: Consumer, partitions: Iterable[TopicPartition]) -> None:
        self.owned = sorted((partition.topic, partition.partition) for partition in partitions)
        self.lost = False
        self.restart()
        _log.info("partitions.assigned", partitions=len(self.owned), assignment=self.assignment)

    def _on_revoke(self, _consumer: Consumer, _partitions: Iterable[TopicPartition]) -> None:
        self.owned = ()
        self.restart()

    def _on_lost(self, consumer: Consumer, partitions: Iterable[TopicPartition]) -> None:
        self.lost = True
        self._on_revoke(consumer, partitions)
