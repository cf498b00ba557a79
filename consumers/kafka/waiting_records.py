"""Counts the records that wait in partitions, and their age. Their number is not a difference of offsets.

A log has offsets that no consumer gets: transaction markers and records of aborted transactions. A job that waits alone
in a delay topic takes two offsets. So a helper thread requests the ends of the logs every few seconds. It reads what
was appended, with a consumer of its own, and keeps the offsets of the records until the role has passed them.

Records that were appended after the last look are not counted. Records of open transactions cannot be read, and records
beyond the limits below are not read. There each offset counts as a record, so the number is an upper bound.

The age is that of the oldest record that waits, by its timestamp. Of the fast partitions of a topic only the one that
is furthest behind is sampled; the others count as current.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

import structlog
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, IsolationLevel

from consumers.kafka.admin import REQUEST_ERRORS, sentence_of
from consumers.kafka.positions import PartitionKey
from consumers.kafka.threads import in_thread
from consumers.kafka.topic_reader import Range, TopicReader, place_of

_log = structlog.get_logger("lag")
EVERY_S: Final = 5.0
# Offsets that one look reads, and offsets of records that are kept. They bound the CPU and memory of the count.
MAX_READ: Final = 5_000
MAX_KEPT: Final = 100_000
# A partition that advanced further than this since the last look is not read a second time for its count.
FAST: Final = 1_000
# Offsets that a look reads of a fast partition, for a timestamp. The role has passed them when the look ends.
SAMPLE: Final = 8
# The timestamp of a record without one: it never has an age.
_NO_TIME_MS: Final = 1 << 62
# The reader needs only offsets and timestamps, so it fetches little ahead. Properties of the settings override these.
TUNING: Final = {"queued.max.messages.kbytes": "512", "fetch.message.max.bytes": "131072"}


@dataclass(slots=True)
class Known:
    """The offsets of the records of one partition from `begin` up to `read_to`, and the end of its log."""

    begin: int
    read_to: int
    end: int
    offsets: array[int] = field(default_factory=lambda: array("q"))
    timestamps: array[int] = field(default_factory=lambda: array("q"))  # of the same records, in Unix ms
    passed_ms: int | None = None  # timestamp of the last record that was passed since the last look

    def count(self, position: int) -> int:
        """Return the number of records from `position` on. Where nothing was read, each offset counts as a record."""
        before = max(0, min(self.begin, self.end) - position)
        beyond = max(0, self.end - max(self.read_to, position))
        return before + len(self.offsets) - bisect_left(self.offsets, position) + beyond

    def oldest_ms(self, position: int) -> int | None:
        """Return the timestamp of the oldest record from `position` on; None: none waits, or nothing is known of it.

        Of a fast partition it is the timestamp of a record shortly before the position.
        """
        oldest = bisect_left(self.offsets, position)
        if oldest < len(self.offsets):
            return self.timestamps[oldest]
        return self.passed_ms if self.count(position) else None

    def add(self, offset: int, timestamp: tuple[int, int]) -> None:
        """Add a record, which was read, with the timestamp that the client returns."""
        kind, at_ms = timestamp
        self.offsets.append(offset)
        self.timestamps.append(_NO_TIME_MS if kind == TIMESTAMP_NOT_AVAILABLE else at_ms)

    def forget(self, position: int) -> None:
        """Drop the records below `position`."""
        if (passed := bisect_left(self.offsets, position)) > 0:
            self.passed_ms = self.timestamps[passed - 1]
            self.offsets = self.offsets[passed:]
            self.timestamps = self.timestamps[passed:]
        self.begin = max(self.begin, position)
        self.read_to = max(self.read_to, position)

    def extend(self, later: Known) -> None:
        """Add what was read from `read_to` on."""
        self.offsets.extend(later.offsets)
        self.timestamps.extend(later.timestamps)
        self.passed_ms = None
        self.read_to = max(self.read_to, later.read_to)
        self.end = later.end


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000


class WaitingRecords:
    """Counts for one role; one thread uses it. `turn` never blocks. `now_ms` is Unix time."""

    def __init__(self, reader: TopicReader, now_ms: Callable[[], int] = _unix_ms) -> None:
        self._reader = reader
        self._now_ms = now_ms
        self._known: dict[PartitionKey, Known] = {}
        self._positions: dict[PartitionKey, int] = {}  # at the last look
        self._look: Future[dict[PartitionKey, Known]] | None = None
        self._next_s = 0.0
        self._failed = False

    def turn(self, now_s: float, positions: Mapping[PartitionKey, int]) -> None:
        """Take the result of the last look, and begin the next one if it is due.

        `positions` are the next offsets that the role reads, `now_s` is a monotonic clock.
        """
        self._collect()
        self._known = {key: known for key, known in self._known.items() if key in positions}
        for key, known in self._known.items():
            known.forget(positions[key])
        is_due = now_s >= self._next_s or self._positions.keys() != positions.keys()
        if self._look is not None or not is_due or not positions:
            return
        self._next_s = now_s + EVERY_S
        starts = {key: self._start(key, position) for key, position in positions.items()}
        fast = {key for key, position in positions.items() if position - self._positions.get(key, position) > FAST}
        self._positions = dict(positions)
        room = min(MAX_READ, MAX_KEPT - sum(len(known.offsets) for known in self._known.values()))
        self._look = in_thread("lag", look, self._reader, starts, fast, room)

    def by_partition(self, positions: Mapping[PartitionKey, int]) -> dict[PartitionKey, int]:
        """Return the number of records from these positions on, without partitions that no look has found yet."""
        return {key: self._known[key].count(position) for key, position in positions.items() if key in self._known}

    def by_topic(self, positions: Mapping[PartitionKey, int]) -> dict[str, int]:
        """Return the same by topic, without topics of which a partition is unknown."""
        counts = self.by_partition(positions)
        unknown = {topic for topic, number in positions if (topic, number) not in counts}
        totals: dict[str, int] = {}
        for (topic, _), count in counts.items():
            if topic not in unknown:
                totals[topic] = totals.get(topic, 0) + count
        return totals

    def oldest_ms(self, positions: Mapping[PartitionKey, int]) -> dict[PartitionKey, int]:
        """Return the timestamps (Unix ms) of the oldest records from these positions on, where one is known to wait."""
        known = {key: self._known[key].oldest_ms(at) for key, at in positions.items() if key in self._known}
        return {key: at_ms for key, at_ms in known.items() if at_ms is not None}

    def ages_by_topic(self, positions: Mapping[PartitionKey, int]) -> dict[str, float]:
        """Return the age in seconds of the oldest record from these positions on, for the topics of `by_topic`."""
        now_ms = self._now_ms()
        ages = dict.fromkeys(self.by_topic(positions), 0.0)
        for (topic, _), at_ms in self.oldest_ms(positions).items():
            if topic in ages:
                ages[topic] = max(ages[topic], (now_ms - at_ms) / 1_000)
        return ages

    def _start(self, key: PartitionKey, position: int) -> int:
        known = self._known.get(key)
        return position if known is None or position < known.begin else known.read_to

    def _collect(self) -> None:
        if self._look is None or not self._look.done():
            return
        look, self._look = self._look, None
        try:
            found = look.result()
        except REQUEST_ERRORS as error:
            if not self._failed:
                _log.warning("lag.count_failed", error=sentence_of(error))
            self._failed = True
            return
        self._failed = False
        for key, new in found.items():
            known = self._known.get(key)
            if known is None or new.begin < known.begin:
                self._known[key] = new
            else:
                known.extend(new)


def look(
    reader: TopicReader, starts: Mapping[PartitionKey, int], fast: Collection[PartitionKey], room: int
) -> dict[PartitionKey, Known]:
    """Read up to `room` offsets from these starts on, shortest parts first; of `fast` partitions a sample. Blocks."""
    logs = {log.key: log for log in reader.ranges(starts)}
    # Records of open transactions wait as well. They cannot be read yet.
    ends = {log.key: log.end for log in reader.ranges(starts, isolation=IsolationLevel.READ_UNCOMMITTED)}
    found = {key: Known(start, start, ends[key]) for key, start in starts.items()}
    sampled = _furthest_behind(starts, fast, ends)
    parts: list[Range] = []
    for key, log in sorted(logs.items(), key=lambda one: one[1].end - starts[one[0]]):
        begin = max(starts[key], log.begin)
        size = min(log.end - begin, SAMPLE if key in fast else room)
        if size > 0 and (key not in fast or key in sampled):
            parts.append(Range(*key, begin, begin + size))
            room -= size
    for batch in reader.read(parts):
        for message in batch:
            topic, number, offset = place_of(message)
            found[topic, number].add(offset, message.timestamp())
    for part in parts:
        found[part.key].read_to = part.end
    return found


def _furthest_behind(
    starts: Mapping[PartitionKey, int], fast: Collection[PartitionKey], ends: Mapping[PartitionKey, int]
) -> set[PartitionKey]:
    """Return of each topic the fast partition that is furthest behind, unless it is close to the end of its log."""
    behind = sorted((ends[key] - starts[key], key) for key in fast)
    return set({key[0]: key for count, key in behind if count > FAST}.values())
