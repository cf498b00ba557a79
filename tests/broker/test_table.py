"""The subscription table on a real broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
from confluent_kafka import Producer

from consumers.kafka.pending import Pending
from consumers.subscriptions import table as table_module
from consumers.subscriptions.state import Deleted, Entry, NotYet, Unusable
from consumers.subscriptions.table import REQUEST_TIMEOUT_S, SubscriptionTable, read_subscription
from producers.subscriptions.changes import Apply, Delete
from schemas.catalog.errors import UnreadableRecord
from schemas.records.topics import TopicNames
from schemas.subscriptions.subscription import encode_subscription
from tests.support.installation import subscription
from tests.support.subscriptions import AUTHOR, PARTITIONS, draft, kafka_of, subscriptions_topic, writer_of
from tests.support.waiting import wait_until

BROKEN = b"broken"


def interpret(_partition: int, _offset: int, _key: str, value: bytes) -> bytes:
    if value == BROKEN:
        raise UnreadableRecord("unknown_format", "not a record")
    return value


def now_ms() -> int:
    return int(time.monotonic() * 1000)


class Follower:
    """A table, and the changes that it has reported."""

    def __init__(self, kafka: dict[str, str], names: TopicNames) -> None:
        self.changes: list[tuple[str, bytes | None]] = []
        self.table = SubscriptionTable(kafka, names, interpret, self._on_change)

    def _on_change(self, id_: str, entry: Entry[bytes] | None) -> None:
        self.changes.append((id_, None if entry is None else entry.value))

    def until(self, condition: Callable[[], bool], what: str, deadline_s: float = 20.0) -> None:
        def polled() -> bool:
            self.table.poll(now_ms())
            return condition()

        wait_until(polled, deadline_s, what)

    def until_current(self) -> None:
        self.until(lambda: self.table.current, "the table is current")


@contextmanager
def following(kafka: dict[str, str], names: TopicNames) -> Iterator[Follower]:
    follower = Follower(kafka, names)
    try:
        yield follower
    finally:
        follower.table.close()


@pytest.fixture
def write(kafka: dict[str, str], names: TopicNames) -> Callable[..., None]:
    """Return a function that writes records to a partition in one transaction, and commits or aborts it."""
    producer = Producer({**kafka, "transactional.id": f"{names.prefix}test", "retry.backoff.ms": 1})
    producer.list_topics()
    producer.init_transactions(30)

    def write_all(*records: tuple[str, bytes | None], partition: int = 0, commit: bool = True) -> None:
        producer.begin_transaction()
        for key, value in records:
            producer.produce(names.subscriptions, key=key, value=value, partition=partition)
        producer.flush(30)
        if commit:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)

    return write_all


def test_table_of_an_empty_topic_is_current(kafka, names):
    """The table of an empty topic is current and fresh, and knows the number of partitions."""
    with following(kafka, names) as follower:
        follower.until_current()
        assert follower.table.is_fresh(now_ms())
        assert (len(follower.table), follower.table.partition_count) == (0, PARTITIONS)
        assert follower.table.lookup("a", 0, 0) == NotYet()


def test_current_table_has_all_committed_records(kafka, names, write):
    """As soon as the table is current, it holds every record committed before."""
    for partition in range(PARTITIONS):
        write(*((f"{partition}-{number}", b"1") for number in range(500)), partition=partition)
    with following(kafka, names) as follower:
        follower.until_current()
        assert len(follower.table) == 500 * PARTITIONS


def test_tombstones_delete_and_broken_records_do_not(kafka, names, write):
    """A tombstone deletes. A broken record leaves the last good one in force, else its id is unusable."""
    write(("kept", b"good"), ("kept", BROKEN), ("broken", BROKEN), ("deleted", b"good"), ("deleted", None))
    with structlog.testing.capture_logs() as logs, following(kafka, names) as follower:
        follower.until_current()
        lookup = follower.table.lookup
        assert lookup("kept", 0, 1) == Entry(b"good", 0, 0)
        assert isinstance(lookup("broken", 0, 2), Unusable)
        assert lookup("deleted", 0, 3) == Deleted()
        assert list(follower.table.unusable()) == ["broken"]

        write(("broken", b"repaired"))
        follower.until(lambda: follower.table.unusable() == {}, "the record is repaired")
    rejected = [(log["id"], log["earlier_kept"]) for log in logs if log["event"] == "record.rejected"]
    assert rejected == [("kept", True), ("broken", False)]


def test_changes_are_reported_in_order(kafka, names, write):
    """A current table reports later committed records in order, and no aborted ones."""
    with following(kafka, names) as follower:
        follower.until_current()
        write(("a", b"1"))
        write(("a", b"aborted"), commit=False)
        write(("a", b"2"), ("b", b"1"))
        write(("b", None))
        follower.until(lambda: len(follower.changes) == 4, "all changes are reported")
        assert follower.changes == [("a", b"1"), ("a", b"2"), ("b", b"1"), ("b", None)]


def test_markers_at_the_end_are_passed(kafka, names, write):
    """The table passes commit and abort markers at the end of a log. An id without a record before it is Deleted."""
    write(("a", b"1"))
    write(("b", b"aborted"), commit=False)
    with following(kafka, names) as follower:
        follower.until_current()
        assert follower.table.state.position(0) == 4
        assert follower.table.lookup("b", 0, 2) == Deleted()
        assert follower.table.lookup("b", 0, 4) == NotYet()

        write(("c", b"aborted"), commit=False)
        follower.until(lambda: follower.table.state.position(0) == 6, "the new markers are passed")


def test_unread_record_is_not_yet_known(kafka, names, write):
    """A lookup of a record that the table has not read returns NotYet, and later the record."""
    with following(kafka, names) as follower:
        follower.until_current()
        assert follower.table.lookup("a", 0, 0) == NotYet()
        write(("a", b"1"))
        follower.until(lambda: follower.table.lookup("a", 0, 0) != NotYet(), "the record is read")
        assert follower.table.lookup("a", 0, 0) == Entry(b"1", 0, 0)


def test_id_on_two_partitions_is_reported(kafka, names, write):
    """If an id is on two partitions, the record of the lower partition counts, and the conflict is logged."""
    write(("a", b"high"), partition=2)
    write(("a", b"low"), partition=1)
    with structlog.testing.capture_logs() as logs, following(kafka, names) as follower:
        follower.until_current()
        assert follower.table.lookup("a", 2, 0) == Entry(b"low", 1, 0)
    assert [log["partitions"] for log in logs if log["event"] == "table.conflict_detected"] == [(1, 2)]


@pytest.mark.promise(7)
def test_fresh_table_has_every_acknowledged_change(kafka, names):
    """After the acknowledgement a fresh table has the change."""
    writer = writer_of(kafka, names)
    try:
        with following(kafka, names) as follower:
            follower.until_current()
            for round_ in range(3):
                writer.write([Apply(draft("a", description=str(round_)))], AUTHOR)
                follower.until(lambda: follower.table.is_fresh(now_ms()), "the table is fresh")
                entry = follower.table.get("a")
                assert entry is not None
                assert read_subscription("a", entry.value).description == str(round_)
                writer.write([Delete("a")], AUTHOR)
                follower.until(lambda: follower.table.is_fresh(now_ms()), "the table is fresh")
                assert follower.table.get("a") is None
    finally:
        writer.close()


def test_record_under_another_key_is_unreadable():
    """A record whose key is not its id is unreadable."""
    with pytest.raises(UnreadableRecord, match="key is not the id"):
        read_subscription("b", encode_subscription(subscription("a")))


def test_table_waits_for_a_missing_topic(broker, kafka, prefix):
    """A table without its topic is not current. It becomes current when the topic is created."""
    with following(kafka, TopicNames(prefix)) as follower:
        with structlog.testing.capture_logs() as logs:
            follower.until(lambda: bool(logs), "the missing topic is logged")
        assert logs[0]["event"] == "table.fetch_failed"
        assert not follower.table.current
        subscriptions_topic(broker.bootstrap_servers, prefix)
        follower.until_current()


def test_table_waits_for_a_lost_broker(own_broker, prefix):
    """Without a broker a table stays fresh for 5 s at most. It follows the topic again when the broker returns."""
    names = subscriptions_topic(own_broker.bootstrap_servers, prefix)
    kafka = kafka_of(own_broker.bootstrap_servers)
    with following(kafka, names) as follower:
        follower.until_current()
        stopped_at_ms = now_ms()
        own_broker.kill()
        follower.until(lambda: not follower.table.is_fresh(now_ms()), "the last end offset is older than 200 ms")
        follower.until(
            lambda: follower.table.is_fresh(now_ms()), "an older end offset counts while the broker is silent"
        )
        follower.until(lambda: not follower.table.is_fresh(now_ms()), "the last end offset is older than 5 s")
        assert now_ms() - stopped_at_ms > 4_500
        assert follower.table.current

        own_broker.start()
        follower.until(lambda: follower.table.is_fresh(now_ms()), "the table is fresh again", deadline_s=60)
        writer = writer_of(kafka, names)
        try:
            writer.write([Apply(draft("a"))], AUTHOR)
        finally:
            writer.close()
        follower.until(lambda: len(follower.table) == 1, "the table follows")


@pytest.mark.parametrize("is_started", [True, False])
def test_lost_requests_are_repeated(
    kafka: dict[str, str], names: TopicNames, monkeypatch: pytest.MonkeyPatch, *, is_started: bool
) -> None:
    """Requests that the client loses, so that they never end, are given up and repeated: the table goes on."""
    with following(kafka, names) as follower:
        if is_started:
            follower.until_current()
        lost: list[Pending[Any, int]] = []

        def list_offsets(_admin: object, partitions: Iterable[tuple[str, int]], *_: object) -> Pending[Any, int]:
            lost.append(Pending({key: Future() for key in partitions}, int, REQUEST_TIMEOUT_S))
            return lost[-1]

        with monkeypatch.context() as patched:
            patched.setattr(table_module, "list_offsets", list_offsets)
            follower.until(lambda: len(lost) > is_started, "requests are lost")
        started_ms = now_ms()
        skipped_ms = 0

        def is_fresh() -> bool:
            nonlocal skipped_ms
            skipped_ms += 500  # the clock of the table goes faster
            follower.table.poll(started_ms + skipped_ms)
            return follower.table.current and follower.table.is_fresh(started_ms + skipped_ms)

        wait_until(is_fresh, what="the table is fresh")
