"""The number of waiting records: records are counted, not offsets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, cast

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, TIMESTAMP_NOT_AVAILABLE, IsolationLevel
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from consumers.kafka import waiting_records
from consumers.kafka.positions import PartitionKey
from consumers.kafka.topic_reader import Range, TopicReader
from consumers.kafka.waiting_records import EVERY_S, FAST, SAMPLE, Known, WaitingRecords
from schemas.catalog.errors import Unavailable

KEYS: Final = (("jobs.5m", 0), ("jobs.5m", 1), ("jobs.24h", 0))


TIMES: Final = TIMESTAMP_LOG_APPEND_TIME
BEGIN_MS: Final = 1_800_000_000_000


def appended_ms(offset: int) -> int:
    """Return the timestamp of the record at an offset: each is a second after the one before."""
    return BEGIN_MS + 1_000 * offset


class Message:
    """A record of a log."""

    def __init__(self, key: PartitionKey, offset: int) -> None:
        self._place = (*key, offset)

    def topic(self) -> str:
        return self._place[0]

    def partition(self) -> int:
        return self._place[1]

    def offset(self) -> int:
        return self._place[2]

    def timestamp(self) -> tuple[int, int]:
        return TIMES, appended_ms(self._place[2])


class Logs:
    """Logs in memory, with the methods of TopicReader. An offset holds a record or a transaction marker."""

    def __init__(self) -> None:
        self.records: dict[PartitionKey, list[bool]] = {key: [] for key in KEYS}
        self.begins = dict.fromkeys(KEYS, 0)
        self.away = False
        self.open = 0  # records of an open transaction at the end of each log
        self.read_offsets = 0

    def append(self, key: PartitionKey, records: int, *, marker: bool = True) -> None:
        self.records[key] += [True] * records + [False] * marker

    def waiting(self, key: PartitionKey, position: int) -> int:
        return sum(self.records[key][max(position, self.begins[key]) :])

    def age_s(self, key: PartitionKey, position: int, now_ms: int) -> float:
        """Return the age of the first record from a position on."""
        offsets = range(max(position, self.begins[key]), len(self.records[key]))
        oldest = next((offset for offset in offsets if self.records[key][offset]), None)
        return 0 if oldest is None else max(0, now_ms - appended_ms(oldest)) / 1_000

    def ranges(
        self, keys: Iterable[PartitionKey], *, isolation: IsolationLevel = IsolationLevel.READ_COMMITTED
    ) -> list[Range]:
        if self.away:
            raise Unavailable("no broker")
        with_open = isolation is IsolationLevel.READ_UNCOMMITTED
        return [Range(*key, self.begins[key], len(self.records[key]) + self.open * with_open) for key in keys]

    def read(self, ranges: Iterable[Range]) -> Iterator[list[Message]]:
        for one in ranges:
            self.read_offsets += one.end - one.begin
            yield [Message(one.key, at) for at in range(one.begin, one.end) if self.records[one.key][at]]


class Role:
    """A role that counts what waits, and looks at once."""

    def __init__(self) -> None:
        self.logs = Logs()
        self.positions = dict.fromkeys(KEYS, 0)
        self.now_ms = BEGIN_MS + 100_000
        self.waiting = WaitingRecords(cast("TopicReader", self.logs), lambda: self.now_ms)
        self.now_s = 100.0

    def look(self) -> None:
        """Look, and take the result."""
        self.now_s += EVERY_S
        self.waiting.turn(self.now_s, self.positions)
        look = self.waiting._look
        assert look is not None
        look.exception(10)
        self.waiting.turn(self.now_s, self.positions)

    def ages_s(self) -> dict[str, float]:
        return self.waiting.ages_by_topic(self.positions)

    def counts(self) -> dict[PartitionKey, int]:
        return self.waiting.by_partition(self.positions)


class WaitingModel(RuleBasedStateMachine):
    """After each look the count is the number of records from the position on, whatever happened before."""

    def __init__(self) -> None:
        super().__init__()
        self.role = Role()

    @rule(key=st.sampled_from(KEYS), records=st.integers(0, 5), marker=st.booleans())
    def append(self, key: PartitionKey, records: int, marker: bool) -> None:
        self.role.logs.append(key, records, marker=marker)

    @rule(key=st.sampled_from(KEYS), to=st.floats(0, 1))
    def move(self, key: PartitionKey, to: float) -> None:
        """Read on, or return to an earlier position."""
        end = len(self.role.logs.records[key])
        self.role.positions[key] = max(self.role.logs.begins[key], int(to * end))

    @rule(key=st.sampled_from(KEYS))
    def lose(self, key: PartitionKey) -> None:
        """Another process takes the partition."""
        self.role.positions.pop(key, None)
        if not self.role.positions:
            self.role.positions[KEYS[0]] = self.role.logs.begins[KEYS[0]]

    @rule(key=st.sampled_from(KEYS))
    def get(self, key: PartitionKey) -> None:
        self.role.positions.setdefault(key, self.role.logs.begins[key])

    @rule(key=st.sampled_from(KEYS), share=st.floats(0, 1))
    def truncate(self, key: PartitionKey, share: float) -> None:
        """Retention deletes the first part of a log, and the role continues behind it."""
        logs = self.role.logs
        logs.begins[key] = max(logs.begins[key], int(share * len(logs.records[key])))
        if key in self.role.positions:
            self.role.positions[key] = max(self.role.positions[key], logs.begins[key])

    @rule()
    def look(self) -> None:
        self.role.look()
        expected = {key: self.role.logs.waiting(key, at) for key, at in self.role.positions.items()}
        assert self.role.counts() == expected
        ages: dict[str, float] = {}
        for key, at in self.role.positions.items():
            ages[key[0]] = max(ages.get(key[0], 0), self.role.logs.age_s(key, at, self.role.now_ms))
        assert self.role.ages_s() == ages

    @invariant()
    def never_more_than_offsets(self) -> None:
        for key, count in self.role.counts().items():
            assert 0 <= count <= len(self.role.logs.records[key]) - self.role.positions[key]


TestWaitingModel = WaitingModel.TestCase
TestWaitingModel.settings = settings(max_examples=40, stateful_step_count=30)


def test_job_that_waits_alone_counts_as_one() -> None:
    """One record and its transaction marker are one waiting record, also after a restart of the counter."""
    role = Role()
    role.logs.append(KEYS[2], 1)
    role.look()
    assert role.counts()[KEYS[2]] == 1
    assert role.waiting.by_topic(role.positions) == {"jobs.5m": 0, "jobs.24h": 1}
    again = Role()
    again.logs = role.logs
    again.waiting = WaitingRecords(cast("TopicReader", role.logs))
    again.look()
    assert again.counts()[KEYS[2]] == 1
    role.positions[KEYS[2]] = 1
    assert role.counts()[KEYS[2]] == 0


def test_nothing_is_known_before_the_first_look() -> None:
    """A topic has no number until all of its partitions were looked at."""
    role = Role()
    role.waiting.turn(role.now_s, {KEYS[0]: 0})
    assert role.waiting._look is not None
    role.waiting._look.exception(10)
    role.waiting.turn(role.now_s, {KEYS[0]: 0})
    assert role.waiting.by_topic({KEYS[0]: 0}) == {"jobs.5m": 0}
    assert role.waiting.by_topic({KEYS[0]: 0, KEYS[1]: 0, KEYS[2]: 0}) == {}


def test_records_beyond_the_limit_count_by_their_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look reads a bounded number of offsets. The rest is an upper bound, until later looks have read it."""
    monkeypatch.setattr(waiting_records, "MAX_READ", 10)
    role = Role()
    for _ in range(10):
        role.logs.append(KEYS[0], 1)
    role.look()
    assert role.counts()[KEYS[0]] == 5 + 10
    role.look()
    assert role.counts()[KEYS[0]] == 10


def test_memory_for_offsets_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than a fixed number of offsets is kept; reading continues when the role has passed some."""
    monkeypatch.setattr(waiting_records, "MAX_KEPT", 6)
    role = Role()
    for _ in range(10):
        role.logs.append(KEYS[0], 1)
    for _ in range(5):
        role.look()
    assert sum(len(known.offsets) for known in role.waiting._known.values()) <= 6
    role.positions[KEYS[0]] = 20
    role.look()
    assert role.counts()[KEYS[0]] == 0


def test_fast_partition_is_not_read_twice() -> None:
    """A partition that the role reads quickly counts by its offsets."""
    role = Role()
    role.logs.append(KEYS[0], FAST, marker=False)
    role.look()
    read = role.logs.read_offsets
    role.logs.append(KEYS[0], 3 * FAST, marker=False)
    role.positions[KEYS[0]] = 2 * FAST
    role.look()
    assert role.logs.read_offsets == read + SAMPLE
    assert role.counts()[KEYS[0]] == 2 * FAST


def test_fast_partition_far_behind_has_the_age_of_a_sample() -> None:
    """While a backlog is read quickly, the age follows the position, also when the role has passed the sample."""
    role = Role()
    role.logs.append(KEYS[0], 20 * FAST, marker=False)
    role.look()
    role.positions[KEYS[0]] = 6 * FAST  # beyond what the first look has read
    role.now_ms = appended_ms(20 * FAST)
    role.look()
    assert role.ages_s()["jobs.5m"] == 14 * FAST
    role.positions[KEYS[0]] = 6 * FAST + 500
    role.waiting.turn(role.now_s, role.positions)
    assert role.ages_s()["jobs.5m"] == 14 * FAST - (SAMPLE - 1)
    role.positions[KEYS[0]] = 20 * FAST
    assert role.ages_s()["jobs.5m"] == 0


def test_fast_partitions_near_their_end_are_not_sampled() -> None:
    """Of the partitions of a busy topic only the one that is furthest behind is read for its age."""
    role = Role()
    for key in KEYS[:2]:
        role.logs.append(key, 10 * FAST, marker=False)
    role.look()
    role.positions[KEYS[0]] = 9 * FAST + 1
    role.positions[KEYS[1]] = 5 * FAST
    read = role.logs.read_offsets
    role.look()
    assert role.logs.read_offsets == read + SAMPLE
    role.now_ms = appended_ms(10 * FAST)
    assert role.ages_s()["jobs.5m"] == 5 * FAST


def test_age_is_that_of_the_oldest_record_that_waits() -> None:
    """Markers have no age, a passed record has none, and a clock that is behind makes no age negative."""
    role = Role()
    role.logs.append(KEYS[0], 2)
    role.logs.append(KEYS[0], 1)
    role.look()
    assert role.ages_s() == {"jobs.5m": 100, "jobs.24h": 0}
    role.positions[KEYS[0]] = 2  # the marker
    assert role.ages_s()["jobs.5m"] == 97
    role.now_ms = BEGIN_MS
    assert role.ages_s()["jobs.5m"] == 0
    role.now_ms = BEGIN_MS + 100_000
    role.positions[KEYS[0]] = 5
    assert role.ages_s()["jobs.5m"] == 0


def test_record_without_a_timestamp_has_no_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """Topics of very old producers have none."""
    monkeypatch.setattr(Message, "timestamp", lambda _self: (TIMESTAMP_NOT_AVAILABLE, 0))
    role = Role()
    role.logs.append(KEYS[0], 1)
    role.look()
    assert role.ages_s()["jobs.5m"] == 0


def test_records_of_an_open_transaction_wait() -> None:
    """A transaction that does not end keeps its records from every reader, but not from the count."""
    role = Role()
    role.logs.append(KEYS[0], 2)
    role.logs.open = 3
    role.look()
    assert role.counts()[KEYS[0]] == 2 + 3
    role.logs.open = 0
    role.logs.append(KEYS[0], 3)
    role.look()
    assert role.counts()[KEYS[0]] == 2 + 3


def test_looks_are_seconds_apart_except_after_a_change_of_partitions() -> None:
    """The logs are requested every five seconds, and at once for new partitions."""
    role = Role()
    role.look()
    role.waiting.turn(role.now_s + EVERY_S - 0.1, role.positions)
    assert role.waiting._look is None
    role.waiting.turn(role.now_s + EVERY_S - 0.1, {KEYS[0]: 0})
    assert role.waiting._look is not None


def test_last_numbers_stay_while_no_broker_responds(capsys: pytest.CaptureFixture[str]) -> None:
    """A failed look changes nothing and is logged once."""
    role = Role()
    role.logs.append(KEYS[0], 3)
    role.look()
    role.logs.away = True
    role.look()
    role.look()
    assert role.counts()[KEYS[0]] == 3
    assert capsys.readouterr().out.count("lag.count_failed") == 1
    role.logs.away = False
    role.logs.append(KEYS[0], 1)
    role.look()
    assert role.counts()[KEYS[0]] == 4


def test_position_before_what_is_known_counts_offsets() -> None:
    """Between a step back and the next look, offsets before the known part count as records."""
    known = Known(10, 20, 22)
    known.offsets.extend([12, 15])
    assert known.count(7) == 3 + 2 + 2
    assert known.count(13) == 1 + 2
    assert known.count(30) == 0
