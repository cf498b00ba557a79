"""Transactions of one process: records and the offsets they come from, together or not at all.

The loop hands a batch over (`begin`) and goes on without touching the producer; a helper thread makes the blocking
calls and finds out, whatever it takes, whether the batch was committed:

    committed           commit_transaction said so, or the serial of the batch is what the group has committed
    not committed       it was aborted, or another position is committed: the batch is to be written again

A call that got no answer leaves that open, so does a fatal error (the coordinator may have ended the transaction by its
timeout). Then: a new producer, `init_transactions` (which waits until the old transaction has ended) and a look at the
committed offsets of the batch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import structlog
from confluent_kafka import KafkaException, Producer, TopicPartition

from consumers.runtime.positions import ASK_AGAIN_S, CommittedPositions

TRANSACTION_TIMEOUT_S: Final = 10
_CALL_TIMEOUT_S: Final = 5.0
_log = structlog.get_logger("transaction")


def producer_config(kafka: Mapping[str, str], transactional_id: str, max_record: int) -> dict[str, Any]:
    """Return librdkafka's properties; `max_record` is the size in bytes of the largest record that can occur."""
    return {
        **kafka,
        "transactional.id": transactional_id,
        "transaction.timeout.ms": TRANSACTION_TIMEOUT_S * 1_000,
        # The default 100 ms is paid on nearly every transaction (CONCURRENT_TRANSACTIONS).
        "retry.backoff.ms": 1,
        "retry.backoff.max.ms": 5,
        "partitioner": "murmur2_random",
        "compression.type": "lz4",
        "linger.ms": 5,  # a commit flushes: nothing waits for the linger
        "message.max.bytes": max_record,
        # A batch is bounded by the outbox; produce must never find the queue full.
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": 1_048_576,
    }


@dataclass(frozen=True, slots=True)
class Settled:
    """How a transaction ended, and how long the calls took, in seconds."""

    committed: bool
    seconds: float


class Transactions:
    """The transactional producer of this process, one transaction at a time."""

    def __init__(self, config: Mapping[str, Any], positions: CommittedPositions) -> None:
        self._config = dict(config)
        self._positions = positions
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="transaction")
        self._producer: Producer | None = None
        self._closing = False

    def start(self) -> None:
        """Fence and end what a predecessor with the same id left open; waits for the broker."""
        self._renew()

    def begin(
        self,
        rows: Iterable[tuple[str, int, bytes | None, bytes]],
        offsets: list[TopicPartition],
        group_metadata: object,
        serial: str,
    ) -> Future[Settled]:
        """Write rows (topic, partition or -1, key, value) and offsets with metadata in one transaction."""
        try:
            producer = self._producer
            assert producer is not None
            producer.begin_transaction()
            produce = producer.produce
            for topic, partition, key, value in rows:
                produce(topic, value, key, partition)
        except KafkaException as error:
            _log.warning("transaction.not_begun", error=str(error.args[0]))
            return self._thread.submit(self._settle, None, offsets, group_metadata, serial)
        return self._thread.submit(self._settle, producer, offsets, group_metadata, serial)

    def close(self) -> None:
        """Give up whatever is under way; call it when the last future is done, or to leave it undecided."""
        self._closing = True
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _settle(
        self, producer: Producer | None, offsets: list[TopicPartition], group_metadata: object, serial: str
    ) -> Settled:
        began = time.monotonic()
        committed = producer is not None and self._commit(producer, offsets, group_metadata)
        if committed is None:
            self._renew()
            committed = self._is_committed(offsets, serial)
        elif producer is None:
            self._renew()
        return Settled(committed, time.monotonic() - began)

    def _commit(self, producer: Producer, offsets: list[TopicPartition], group_metadata: object) -> bool | None:
        """Try to commit: True, False (known to be aborted), or None (not known)."""
        try:
            _insist(lambda: producer.send_offsets_to_transaction(offsets, group_metadata, _CALL_TIMEOUT_S))
            _insist(lambda: producer.commit_transaction(_CALL_TIMEOUT_S))
        except KafkaException as error:
            reason = error.args[0]
            _log.warning("transaction.failed", error=str(reason), abortable=reason.txn_requires_abort())
            if not reason.txn_requires_abort():
                return None
            try:
                _insist(lambda: producer.abort_transaction(_CALL_TIMEOUT_S))
            except KafkaException as abort_error:
                _log.warning("transaction.not_aborted", error=str(abort_error.args[0]))
                return None
            return False
        return True

    def _renew(self) -> None:
        """Make a new producer, and wait until the transaction of the one before has ended."""
        while not self._closing:
            if self._producer is not None:
                self._producer.purge()
            producer = self._producer = Producer(self._config, logger=logging.getLogger("signpost.kafka"))
            try:
                # Makes librdkafka find a broker at once, not at its next 500 ms tick.
                producer.list_topics(timeout=_CALL_TIMEOUT_S)
                _insist(lambda new=producer: new.init_transactions(_CALL_TIMEOUT_S))  # type: ignore[misc]  # bound now
            except KafkaException as error:
                _log.warning("transaction.waiting_for_broker", error=str(error.args[0]))
                time.sleep(ASK_AGAIN_S)
            else:
                return

    def _is_committed(self, offsets: list[TopicPartition], serial: str) -> bool:
        """Tell whether the group's committed offset is the one of this batch."""
        key = (offsets[0].topic, offsets[0].partition)
        while not self._closing:
            try:
                found = self._positions.fetch([key])[key]
            except KafkaException as error:
                _log.info("transaction.looking_up", serial=serial, error=str(error.args[0]))
                time.sleep(ASK_AGAIN_S)
                continue
            committed = (found.offset, found.metadata) == (offsets[0].offset, offsets[0].metadata)
            _log.info("transaction.looked_up", serial=serial, committed=committed)
            return committed
        return False


def _insist(call: Callable[[], None]) -> None:
    """Make a call of a transaction, again while its error can be retried, as long as the transaction may be open."""
    deadline = time.monotonic() + TRANSACTION_TIMEOUT_S
    while True:
        try:
            call()
        except KafkaException as error:
            if not error.args[0].retriable() or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return
