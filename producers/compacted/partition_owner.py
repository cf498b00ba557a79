"""Exclusive write access to the partitions of a compacted topic.

Each partition has a transactional id. A writer that initializes this id fences the previous writer; then it reads the
partition to its end, decides, writes and commits. As long as nobody fences it, its log has every record of the
partition, so the next write needs no second initialization.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Final, NamedTuple, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from producers.compacted.log import CompactedLog
from schemas.catalog.errors import Unavailable

_CALL_S: Final = 10.0
_BACKOFF_S: Final = (0.02, 0.2)
_MAX_COMMITS: Final = 32  # at the same time; each waits for the broker
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


class PartitionOwner:
    """Writes to the partitions of a topic that `log` reads.

    `transactional_id` returns the id of a partition. A write is repeated for `timeout_s` before Unavailable.
    """

    def __init__(
        self,
        kafka: Mapping[str, str],
        log: CompactedLog[Any],
        transactional_id: Callable[[int], str],
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], None],
        uniform: Callable[[float, float], float],
        timeout_s: float,
    ) -> None:
        self._kafka = kafka
        self._log = log
        self._transactional_id = transactional_id
        self._monotonic = monotonic
        self._sleep = sleep
        self._uniform = uniform
        self._timeout_s = timeout_s
        self._producers: dict[int, Producer] = {}
        self._committers = ThreadPoolExecutor(_MAX_COMMITS, "commit")

    def write(self, partition: int, decide: Decide) -> float:
        """Write what `decide` returns; return how long reading it back took, in seconds. Unavailable."""
        result = self.write_all({partition: decide})[partition]
        if isinstance(result, Unavailable):
            raise result
        return result

    def write_all(self, decisions: Mapping[int, Decide]) -> dict[int, float | Unavailable]:
        """Write to several partitions at the same time, each in a transaction of its own.

        Returns for each partition how long reading back took, in seconds, or why the write is not confirmed. A `decide`
        is called with exclusive access, when the log has read the partition to its end. It is called again in each
        repetition: after an error the records may have been written or not.
        """
        deadline = self._monotonic() + self._timeout_s
        ended: dict[int, float | Unavailable] = {}
        waiting = dict(decisions)
        while waiting:
            read_back_s, failed = self._try_all(waiting, deadline)
            ended |= {partition: read_back_s for partition in waiting if partition not in failed}
            for partition, error in failed.items():
                self._producers.pop(partition, None)
                cause = cause_of(error)
                if cause.code() in _HOPELESS or self._monotonic() > deadline:
                    ended[partition] = self._unconfirmed(cause, error)
            waiting = {partition: decide for partition, decide in waiting.items() if partition not in ended}
            if waiting:
                self._sleep(self._uniform(*_BACKOFF_S))
        return ended

    def _try_all(
        self, decisions: Mapping[int, Decide], deadline: float
    ) -> tuple[float, dict[int, KafkaException | Unavailable]]:
        """Write to the partitions once; return how long reading back took, and the errors."""
        failed: dict[int, KafkaException | Unavailable] = {}
        commits: dict[int, Future[list[int]]] = {}
        try:
            for partition, decide in decisions.items():
                try:
                    producer = self._producers.get(partition) or self._take_over(partition, deadline)
                    write = decide()
                except (KafkaException, Unavailable) as error:
                    failed[partition] = error
                else:
                    if write.records:
                        commits[partition] = self._committers.submit(self._commit, producer, partition, write)
        finally:
            wait(commits.values())
        ends: dict[int, int] = {}
        for partition, commit in commits.items():
            try:
                ends[partition] = max(commit.result()) + 1
            except (KafkaException, Unavailable) as error:
                failed[partition] = error
        started_s = self._monotonic()
        try:
            self._log.read_to(ends)
        except Unavailable as error:
            failed |= dict.fromkeys(ends, error)
        return self._monotonic() - started_s, failed

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

    def _unconfirmed(self, cause: KafkaError, error: Exception) -> Unavailable:
        unavailable = Unavailable(
            f"{self._log.topic} could not be written: {cause}; unconfirmed changes may have been written: run the same "
            "command again"
        )
        unavailable.__cause__ = error
        return unavailable

    def close(self) -> None:
        """Close the connections to the broker."""
        self._committers.shutdown()
        self._producers.clear()

    def _take_over(self, partition: int, deadline: float) -> Producer:
        """Fence the previous writer of the partition, and read all that it committed; Unavailable after `deadline`."""
        call_s = min(_CALL_S, deadline - self._monotonic())
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
        self._log.read_all_of(partition)
        self._producers[partition] = producer
        return producer


def cause_of(error: KafkaException | Unavailable) -> KafkaError:
    """Return the error of Kafka behind an exception."""
    cause = error.args[0] if error.args else None
    return cause if isinstance(cause, KafkaError) else KafkaError(KafkaError._FAIL, str(error))
