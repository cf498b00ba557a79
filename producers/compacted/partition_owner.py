"""Exclusive write access to the partitions of a compacted topic.

Each partition has a transactional id. A writer that initializes this id fences the previous writer; then it reads the
partition to its end, decides, writes and commits. As long as nobody fences it, its log has every record of the
partition, so the next write needs no second initialization.

A write goes through the steps `_TakingOver`, `_Reading`, `_Committing`, `_Reading`. If an owned partition needs no
record, its end is looked up and read before that is the result. No step blocks, so a partition
whose leader does not respond delays no other one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias, assert_never

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from producers.compacted.log import CompactedLog
from schemas.catalog.errors import NoResponse, Unavailable

_CALL_S: Final = 10.0
_WAIT_S: Final = 0.05
_BACKOFF_S: Final = (0.02, 0.2)
_MAX_CALLS: Final = 32  # at the same time; each waits for the broker
# A call has several requests of `_CALL_S` each. One that takes longer than all of them together never returns.
_ABANDON_S: Final = 4 * _CALL_S
_TUNING: Final[dict[str, str | int]] = {"linger.ms": 0, "compression.type": "lz4"}
_OWN: Final[dict[str, str | int | bool]] = {
    "acks": "all",
    "enable.idempotence": True,
    "transaction.timeout.ms": 5_000,
    # Nearly every transaction waits for one backoff (CONCURRENT_TRANSACTIONS); the default is 100 ms.
    "retry.backoff.ms": 1,
    "retry.backoff.max.ms": 5,
}
_HOPELESS: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.MSG_SIZE_TOO_LARGE,
    }
)


class KeyedRecord(NamedTuple):
    """A record to write on the owned partition; a value of None deletes the key."""

    key: str
    value: bytes | None


class SideRecord(NamedTuple):
    """A record of the same transaction on another topic, on the partition with the same number.

    Each further partition of a transaction costs a request and a marker.
    """

    topic: str
    key: bytes
    value: bytes


class Write(NamedTuple):
    """What one transaction writes."""

    records: Sequence[KeyedRecord]
    side_records: Sequence[SideRecord] = ()


Decide: TypeAlias = Callable[[], Write]
Ended: TypeAlias = float | Exception
"""How long reading the records back took, in seconds, or why the write is not confirmed."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """The write starts, or starts again after an error."""

    not_before_s: float


@dataclass(frozen=True, slots=True)
class _TakingOver:
    """A thread fences the previous writer; the result is the producer and the end of the partition."""

    call: Future[tuple[Producer, int]]
    since_s: float


@dataclass(frozen=True, slots=True)
class _LookingUp:
    """A thread requests the end of the partition, for a decision that writes nothing."""

    call: Future[int]
    since_s: float


@dataclass(frozen=True, slots=True)
class _Reading:
    """The log reads the partition up to `end`: before the decision, or after the commit (`is_written`)."""

    end: int
    since_s: float
    is_written: bool


@dataclass(frozen=True, slots=True)
class _Committing:
    """A thread writes the records; the result is their offsets."""

    call: Future[list[int]]
    since_s: float


_Step: TypeAlias = _Waiting | _TakingOver | _LookingUp | _Reading | _Committing


@dataclass(slots=True)
class _UnderWay:
    """A write that has not ended."""

    decide: Decide
    deadline_s: float
    step: _Step
    read_s: float = 0.0  # how long the last reading took
    is_current: bool = False  # the log has read up to an end that was requested after the write had begun


class PartitionOwner:
    """Writes to the partitions of a topic that `log` reads. No write waits for another partition.

    `transactional_id` returns the id of a partition. A write is retried for `timeout_s`; then it ends with NoResponse.
    One thread uses the owner. Calls that block run in threads of its own.
    """

    def __init__(
        self,
        kafka: Mapping[str, str],
        log: CompactedLog[Any],
        transactional_id: Callable[[int], str],
        *,
        monotonic: Callable[[], float],
        uniform: Callable[[float, float], float],
        timeout_s: float,
    ) -> None:
        self._kafka = kafka
        self._log = log
        self._transactional_id = transactional_id
        self._monotonic = monotonic
        self._uniform = uniform
        self._timeout_s = timeout_s
        self._producers: dict[int, Producer] = {}
        self._under_way: dict[int, _UnderWay] = {}
        self._calls = ThreadPoolExecutor(_MAX_CALLS, "partition owner")

    def write(self, partition: int, decide: Decide) -> float:
        """Write what `decide` returns; return how long reading it back took, in seconds. Unavailable."""
        self.begin(partition, decide)
        while (end := self.turn(_WAIT_S).get(partition)) is None:
            pass
        if isinstance(end, Exception):
            raise end
        return end

    def begin(self, partition: int, decide: Decide) -> None:
        """Begin to write to a partition, in one transaction. It must have no other write under way.

        `turn` calls `decide` with exclusive access, when the log has read the partition to its end. It calls it again
        in each repetition: after an error the records may have been written or not.
        """
        assert partition not in self._under_way, "one write at a time"
        now_s = self._monotonic()
        self._under_way[partition] = _UnderWay(decide, now_s + self._timeout_s, _Waiting(now_s))

    def turn(self, wait_s: float) -> dict[int, Ended]:
        """Read new records and continue all writes; wait at most `wait_s` for the first record or response.

        Returns the writes that have ended, by partition. The result of one that ended with Unavailable is unknown. An
        error of `decide` ends its write, and nothing of it is written. Unavailable is raised if nothing is under way,
        and the topic cannot be read.
        """
        ended = self._continue_all()
        try:
            self._read(0.0 if ended else wait_s)
        except Unavailable as error:
            if not ended and not self._under_way:
                raise
            for partition, write in list(self._under_way.items()):
                if isinstance(write.step, _Reading):
                    self._note(ended, partition, self._try_again(partition, write, error))
        return ended | self._continue_all()

    def close(self) -> None:
        """Close the connections to the broker. Calls that are under way end by themselves."""
        self._calls.shutdown(wait=False, cancel_futures=True)
        self._producers.clear()

    def _read(self, wait_s: float) -> None:
        steps = [write.step for write in self._under_way.values()]
        calls: list[Future[Any]] = [
            step.call for step in steps if isinstance(step, _TakingOver | _LookingUp | _Committing)
        ]
        if calls and not any(isinstance(step, _Reading) for step in steps):
            wait(calls, wait_s, FIRST_COMPLETED)
            wait_s = 0.0
        self._log.follow(wait_s)

    def _continue_all(self) -> dict[int, Ended]:
        ended: dict[int, Ended] = {}
        for partition, write in list(self._under_way.items()):
            self._note(ended, partition, self._continue(partition, write))
        return ended

    def _note(self, ended: dict[int, Ended], partition: int, end: Ended | None) -> None:
        if end is not None:
            del self._under_way[partition]
            ended[partition] = end

    def _continue(self, partition: int, write: _UnderWay) -> Ended | None:
        """Do the steps of a write that need not wait; return its result, or None if there is none yet."""
        try:
            while not self._waits(partition, write.step):
                following = self._next(partition, write)
                if isinstance(following, float | Exception):
                    return following
                write.step = following
        except (KafkaException, Unavailable) as error:
            return self._try_again(partition, write, error)
        match write.step:
            case _Waiting():
                return None
            case _Reading(_, since_s):
                limit_s, what = self._timeout_s, "it could not be read to its end"
            case _TakingOver(_, since_s) | _LookingUp(_, since_s) | _Committing(_, since_s):
                limit_s, what = _ABANDON_S, "a call of the client has not returned"
            case _ as never:
                assert_never(never)
        if self._monotonic() <= since_s + limit_s:
            return None
        return self._try_again(partition, write, NoResponse(f"{what} within {limit_s:g} s"))

    def _waits(self, partition: int, step: _Step) -> bool:
        match step:
            case _Waiting(not_before_s):
                return self._monotonic() < not_before_s
            case _Reading(end):
                return not self._log.has_read(partition, end)
            case _TakingOver() | _LookingUp() | _Committing():
                return not step.call.done()
            case _ as never:
                assert_never(never)

    def _next(self, partition: int, write: _UnderWay) -> _Step | Ended:
        """Return the step after one that is done, or the result."""
        now_s = self._monotonic()
        match write.step:
            case _Waiting():
                if partition in self._producers:
                    return _Reading(0, now_s, is_written=False)  # the log has all records
                return _TakingOver(self._calls.submit(self._take_over, partition, write.deadline_s), now_s)
            case _TakingOver(taken_over):
                self._producers[partition], end = taken_over.result()
                write.is_current = True
                return _Reading(end, now_s, is_written=False)
            case _LookingUp(looked_up):
                write.is_current = True
                return _Reading(looked_up.result(), now_s, is_written=False)
            case _Reading(_, since_s, is_written):
                write.read_s = now_s - since_s
                return write.read_s if is_written else self._decide(partition, write)
            case _Committing(written):
                return _Reading(max(written.result()) + 1, now_s, is_written=True)
            case _ as never:
                assert_never(never)

    def _decide(self, partition: int, write: _UnderWay) -> _Step | Ended:
        failed: Exception | None = None
        decided = Write([])
        try:
            decided = write.decide()
        except Exception as error:  # a repetition would not help
            failed = error
        now_s = self._monotonic()
        if decided.records:
            return _Committing(self._calls.submit(self._commit, self._producers[partition], partition, decided), now_s)
        if not write.is_current:
            # A commit would show that another writer owns the partition. Without one, its records may be unread.
            return _LookingUp(self._calls.submit(self._log.high_watermark, partition), now_s)
        return failed or write.read_s

    def _try_again(self, partition: int, write: _UnderWay, error: KafkaException | Unavailable) -> Unavailable | None:
        """Let a write start again after a backoff; return its error if that is hopeless, or there is no time left."""
        self._drop(partition)
        write.is_current = False
        if cause_of(error).code() in _HOPELESS:
            return self._unconfirmed(error, Unavailable)
        now_s = self._monotonic()
        if now_s > write.deadline_s:
            return self._unconfirmed(error)
        write.step = _Waiting(now_s + self._uniform(*_BACKOFF_S))
        return None

    def _drop(self, partition: int) -> None:
        """Close the producer of a partition in a thread, as the client waits for its own threads."""
        if partition in self._producers:
            self._calls.submit(_closed, self._producers.pop(partition))

    def _commit(self, producer: Producer, partition: int, write: Write) -> list[int]:
        """Write the records in one transaction and return the offsets of those on the partition."""
        offsets: list[int] = []
        failed: list[KafkaError] = []

        def reported(error: KafkaError | None, message: Message) -> None:
            offset = message.offset()
            if error is not None:
                failed.append(KafkaError(error.code(), f"{message.topic()}: {error.str()}"))
            elif offset is not None and message.topic() == self._log.topic:
                offsets.append(offset)

        producer.begin_transaction()
        try:
            for key, value in write.records:
                producer.produce(self._log.topic, key=key, value=value, partition=partition, on_delivery=reported)
            for other in write.side_records:
                producer.produce(
                    other.topic, key=other.key, value=other.value, partition=partition, on_delivery=reported
                )
            producer.commit_transaction(_CALL_S)
        except KafkaException as error:
            if cause_of(error).txn_requires_abort():
                # An open transaction blocks every reader of the partition until the broker ends it.
                producer.abort_transaction(_CALL_S)
            if failed:
                raise KafkaException(failed[0]) from error
            raise
        return offsets

    def _unconfirmed(self, error: KafkaException | Unavailable, kind: type[Unavailable] = NoResponse) -> Unavailable:
        unavailable = kind(
            f"{self._log.topic} could not be written: {cause_of(error)}; unconfirmed changes may have been written: "
            "run the same command again"
        )
        unavailable.__cause__ = error
        return unavailable

    def _take_over(self, partition: int, deadline_s: float) -> tuple[Producer, int]:
        """Fence the previous writer of a partition; return the producer, and up to where that writer has written."""
        call_s = min(_CALL_S, deadline_s - self._monotonic())
        if call_s <= 0:
            raise Unavailable("the brokers do not respond in time")
        transactional_id = {"transactional.id": self._transactional_id(partition)}
        # The calls raise all errors. Without an error_cb, callbacks would raise them too.
        own = {**_OWN, **transactional_id, "error_cb": lambda _: None}
        producer = Producer({**_TUNING, **self._kafka, **own}, logger=logging.getLogger("signpost.kafka"))
        # Without all metadata, librdkafka looks up the coordinator on a timer of 500 ms; metadata of a single topic is
        # sometimes not enough.
        producer.list_topics(timeout=call_s)
        producer.init_transactions(call_s)
        # Not the last stable offset: what a later owner committed may lie behind an open transaction of a dead process.
        return producer, self._log.high_watermark(partition)


def cause_of(error: KafkaException | Unavailable) -> KafkaError:
    """Return the error of Kafka behind an exception."""
    cause = error.args[0] if error.args else None
    return cause if isinstance(cause, KafkaError) else KafkaError(KafkaError._FAIL, str(error))


def _closed(_: Producer) -> None:
    """Close a producer, by dropping the last reference to it."""
