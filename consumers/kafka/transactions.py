"""Transactions of one process: records and the offsets they come from, together or not at all.

The loop hands a batch over (`begin`) and goes on without touching the producer; a helper thread makes the blocking
calls and finds out, whatever it takes, whether the batch was committed:

    committed           commit_transaction said so, or the serial of the batch is what the group has committed
    not committed       it was aborted, or another position is committed: the batch is to be written again

A call that got no answer leaves that open, so does a fatal error (the coordinator may have ended the transaction by its
timeout). Then: a new producer, `init_transactions` (which waits until the old transaction has ended) and a look at the
committed offsets of the batch. Where these stay pending though our id has nothing open, a broker has lost an earlier
end (hanging.py): the transaction is aborted, and the process restarts, as its state may be out of date.
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
_MOST_S: Final = 160  # with twice the time after each that was not in time: of a slow broker none would ever be else
_CALL_TIMEOUT_S: Final = 5.0
_BEGIN_S: Final = 30.0
_HUNG_AFTER_S: Final = 2 * _CALL_TIMEOUT_S
# Produce must not find it full: 64 MiB of rows (committer.MAX_BYTES), and one for each of 32 MiB of jobs at hand.
QUEUE_BYTES: Final = 192 * 1024 * 1024
_NOT_BEGUN: Final[tuple[type[BaseException], ...]] = (*CLIENT_ERRORS, BufferError)
_log = structlog.get_logger("transaction")


def producer_config(kafka: Mapping[str, str], transactional_id: str, max_record: int) -> dict[str, Any]:
    """Return librdkafka's properties; `max_record` is the size in bytes of the largest record that can occur."""
    return {
        "compression.type": "lz4",
        "linger.ms": 5,  # a commit flushes: nothing waits for the linger
        **kafka,
        "transactional.id": transactional_id,
        "transaction.timeout.ms": TRANSACTION_TIMEOUT_S * 1_000,
        "retry.backoff.ms": 1,  # the default 100 ms is paid on nearly every transaction (CONCURRENT_TRANSACTIONS)
        "retry.backoff.max.ms": 5,
        "partitioner": "murmur2_random",
        "message.max.bytes": max_record,
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": QUEUE_BYTES // 1_024,
    }


@dataclass(frozen=True, slots=True)
class Settled:
    """How a transaction ended, and how long the calls took, in seconds."""

    committed: bool
    seconds: float


@dataclass(slots=True)
class _UnderWay:
    """A transaction whose end is not known yet."""

    future: Future[Settled]
    offsets: list[TopicPartition]
    serial: str
    topics: frozenset[str]  # of its rows


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
        self._generation = 0  # of producers; what a hung thread does for an older one counts for nothing
        self._call: tuple[int, float] | None = None  # generation and start of the blocking call that is being made
        self._closing = False
        self._allowed_s = TRANSACTION_TIMEOUT_S  # to each transaction, by us and by the coordinator

    @property
    def busy(self) -> bool:
        """Whether a transaction is under way."""
        return self._under_way is not None

    def start(self, stopping: Callable[[], bool]) -> bool:
        """Fence a predecessor with the same id and abort its transaction; waits for the broker, False if `stopping`."""
        future = in_thread("transaction", self._renew, self._generation)
        while not future.done():
            if stopping():
                self._closing = True
                return False
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
        producer, topics = self._producer, set[str]()
        try:
            assert producer is not None
            producer.begin_transaction()
            produce = producer.produce
            for topic, partition, key, value in records:
                topics.add(topic)
                produce(topic, value, key, partition)
        except _NOT_BEGUN as error:
            _log.warning("transaction.not_begun", error=str(error))
            producer = None
        under_way = self._under_way = _UnderWay(Future(), offsets, serial, frozenset(topics))
        under_way.future = in_thread("transaction", self._settle, producer, under_way, group_metadata, self._generation)

    def poll(self, wait_s: float = 0.0) -> Settled | None:
        """Return how the transaction under way ended, once it has; waits up to `wait_s` for it.

        Unavailable where that cannot be found out, and what is in memory is not to be trusted.
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
        """Abort hanging transactions of this id, in a thread: positions that are pending become readable then."""
        in_thread("hanging", self._sweep.by_successor, self._config)

    def close(self) -> None:
        """Give up whatever is under way: it stays undecided."""
        self._closing = True

    def _abandon(self, under_way: _UnderWay) -> None:
        """Leave a call that does not return alone with its producer, and find out what became of the transaction.

        `send_offsets_to_transaction` can hang without end, whatever its timeout (librdkafka issue 5456).
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
        began = self._monotonic_s()
        committed = None if producer is None else self._commit(producer, under_way.offsets, group_metadata, generation)
        took_s = self._monotonic_s() - began
        if committed and self._allowed_s > TRANSACTION_TIMEOUT_S > 4 * took_s:
            self._allowed_s = TRANSACTION_TIMEOUT_S
            self._renew(generation)  # the coordinator gets the timeout
        elif not committed and took_s > TRANSACTION_TIMEOUT_S / 2:
            self._allowed_s = min(2 * self._allowed_s, _MOST_S)
        if committed is None:
            return self._recover(under_way, generation, began)
        return Settled(committed, took_s)

    def _recover(self, under_way: _UnderWay, generation: int, began: float | None = None) -> Settled:
        """Make a new producer, which ends the old one's transaction, and see whether it was committed."""
        began = began or self._monotonic_s()
        self._renew(generation)
        committed = self._is_committed(under_way.offsets, under_way.serial, generation)
        while not committed and self._is_current(generation) and not self._swept(under_way.topics, generation):
            self._allowed_s = min(2 * self._allowed_s, _MOST_S)
            self._renew(generation)
        return Settled(committed, self._monotonic_s() - began)

    def _swept(self, topics: Iterable[str], generation: int) -> bool:
        """End what may hang of a transaction that was not committed, before its rows are written again."""
        producer, allowed_s = self._producer, self._allowed_s
        assert producer is not None
        try:
            self._calling(generation, self._monotonic_s() + 2 * allowed_s - _HUNG_AFTER_S)  # for all of its calls
            self._sweep.through(producer, topics, allowed_s / 2)
        except CLIENT_ERRORS as error:
            _log.warning("transaction.not_swept", error=str(reason_of(error)))
            return False
        finally:
            self._calling(generation, None)
        return True

    def _commit(
        self, producer: Producer, offsets: list[TopicPartition], group_metadata: object, generation: int
    ) -> bool | None:
        """Try to commit: True, False (known to be aborted), or None (not known)."""
        try:
            send = partial(producer.send_offsets_to_transaction, offsets, group_metadata, _CALL_TIMEOUT_S)
            self._insist(send, generation)
            self._insist(partial(producer.commit_transaction, _CALL_TIMEOUT_S), generation)
        except CLIENT_ERRORS as error:
            reason = reason_of(error)
            _log.warning("transaction.failed", error=str(reason), abortable=reason.txn_requires_abort())
            if not reason.txn_requires_abort():
                return None
            try:
                self._insist(partial(producer.abort_transaction, _CALL_TIMEOUT_S), generation)
            except CLIENT_ERRORS as abort_error:
                _log.warning("transaction.not_aborted", error=str(reason_of(abort_error)))
                return None
            return False
        return True

    def _renew(self, generation: int) -> None:
        """Make a new producer, and wait until the transaction of the one before has ended."""
        while self._is_current(generation):
            if self._producer is not None:
                self._producer.purge()
            config = {**self._config, "transaction.timeout.ms": self._allowed_s * 1_000}
            producer = self._producer = Producer(config, logger=logging.getLogger("signpost.kafka"))
            try:
                # Makes librdkafka find a broker at once, not at its next 500 ms tick.
                with suppress(*CLIENT_ERRORS):
                    producer.list_topics(timeout=_CALL_TIMEOUT_S)
                self._insist(partial(producer.init_transactions, _CALL_TIMEOUT_S), generation, for_s=_BEGIN_S)
            except CLIENT_ERRORS as error:
                _log.warning("transaction.init_failed", error=str(reason_of(error)))
                time.sleep(ASK_AGAIN_S)
            else:
                return

    def _is_committed(self, offsets: list[TopicPartition], serial: str, generation: int) -> bool:
        """Tell whether the group's committed offset is the one of this batch."""
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
            _log.info("transaction.looked_up", serial=serial, committed=committed)
            return committed
        return False

    def _is_current(self, generation: int) -> bool:
        return generation == self._generation and not self._closing

    def _calling(self, generation: int, since_s: float | None) -> None:
        """Note when a call was begun, or that it has returned; one of an abandoned producer says nothing any more."""
        if generation == self._generation:
            self._call = None if since_s is None else (generation, since_s)

    def _insist(self, call: Callable[[], object], generation: int, for_s: float | None = None) -> None:
        """Make a call of a transaction, again while its error can be retried and the transaction may be open."""
        deadline = self._monotonic_s() + (self._allowed_s if for_s is None else for_s)
        while True:
            self._calling(generation, self._monotonic_s())
            try:
                call()
                return
            except CLIENT_ERRORS as error:
                if not reason_of(error).retriable() or self._monotonic_s() > deadline or self._closing:
                    raise
            finally:
                self._calling(generation, None)
            time.sleep(0.005)
