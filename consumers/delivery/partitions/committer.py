"""Commits the outbox about every 200 ms, and bounds how much may be uncommitted, which bounds repeats after a kill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from confluent_kafka import TopicPartition

from consumers.delivery.partitions.outbox import Batch, Outbox
from consumers.kafka.hanging import HANGING_AFTER_S
from consumers.kafka.transactions import Transactions
from consumers.service.metrics import DeliveryMetrics

COMMIT_EVERY_MS: Final = 200
# A transaction that reaches one of these is begun early, so that it stays small.
_RECORDS: Final = 4_000
_BYTES: Final = 16 * 1024 * 1024
# No attempt starts while completions have waited longer than this for their commit: that bounds repeats.
MAX_AGE_MS: Final = 2_000
# A rebalance waits at most this long for a commit.
_SETTLE_S: Final = 1.0
# Records are kept until they are committed; no attempt starts while this many bytes of them wait.
MAX_BYTES: Final = 64 * 1024 * 1024


class Committer:
    """Runs one transaction at a time; the loop goes on while a helper thread waits for the broker."""

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
        self._ended_hanging = False  # during this recovery

    @property
    def busy(self) -> bool:
        """Whether a transaction is under way."""
        return self._transactions.busy

    @property
    def idle(self) -> bool:
        """Whether everything is committed."""
        return not self.busy and self._outbox.empty

    def room(self) -> int:
        """Return how many more attempts may be uncommitted."""
        if self._outbox.bytes >= MAX_BYTES:
            return 0
        return self._max_uncommitted - self._outbox.uncommitted

    def is_overdue(self, now_ms: int) -> bool:
        """Whether completions have waited for their commit for over `MAX_AGE_MS`."""
        return self._uncommitted_since_ms is not None and now_ms - self._uncommitted_since_ms > MAX_AGE_MS

    @property
    def last_number(self) -> int:
        """Number of the transaction that was begun last."""
        return self._outbox.last_number

    def collect(self, now_ms: int, wait_s: float = 0.0) -> int:
        """Return the number of the transaction that was committed just now, else 0; waits up to `wait_s` for it."""
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
        """Begin a transaction if completions wait and it is time."""
        outbox = self._outbox
        if not outbox.pending:
            if not self.busy:
                # The partitions of what waited belong to other processes now.
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
        """End a hanging transaction of this process's predecessor, once, if it keeps positions pending for too long.

        `awaited_s` is for how long committed positions have been asked for.
        """
        if awaited_s <= HANGING_AFTER_S:
            self._ended_hanging = False
        elif not self._ended_hanging and not self.busy:
            self._ended_hanging = True
            self._transactions.end_hanging()

    def settle(self, clock: Callable[[], int], group_metadata: object) -> None:
        """End the transaction under way and commit what is pending, within a second.

        What is not committed by then stays in the outbox until it is known who owns its partitions.
        """
        deadline = clock() + int(_SETTLE_S * 1_000)
        self.collect(clock(), _SETTLE_S)
        if self.busy or clock() >= deadline:
            return
        self.commit(clock(), group_metadata, at_once=True)
        self.collect(clock(), max(0, deadline - clock()) / 1_000)
