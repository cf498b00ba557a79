"""Kafka transactions of one process: a batch of records and the offsets of their sources, committed atomically.

The loop passes a batch to `begin` and continues without touching the producer. A helper thread makes the blocking calls
and finds out whether the batch was committed:

    committed           commit_transaction succeeded, or the committed position of the group has the serial of the batch
    not committed       the transaction was aborted, or another position is committed: the batch is written again

After a call without a response, or a fatal error, the result is unknown: the coordinator may have ended the transaction
after its timeout. The thread then makes a new producer, calls `init_transactions`, which waits until the old
transaction has ended, and fetches the committed offsets of the batch. If these stay pending although our id has no open
transaction, a broker has lost an end marker (hanging.py). The thread aborts that transaction, and the process restarts,
as its state may be out of date.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog
from confluent_kafka import Producer, TopicPartition

from consumers.kafka.admin import CLIENT_ERRORS, reason_of
from consumers.kafka.hanging import HANGING_AFTER_S, Sweep
from consumers.kafka.outgoing_record import OutgoingRecord
from consumers.kafka.positions import ASK_AGAIN_S, CommittedPositions
from consumers.kafka.threads import in_thread
from schemas.catalog.errors import Unavailable

TRANSACTION_TIMEOUT_S: Final = 10
MAX_TIMEOUT_S: Final = 160  # each time-out doubles the timeout, as no transaction would complete on a slow broker
_CALL_TIMEOUT_S: Final = 5.0
_BEGIN_S: Final = 30.0
_HUNG_AFTER_S: Final = 2 * _CALL_TIMEOUT_S
# `produce` must never find the queue full: 64 MiB of records (committer.MAX_BYTES), and one for each buffered job (32
# MiB).
QUEUE_BYTES: Final = 192 * 1024 * 1024
_BEGIN_ERRORS: Final[tuple[type[BaseException], ...]] = (*CLIENT_ERRORS, BufferError)
_log = structlog.get_logger("transaction")


def producer_config(kafka: Mapping[str, str], transactional_id: str, max_record: int) -> dict[str, Any]:
    """Return librdkafka's properties; `max_record` is the size in bytes of the largest record that can occur."""
    return {
        "compression.type": "lz4",
        "linger.ms": 5,  # a commit flushes, so nothing waits this long
        **kafka,
        "transactional.id": transactional_id,
        "transaction.timeout.ms": TRANSACTION_TIMEOUT_S * 1_000,
        "retry.backoff.ms": 1,  # the default of 100 ms would delay nearly every transaction (CONCURRENT_TRANSACTIONS)
        "retry.backoff.max.ms": 5,
        "partitioner": "murmur2_random",
        "message.max.bytes": max_record,
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": QUEUE_BYTES // 1_024,
    }


@dataclass(frozen=True, slots=True)
class Settled:
    """Result of a transaction, and the duration of its calls in seconds."""

    committed: bool
    seconds: float


@dataclass(slots=True)
class _UnderWay:
    """A transaction whose result is not known yet."""

    future: Future[Settled]
    offsets: list[TopicPartition]
    serial: str
    topics: frozenset[str]  # of its records


class Transactions:
    """The transactional producer of this process, one transaction at a time; used by one thread."""

    def __init__(
        self,
        config: Mapping[str, Any],
        positions: CommittedPositions,
        sweep: Sweep,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = dict(config)
        self._positions = positions
        self._sweep = sweep
        self._monotonic_s = monotonic_s
        self._producer: Producer | None = None
        self._under_way: _UnderWay | None = None
        self._generation = 0  # of producers; results of a hung thread for an older one are ignored
        self._call: tuple[int, float] | None = None  # generation and start of the current blocking call
        self._closing = False
        self._timeout_s = TRANSACTION_TIMEOUT_S  # of a transaction, in this process and at the coordinator

    @property
    def busy(self) -> bool:
        """Whether a transaction is under way."""
        return self._under_way is not None

    def start(self, stopping: Callable[[], bool]) -> bool:
        """Fence a predecessor with the same id and abort its transaction; waits for the broker. False if `stopping`."""
        future = in_thread("transaction", self._renew, self._generation)
        while not future.done():
            if stopping():
                self._closing = True
                return False
            if self._is_hung():
                _log.warning("transaction.hung", after_s=_HUNG_AFTER_S)
                self._generation += 1
                future = in_thread("transaction", self._renew, self._generation)
            wait([future], ASK_AGAIN_S)
        future.result()
        return True

    def begin(
        self,
        records: Iterable[OutgoingRecord],
        offsets: list[TopicPartition],
        group_metadata: object,
        serial: str,
    ) -> None:
        """Write records and offsets with metadata in one transaction."""
        producer = self._producer
        topics = set[str]()
        try:
            assert producer is not None
            producer.begin_transaction()
            produce = producer.produce
            for topic, partition, key, value, headers in records:
                topics.add(topic)
                if headers is None:
                    produce(topic, value, key, partition)
                else:
                    produce(topic, value, key, partition, headers=headers)
        except _BEGIN_ERRORS as error:
            _log.warning("transaction.begin_failed", error=str(error))
            producer = None
        under_way = _UnderWay(Future(), offsets, serial, frozenset(topics))
        self._under_way = under_way
        under_way.future = in_thread("transaction", self._settle, producer, under_way, group_metadata, self._generation)

    def poll(self, wait_s: float = 0.0) -> Settled | None:
        """Return the result of the transaction under way once it is known; waits up to `wait_s` for it.

        Unavailable if it cannot be found out: the state in memory may be wrong.
        """
        under_way = self._under_way
        if under_way is None:
            return None
        if not under_way.future.done():
            if wait_s > 0:
                wait([under_way.future], wait_s)
            elif self._is_hung():
                self._abandon(under_way)
        if not under_way.future.done():
            return None
        self._under_way = None
        return under_way.future.result()

    def end_hanging(self) -> None:
        """Abort hanging transactions of this id in a thread, which makes pending positions readable."""
        in_thread("hanging", self._sweep.by_successor, self._config)

    def close(self) -> None:
        """Abandon the transaction under way; its result stays unknown."""
        self._closing = True

    def _abandon(self, under_way: _UnderWay) -> None:
        """Abandon a call that does not return, with its producer, and find out whether the transaction committed.

        `send_offsets_to_transaction` can hang despite its timeout (librdkafka issue 5456).
        """
        _log.warning("transaction.hung", serial=under_way.serial, after_s=_HUNG_AFTER_S)
        self._generation += 1
        under_way.future = in_thread("transaction", self._recover, under_way, self._generation)

    def _is_hung(self) -> bool:
        call = self._call
        return call is not None and call[0] == self._generation and self._monotonic_s() - call[1] > _HUNG_AFTER_S

    def _settle(
        self, producer: Producer | None, under_way: _UnderWay, group_metadata: object, generation: int
    ) -> Settled:
        began_s = self._monotonic_s()
        committed = None if producer is None else self._commit(producer, under_way.offsets, group_metadata, generation)
        took_s = self._monotonic_s() - began_s
        if committed and self._timeout_s > TRANSACTION_TIMEOUT_S > 4 * took_s:
            self._timeout_s = TRANSACTION_TIMEOUT_S
            self._renew(generation)  # passes the timeout to the coordinator
        elif not committed and took_s > TRANSACTION_TIMEOUT_S / 2:
            self._double_timeout()
        if committed is None:
            return self._recover(under_way, generation, began_s)
        return Settled(committed, took_s)

    def _double_timeout(self) -> None:
        self._timeout_s = min(2 * self._timeout_s, MAX_TIMEOUT_S)

    def _recover(self, under_way: _UnderWay, generation: int, began_s: float | None = None) -> Settled:
        """Make a new producer, which ends the old transaction, and find out whether that was committed."""
        if began_s is None:
            began_s = self._monotonic_s()
        self._renew(generation)
        committed = self._is_committed(under_way.offsets, under_way.serial, generation)
        while not committed and self._is_current(generation) and not self._swept(under_way.topics, generation):
            self._double_timeout()
            self._renew(generation)
        return Settled(committed, self._monotonic_s() - began_s)

    def _swept(self, topics: Iterable[str], generation: int) -> bool:
        """End a transaction that may hang before its records are written again; False if that failed."""
        producer = self._producer
        timeout_s = self._timeout_s
        assert producer is not None
        try:
            # One start time for all calls of the sweep.
            self._record_call(generation, self._monotonic_s() + 2 * timeout_s - _HUNG_AFTER_S)
            self._sweep.through(producer, topics, timeout_s / 2)
        except CLIENT_ERRORS as error:
            _log.warning("transaction.sweep_failed", error=str(reason_of(error)))
            return False
        finally:
            self._record_call(generation, None)
        return True

    def _commit(
        self, producer: Producer, offsets: list[TopicPartition], group_metadata: object, generation: int
    ) -> bool | None:
        """Commit; return True, False (aborted), or None (unknown)."""
        try:
            send = partial(producer.send_offsets_to_transaction, offsets, group_metadata, _CALL_TIMEOUT_S)
            self._retry(send, generation)
            self._retry(partial(producer.commit_transaction, _CALL_TIMEOUT_S), generation)
        except CLIENT_ERRORS as error:
            reason = reason_of(error)
            _log.warning("transaction.failed", error=str(reason), abortable=reason.txn_requires_abort())
            if not reason.txn_requires_abort():
                return None
            try:
                self._retry(partial(producer.abort_transaction, _CALL_TIMEOUT_S), generation)
            except CLIENT_ERRORS as abort_error:
                _log.warning("transaction.abort_failed", error=str(reason_of(abort_error)))
                return None
            return False
        return True

    def _renew(self, generation: int) -> None:
        """Make a new producer, and wait until the transaction of the previous one has ended."""
        while self._is_current(generation):
            if self._producer is not None:
                self._producer.purge()
            config = {**self._config, "transaction.timeout.ms": self._timeout_s * 1_000}
            producer = Producer(config, logger=logging.getLogger("signpost.kafka"))
            self._producer = producer
            try:
                # librdkafka then connects to a broker at once, not at its next 500 ms tick.
                with suppress(*CLIENT_ERRORS):
                    producer.list_topics(timeout=_CALL_TIMEOUT_S)
                self._retry(partial(producer.init_transactions, _CALL_TIMEOUT_S), generation, for_s=_BEGIN_S)
            except CLIENT_ERRORS as error:
                _log.warning("transaction.init_failed", error=str(reason_of(error)))
                time.sleep(ASK_AGAIN_S)
            else:
                return

    def _is_committed(self, offsets: list[TopicPartition], serial: str, generation: int) -> bool:
        """Return whether the group's committed offset is the one of this batch."""
        key = (offsets[0].topic, offsets[0].partition)
        since_s = self._monotonic_s()
        while self._is_current(generation):
            try:
                found = self._positions.fetch([key])[key]
            except CLIENT_ERRORS as error:
                _log.info("transaction.lookup_failed", serial=serial, error=str(reason_of(error)))
                if self._monotonic_s() - since_s > HANGING_AFTER_S:
                    if self._sweep.by_successor(self._config):
                        raise Unavailable(
                            "a broker lost the end of a transaction, which has now been aborted"
                        ) from error
                    since_s = self._monotonic_s()
                time.sleep(ASK_AGAIN_S)
                continue
            committed = (found.offset, found.metadata) == (offsets[0].offset, offsets[0].metadata)
            _log.info("transaction.resolved", serial=serial, committed=committed)
            return committed
        return False

    def _is_current(self, generation: int) -> bool:
        return generation == self._generation and not self._closing

    def _record_call(self, generation: int, since_s: float | None) -> None:
        """Record the start of a call, or None when it has returned; calls of an abandoned producer are ignored."""
        if generation == self._generation:
            self._call = None if since_s is None else (generation, since_s)

    def _retry(self, call: Callable[[], object], generation: int, for_s: float | None = None) -> None:
        """Make a call of a transaction, and retry while its error is retriable and the transaction may be open."""
        deadline_s = self._monotonic_s() + (self._timeout_s if for_s is None else for_s)
        while True:
            self._record_call(generation, self._monotonic_s())
            try:
                call()
                return
            except CLIENT_ERRORS as error:
                if not reason_of(error).retriable() or self._monotonic_s() > deadline_s or self._closing:
                    raise
            finally:
                self._record_call(generation, None)
            time.sleep(0.005)
