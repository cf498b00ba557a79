"""Rows of the ledger, apart from SQL.

A *run* of a job is its first delivery (0), or a later retry by hand. Its end counts once, whatever was repeated: a
killed router creates jobs twice, and each of the two may end. Decision O26 of the Onboarding API: a delivery in its
statistics is one run that ended delivered or dead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from schemas.records.delivery import State

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
DAYS_AHEAD: Final = 2
# Upper bounds of the latency histogram in microseconds; the last bucket has none.
LATENCY_BOUNDS_US: Final = (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000)
BUCKETS: Final = len(LATENCY_BOUNDS_US) + 1
# `ended_runs` is a set of bits in a signed 64-bit integer.
_MAX_RUN: Final = 62


class Attempt(NamedTuple):
    """One outcome: an attempt, or the end of a job without one. The body is in `jobs.0s`, at the job's place.

    `appended_at_ms` is the time of the delivery's row, in Unix ms. Attempts are found by it and the job id.
    """

    recorded_at_ms: int
    partition: int
    offset: int
    job_id: str
    run: int
    attempt: int
    subscription_id: str
    customer_id: str
    sender: str
    event_type: str
    event_id: str
    state: State
    reason: str
    status: int | None
    error: str | None
    host: str
    at_ms: int
    duration_us: int
    next_due_at_ms: int | None
    response: bytes | None
    response_not_kept: int
    job_partition: int
    job_offset: int
    appended_at_ms: int


def bit_of(run: int) -> int:
    """Return the bit of a run in `ended_runs`. All runs above 62 share one."""
    return 1 << min(run, _MAX_RUN)


@dataclass(slots=True)
class Delivery:
    """One event for one subscription: where it stands."""

    job_id: str
    appended_at_ms: int
    subscription_id: str
    customer_id: str
    sender: str
    event_type: str
    event_id: str
    run: int = 0
    state: State = "retry"
    reason: str = ""
    attempts: int = 0
    last_at_ms: int | None = None
    last_status: int | None = None
    last_error: str | None = None
    next_due_at_ms: int | None = None
    ended_runs: int = 0

    def place_within(self, kept: Kept) -> bool:
        """Set a time of a wrong clock right; False if the delivery is too old to be written."""
        at_ms = kept.clamped(self.appended_at_ms)
        self.appended_at_ms = self.appended_at_ms if at_ms is None else at_ms
        return at_ms is not None

    def end(self, run: int) -> bool:
        """Mark a run as ended; False if it had ended already."""
        bit = bit_of(run)
        if self.ended_runs & bit:
            return False
        self.ended_runs |= bit
        return True

    def has_ended(self, run: int) -> bool:
        """Return whether a run has ended."""
        return bool(self.ended_runs & bit_of(run))


class DeadLetterRow(NamedTuple):
    """A dead letter without its bytes: those are on `dead`, at `partition` and `offset`."""

    recorded_at_ms: int
    partition: int
    offset: int
    at_ms: int
    reason: str
    detail: str
    source_topic: str
    source_partition: int
    source_offset: int
    job_id: str | None
    subscription_id: str | None
    event_id: str | None
    attempts: int


class OperationRow(NamedTuple):
    """A record of `operations`: what happened to an endpoint, a subscription or an API key, or records deleted unread.

    `changed` are the names of changed fields, separated by commas.
    """

    recorded_at_ms: int
    partition: int
    offset: int
    at_ms: int
    kind: str
    subscription_id: str | None
    customer_id: str | None
    sender: str | None
    since_ms: int | None
    reason: str
    status: int | None
    error: str | None
    source_topic: str | None
    source_partition: int | None
    from_offset: int | None
    to_offset: int | None
    actor: str | None
    request_id: str | None
    changed: str
    key_id: str | None


class RollupKey(NamedTuple):
    """The key of an hourly rollup. `hour_ms` is the start of the hour of the attempts, in Unix ms."""

    subscription_id: str
    hour_ms: int
    result: State


@dataclass(slots=True)
class Rollup:
    """What one hour adds to a subscription's attempts of one result. `buckets` are numbers by duration."""

    count: int = 0
    duration_us: int = 0
    buckets: list[int] = field(default_factory=lambda: [0] * BUCKETS)


@dataclass(slots=True)
class Totals:
    """What a batch adds to the totals of a subscription, which never expire, and its latest attempt."""

    customer_id: str
    sender: str
    delivered: int = 0
    dead: int = 0
    cancelled: int = 0
    attempts: int = 0
    last_at_ms: int | None = None
    last_status: int | None = None
    last_error: str | None = None


class Kept(NamedTuple):
    """The times of which the ledger keeps rows: from `begin_ms` up to, not including, `end_ms`. Whole days, in UTC.

    An older row is not written; it counts in the totals only. A later time, of a clock that is wrong, becomes the last.
    """

    begin_ms: int
    end_ms: int

    @classmethod
    def at(cls, now_ms: int, retention_days: int) -> Kept:
        """Return the times to keep: `retention_days` before today, today, and two days ahead."""
        today = now_ms // DAY_MS
        return cls((today - retention_days) * DAY_MS, (today + 1 + DAYS_AHEAD) * DAY_MS)

    def clamped(self, at_ms: int) -> int | None:
        """Return the time of a row; None if the row is too old."""
        return None if at_ms < self.begin_ms else min(at_ms, self.end_ms - 1)

    def around(self, day: int, near: int) -> Kept:
        """Return those of the times that belong to a day or are at most `near` days from it. Days count from 1970."""
        day = min(day, self.end_ms // DAY_MS - 1)
        return Kept(max(self.begin_ms, (day - near) * DAY_MS), min(self.end_ms, (day + 1 + near) * DAY_MS))


class Advance(NamedTuple):
    """An advance of a position: from the offset in the database (None: nothing yet) to the next one to read."""

    expected: int | None
    next_offset: int


@dataclass(slots=True)
class LedgerBatch:
    """All rows of one database transaction. `deliveries` are new ones; those of `known_deliveries` exist already."""

    attempts: list[Attempt]
    dead_letters: list[DeadLetterRow]
    operations: list[OperationRow]
    deliveries: list[Delivery]
    known_deliveries: list[Delivery]
    rollups: Mapping[RollupKey, Rollup]
    totals: Mapping[str, Totals]
    advances: Mapping[tuple[str, int], Advance]


@dataclass(slots=True)
class Unwritten:
    """Records that were read and are not in the database yet."""

    outcomes: list[Attempt] = field(default_factory=list)
    dead_letters: list[DeadLetterRow] = field(default_factory=list)
    operations: list[OperationRow] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Number of records."""
        return len(self.outcomes) + len(self.dead_letters) + len(self.operations)
