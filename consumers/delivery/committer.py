"""Commits what is in the outbox, about every 200 ms, and says whether repeats are bounded enough to start more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from confluent_kafka import TopicPartition

from consumers.delivery.outbox import Batch, Outbox
from consumers.runtime.hanging import HANGING_AFTER_S
from consumers.runtime.transaction import Settled, Transactions

COMMIT_EVERY_MS: Final = 200
# What one transaction holds at most before it is sealed early: keeps it, and what waits behind it, small.
_ROWS: Final = 4_000
_BYTES: Final = 16 * 1024 * 1024
# No attempt starts while the last commit is older, with work pending: that bounds repeats.
MAX_AGE_MS: Final = 2_000
# A rebalance waits no longer than this for what is not committed yet.
_SETTLE_S: Final = 1.0
# Rows are kept until they are committed; with so much of them waiting for a transaction nothing more is started.
MAX_BYTES: Final = 64 * 1024 * 1024


class CommitObserver(Protocol):
    """Who wants to know how transactions end."""

    def settled(self, settled: Settled) -> None:
        """Hear of the end of a transaction."""
        ...


class Committer:
    """One transaction at a time; the loop goes on while its helper thread waits for the broker."""

    def __init__(
        self, outbox: Outbox, transactions: Transactions, *, max_uncommitted: int, observer: CommitObserver
    ) -> None:
        self._outbox = outbox
        self._transactions = transactions
        self._max_uncommitted = max_uncommitted
        self._observer = observer
        self._batch: Batch | None = None
        self._sealed_ms = 0
        self._unproven_since_ms: int | None = None
        self._ended_hanging = False  # in this takeover

    @property
    def busy(self) -> bool:
        """Whether a transaction is under way."""
        return self._transactions.busy

    @property
    def idle(self) -> bool:
        """Whether everything that happened is committed."""
        return not self.busy and self._outbox.empty

    def room(self) -> int:
        """Return how many more attempts may be uncommitted."""
        if self._outbox.bytes >= MAX_BYTES:
            return 0
        return self._max_uncommitted - self._outbox.uncommitted

    def is_overdue(self, now_ms: int) -> bool:
        """Whether something has been waiting for its commit for too long."""
        return self._unproven_since_ms is not None and now_ms - self._unproven_since_ms > MAX_AGE_MS

    @property
    def last_number(self) -> int:
        """Number of the transaction that was begun last."""
        return self._outbox.last_number

    def collect(self, now_ms: int, wait_s: float = 0.0) -> int:
        """See whether the transaction under way has ended; return its number if it was committed just now, else 0."""
        settled = self._transactions.poll(wait_s)
        if settled is None:
            return 0
        batch = self._batch
        assert batch is not None
        self._batch = None
        if settled.committed:
            self._outbox.committed(batch)
            self._unproven_since_ms = now_ms if self._outbox.pending else None
        else:
            self._outbox.aborted(batch)
            self._sealed_ms = 0
        self._observer.settled(settled)
        return batch.number if settled.committed else 0

    def commit(self, now_ms: int, group_metadata: object, *, at_once: bool = False) -> None:
        """Begin a transaction if there is something to commit and it is time to."""
        outbox = self._outbox
        if not outbox.pending:
            if not self.busy:
                # What was to be committed last is with partitions that others have now.
                self._unproven_since_ms = None
            return
        if self._unproven_since_ms is None:
            self._unproven_since_ms = now_ms
        if self.busy:
            return
        large = outbox.rows_pending >= min(_ROWS, self._max_uncommitted // 2) or outbox.bytes >= _BYTES
        if not (at_once or large or now_ms - self._sealed_ms >= COMMIT_EVERY_MS):
            return
        batch = outbox.seal()
        offsets = [
            TopicPartition(lane.topic, lane.partition, position.offset, position.metadata)
            for lane, position in batch.positions.items()
        ]
        self._sealed_ms = now_ms
        self._batch = batch
        rows = (row[:4] for row in batch.rows)
        self._transactions.begin(rows, offsets, group_metadata, batch.serial)

    def while_taking_over(self, awaited_s: float) -> None:
        """Note for how long committed positions have been awaited; too long: they are pending, and stay so.

        Where that is for a transaction of this process's predecessor, it is ended.
        """
        if awaited_s <= HANGING_AFTER_S:
            self._ended_hanging = False
        elif not self._ended_hanging and not self.busy:
            self._ended_hanging = True
            self._transactions.end_hanging()

    def settle(self, clock: Callable[[], int], group_metadata: object) -> None:
        """End what is under way and commit what is pending, within a second; the rest is decided later."""
        deadline = clock() + int(_SETTLE_S * 1_000)
        self.collect(clock(), _SETTLE_S)
        if self.busy or clock() >= deadline:
            return
        self.commit(clock(), group_metadata, at_once=True)
        self.collect(clock(), max(0, deadline - clock()) / 1_000)
