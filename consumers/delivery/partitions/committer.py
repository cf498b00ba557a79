"""Commits the outbox about every 200 ms. Limits uncommitted results, and so the requests repeated after a kill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from confluent_kafka import TopicPartition

from consumers.delivery.partitions.outbox import Batch, Outbox
from consumers.kafka.hanging import HANGING_AFTER_S
from consumers.kafka.transactions import Transactions
from consumers.service.metrics import DeliveryMetrics

COMMIT_EVERY_MS: Final = 200
# An outbox that reaches one of these is committed early, so that transactions stay small.
_RECORDS: Final = 4_000
_BYTES: Final = 16 * 1024 * 1024
# No attempt starts while completions have waited longer than this for their commit. That limits repeated requests.
MAX_AGE_MS: Final = 2_000
# A rebalance waits at most this long for a commit.
_SETTLE_S: Final = 1.0
# No attempt starts while this many bytes of records wait for their commit.
MAX_BYTES: Final = 64 * 1024 * 1024


class Committer:
    """Runs one transaction at a time. A background thread waits for the broker, so the loop does not block."""

    def __init__(
        self, outbox: Outbox, transactions: Transactions, *, max_uncommitted: int, metrics: DeliveryMetrics
    ) -> None:
        self._outbox = outbox
        self._transactions = transactions
        self._max_uncommitted = max_uncommitted
        self._metrics = metrics
        self._batch: Batch | None = None
        self._closed_ms = 0
        self._uncommitted_since_ms: int | None = None
        self._ended_hanging = False  # a hanging transaction was ended during this recovery

    @property
    def busy(self) -> bool:
        """Whether a transaction is under way."""
        return self._transactions.busy

    @property
    def idle(self) -> bool:
        """Whether everything is committed."""
        return not self.busy and self._outbox.empty

    def room(self) -> int:
        """Return how many more jobs may be uncommitted; 0 or less: no attempt may start."""
        if self._outbox.bytes >= MAX_BYTES:
            return 0
        return self._max_uncommitted - self._outbox.uncommitted

    def is_overdue(self, now_ms: int) -> bool:
        """Whether completions have waited for their commit for longer than `MAX_AGE_MS`."""
        return self._uncommitted_since_ms is not None and now_ms - self._uncommitted_since_ms > MAX_AGE_MS

    @property
    def last_number(self) -> int:
        """Number of the transaction that was begun last."""
        return self._outbox.last_number

    def collect(self, now_ms: int, wait_s: float = 0.0) -> int:
        """Wait up to `wait_s` for the transaction to end. Return its number if it has just been committed, else 0."""
        settled = self._transactions.poll(wait_s)
        if settled is None:
            return 0
        batch = self._batch
        assert batch is not None
        self._batch = None
        if settled.committed:
            self._outbox.committed(batch)
            self._uncommitted_since_ms = now_ms if self._outbox.pending else None
        else:
            self._outbox.aborted(batch)
            self._closed_ms = 0
        self._metrics.on_transaction("committed" if settled.committed else "aborted", settled.seconds)
        return batch.number if settled.committed else 0

    def commit(self, now_ms: int, group_metadata: object, *, at_once: bool = False) -> None:
        """Begin a transaction if completions wait and one is due, or at once."""
        outbox = self._outbox
        if not outbox.pending:
            if not self.busy:
                # The completions that waited were of partitions that belong to other processes now.
                self._uncommitted_since_ms = None
            return
        if self._uncommitted_since_ms is None:
            self._uncommitted_since_ms = now_ms
        if self.busy:
            return
        large = outbox.record_count >= min(_RECORDS, self._max_uncommitted // 2) or outbox.bytes >= _BYTES
        if not (at_once or large or now_ms - self._closed_ms >= COMMIT_EVERY_MS):
            return
        batch = outbox.close_batch()
        offsets = [
            TopicPartition(partition.topic, partition.number, position.offset, position.metadata)
            for partition, position in batch.positions.items()
        ]
        self._closed_ms = now_ms
        self._batch = batch
        records = [record for completion in batch.completions for record in completion.records]
        self._transactions.begin(records, offsets, group_metadata, batch.serial)

    def while_recovering(self, awaited_s: float) -> None:
        """End a hanging transaction of this process's predecessor if offsets stay pending too long; once in a recovery.

        `awaited_s`: how long the recovery has waited for committed positions.
        """
        if awaited_s <= HANGING_AFTER_S:
            self._ended_hanging = False
        elif not self._ended_hanging and not self.busy:
            self._ended_hanging = True
            self._transactions.end_hanging()

    def settle(self, clock: Callable[[], int], group_metadata: object) -> None:
        """Finish the transaction under way and commit what is pending, within a second.

        What is not committed by then stays in the outbox until the next assignment.
        """
        deadline = clock() + int(_SETTLE_S * 1_000)
        self.collect(clock(), _SETTLE_S)
        if self.busy or clock() >= deadline:
            return
        self.commit(clock(), group_metadata, at_once=True)
        self.collect(clock(), max(0, deadline - clock()) / 1_000)
