"""The loop of the ledger: reads outcomes, dead letters and operations, and writes them in batches.

A batch has at most 2,000 records, or what arrived within 200 ms. Its database transaction contains the positions, so
each outcome counts exactly once, whatever dies. While the database is away, the process stays in its group and reads
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

import structlog

from consumers.kafka.admin import REQUEST_ERRORS, sentence_of
from consumers.kafka.connectivity import ConnectivityMonitor
from consumers.kafka.dead_letters import SourceRecord
from consumers.kafka.positions import PartitionKey
from consumers.kafka.threads import in_thread
from consumers.kafka.topic_reader import Range, TopicReader
from consumers.kafka.waiting_records import WaitingRecords
from consumers.ledger.fold import fold
from consumers.ledger.lookup import look_up
from consumers.ledger.outcome_traces import OutcomeTraces
from consumers.ledger.records import readers_of
from consumers.ledger.rows import Advance, Kept, Unwritten
from consumers.ledger.source import LedgerSource, start_of
from consumers.ledger.writer import DatabaseAway, LedgerWriter, Overtaken
from consumers.service.metrics import LedgerMetrics
from schemas.catalog.errors import UnreadableRecord
from schemas.records.topics import TopicNames

BATCH: Final = 2_000
BATCH_S: Final = 0.2
RETRY_S: Final = 1.0
KEEP_S: Final = 60.0
OBSERVE_S: Final = 1.0
CLOSE_S: Final = 2.0
_WAIT_S: Final = 0.1

_log = structlog.get_logger("ledger")
T = TypeVar("T")


class LedgerLoop:
    """One ledger process. `now_s` is a monotonic clock, `now_ms` the time of day in Unix ms.

    Without `traces` no header of an outcome is read.
    """

    def __init__(
        self,
        *,
        names: TopicNames,
        source: LedgerSource,
        writer: LedgerWriter,
        reader: TopicReader,
        connectivity: ConnectivityMonitor,
        waiting: WaitingRecords,
        metrics: LedgerMetrics,
        retention_days: int,
        now_s: Callable[[], float],
        now_ms: Callable[[], int],
        traces: OutcomeTraces | None = None,
    ) -> None:
        self._outcomes_topic = names.outcomes
        self._traces = traces
        self._source = source
        self._writer = writer
        self._reader = reader
        self._connectivity = connectivity
        self._waiting = waiting
        self._metrics = metrics
        self._retention_days = retention_days
        self._now_s = now_s
        self._now_ms = now_ms
        self._take = readers_of(names)
        self._assignment = -1
        self._logs: Future[list[Range]] | None = None
        self._positions: dict[PartitionKey, int | None] = {}  # as the database has them
        self._read: dict[PartitionKey, int] = {}  # the next offset to read
        self._unwritten_from: dict[PartitionKey, int] = {}  # the first offset that is not in the database
        self._unwritten = Unwritten()
        self._has_advanced = False  # `_read` is ahead of `_positions`
        self._due_s = 0.0
        self._retry_s = 0.0
        self._keep_s = 0.0
        self._prepared_until_ms = 0
        self._observe_s = 0.0
        self._database_error: str | None = None

    def why_not_ready(self) -> str | None:
        """Return why nothing is written, None if it is; any thread may call it."""
        if self._database_error is not None:
            return self._database_error
        if self._connectivity.disconnected is not None:
            return self._connectivity.disconnected
        if self._now_ms() >= self._prepared_until_ms:
            return "the tables are not prepared for today"
        return None if self._source.reading else "the positions of the assigned partitions are not known yet"

    @property
    def unanswered(self) -> bool:
        """Whether the brokers do not respond, or the partitions were lost and none has been assigned since."""
        return self._connectivity.disconnected is not None or self._source.lost

    def run(self, stopping: Callable[[], bool]) -> bool:
        """Write until `stopping`; False if records that were read could not be written. They are read again."""
        self._source.subscribe()
        try:
            while not stopping():
                self._turn()
            if self._has_advanced and self._source.assignment == self._assignment:
                self._write(self._now_s())
            if self._has_advanced:
                _log.warning("ledger.drained", complete=False, unwritten=self._unwritten.size)
                return False
            _log.info("ledger.drained", complete=True)
            return True
        finally:
            self._source.close(CLOSE_S)
            self._writer.close()

    def _turn(self) -> None:
        now_s = self._now_s()
        self._connectivity.poll(now_s)
        if self._source.misplaced:
            self._source.restart()
        if self._source.assignment != self._assignment:
            self._forget()
        may_use_database = now_s >= self._retry_s
        if not self._source.reading and self._source.owned and may_use_database:
            self._find_positions(now_s)
        self._poll(now_s)
        if self._source.assignment != self._assignment:
            return
        now_s = self._now_s()
        if may_use_database and now_s >= self._keep_s:
            self._keep(now_s)
        is_due = self._has_advanced and (self._unwritten.size >= BATCH or now_s >= self._due_s)
        if may_use_database and is_due:
            self._write(now_s)
        if now_s >= self._observe_s:
            self._observe_s = now_s + OBSERVE_S
            self._observe(now_s)

    def _poll(self, now_s: float) -> None:
        """Take the records that arrive before the batch is due; without a database only stay in the group."""
        room = BATCH - self._unwritten.size if self._database_error is None else 0
        wait_s = max(0.0, min(_WAIT_S, self._due_s - now_s)) if self._has_advanced and room else _WAIT_S
        messages = self._source.poll(wait_s, room)
        if messages and not self._has_advanced:
            self._has_advanced = True
            self._due_s = self._now_s() + BATCH_S
        read, take, unwritten, traces = self._read, self._take, self._unwritten, self._traces
        for message in messages:
            topic = message.topic()
            read[topic, message.partition()] = message.offset() + 1
            try:
                take[topic](message, unwritten)
            except UnreadableRecord as error:
                self._on_unreadable(message, error)
                continue
            if traces is not None and topic == self._outcomes_topic:
                traces.on_read(message, unwritten.outcomes[-1])

    def _on_unreadable(self, message: SourceRecord, error: UnreadableRecord) -> None:
        """Report a record that is no record of Signpost. Its bytes stay on its topic as long as all others."""
        self._metrics.on_unreadable(error.reason)
        place = {"topic": message.topic(), "partition": message.partition(), "offset": message.offset()}
        # Without the detail, which may quote the record.
        _log.warning("record.skipped", reason=error.reason, **place)

    def _forget(self) -> None:
        """Drop the records of an assignment that has ended. The next owner of a partition reads them again."""
        self._assignment = self._source.assignment
        self._logs = None
        self._positions.clear()
        self._read.clear()
        self._unwritten_from.clear()
        self._unwritten = Unwritten()
        self._has_advanced = False
        if self._traces is not None:
            self._traces.forget()

    def _find_positions(self, now_s: float) -> None:
        """Start to read when the positions in the database and the logs' beginnings and ends are known."""
        if self._logs is None:
            self._logs = in_thread("positions", self._reader.ranges, list(self._source.owned))
            return
        if not self._logs.done():
            return
        logs, self._logs = self._logs, None
        try:
            ranges = logs.result()
        except REQUEST_ERRORS as error:
            self._retry_s = now_s + RETRY_S
            _log.info("positions.fetch_failed", error=sentence_of(error))
            return
        found = self._with_database(now_s, self._writer.positions)
        if found is None:
            return
        self._positions = {key: found.get(key) for key in self._source.owned}
        starts = {log.key: start_of(log, self._positions[log.key]) for log in ranges}
        for start in starts.values():
            if start.lost is not None:
                self._metrics.on_truncated(start.lost.count)
                place = {"topic": start.lost.topic, "partition": start.lost.partition}
                _log.warning("records.truncated", records=start.lost.count, **place)
        self._read = {key: start.offset for key, start in starts.items()}
        self._unwritten_from = dict(self._read)
        self._source.start(self._read)

    def _write(self, now_s: float) -> None:
        kept = self._kept()
        advances = {
            key: Advance(self._positions[key], offset)
            for key, offset in self._read.items()
            if offset != self._positions[key]
        }

        def write() -> bool:
            known = look_up(self._writer, self._unwritten.outcomes, kept)
            self._writer.write(fold(self._unwritten, known, advances, kept))
            return True

        try:
            written = self._with_database(now_s, write)
        except Overtaken as error:
            _log.warning("batch.refused", error=str(error))
            self._source.restart()
            return
        if not written:
            return
        self._metrics.on_batch(len(self._unwritten.outcomes), self._now_s() - now_s)
        for key, advance in advances.items():
            self._positions[key] = advance.next_offset
        self._unwritten_from = dict(self._read)
        self._unwritten = Unwritten()
        self._has_advanced = False
        if self._traces is not None:
            self._traces.on_written()

    def _keep(self, now_s: float) -> None:
        """Remove a slice of old rows, or prepare for the days to come."""
        kept = self._kept()
        remain = self._with_database(now_s, lambda: self._writer.keep(kept))
        if remain is not None:
            self._prepared_until_ms = kept.end_ms
            self._keep_s = now_s if remain else now_s + KEEP_S

    def _with_database(self, now_s: float, call: Callable[[], T]) -> T | None:
        """Make a call; None if the database is away. It is tried again in a second."""
        try:
            result = call()
        except DatabaseAway as error:
            if self._database_error is None:
                _log.warning("database.disconnected", error=str(error))
            self._database_error = str(error)
            self._retry_s = now_s + RETRY_S
            return None
        if self._database_error is not None:
            _log.info("database.connected")
        self._database_error = None
        return result

    def _kept(self) -> Kept:
        return Kept.at(self._now_ms(), self._retention_days)

    def _observe(self, now_s: float) -> None:
        self._metrics.set_waiting_for_broker(self.unanswered)
        self._metrics.set_waiting_for_database(self._database_error is not None)
        self._metrics.set_prepared(max(0, self._prepared_until_ms - self._now_ms()) / 1_000)
        self._waiting.turn(now_s, self._unwritten_from)
        self._metrics.set_lag(self._waiting.by_topic(self._unwritten_from))
        self._metrics.set_unread_age(self._waiting.ages_by_topic(self._unwritten_from))
        oldest_ms = min((one.recorded_at_ms for one in self._unwritten.outcomes[:1]), default=None)
        self._metrics.set_lag_seconds(0.0 if oldest_ms is None else max(0, self._now_ms() - oldest_ms) / 1_000)
