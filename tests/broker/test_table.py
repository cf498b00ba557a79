"""The table of subscriptions on a real broker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import structlog
from confluent_kafka import Producer

from consumers.subscriptions.state import Deleted, Entry, NotYet, Unusable
from consumers.subscriptions.table import SubscriptionTable, read_subscription
from producers.subscriptions.changes import Apply, Delete
from schemas.catalog.errors import UnreadableRecord
from schemas.records.topics import TopicNames
from schemas.subscriptions.subscription import encode_subscription
from tests.support.installation import subscription
from tests.support.subscriptions import PARTITIONS, draft, kafka_of, subscriptions_topic, writer_of
from tests.support.waiting import wait_until

BROKEN = b"broken"


def interpret(_partition: int, _offset: int, _key: str, value: bytes) -> bytes:
    if value == BROKEN:
        raise UnreadableRecord("unknown_format", "not a record")
    return value


def now_ms() -> int:
    return int(time.monotonic() * 1000)


class Follower:
    """A table and what it has told."""

    def __init__(self, kafka: dict[str, str], names: TopicNames) -> None:
        self.changes: list[tuple[str, bytes | None]] = []
        self.table = SubscriptionTable(kafka, names, interpret, self._changed)

    def _changed(self, id_: str, entry: Entry[bytes] | None) -> None:
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
    """Write records to a partition of the topic in one transaction, or abort it."""
    producer = Producer({**kafka, "transactional.id": f"{names.prefix}test", "retry.backoff.ms": 1})
    producer.list_topics()
    producer.init_transactions(30)

    def write_all(*records: tuple[str, bytes | None], partition: int = 0, commit: bool = True) -> None:
        producer.begin_transaction()
        for key, value in records:
            producer.produce(names.subscriptions, key=key, value=value, partition=partition)
        producer.flush(30)
        producer.commit_transaction(30) if commit else producer.abort_transaction(30)

    return write_all


def test_an_empty_topic_is_current(kafka, names):
    """A table of an empty topic is current and fresh, and knows the number of its partitions."""
    with following(kafka, names) as follower:
        follower.until_current()
        assert follower.table.is_fresh(now_ms())
        assert (len(follower.table), follower.table.partition_count) == (0, PARTITIONS)
        assert follower.table.lookup("a", 0, 0) == NotYet()


def test_a_table_is_current_with_all_that_was_there(kafka, names, write):
    """At the first moment in which the table is current it holds every record that was committed before."""
    for partition in range(PARTITIONS):
        write(*((f"{partition}-{number}", b"1") for number in range(500)), partition=partition)
    with following(kafka, names) as follower:
        follower.until_current()
        assert len(follower.table) == 500 * PARTITIONS


def test_tombstones_and_broken_records(kafka, names, write):
    """A tombstone deletes; a broken record keeps the good one before it; without one it is unusable, not gone."""
    write(("kept", b"good"), ("kept", BROKEN), ("broken", BROKEN), ("deleted", b"good"), ("deleted", None))
    with structlog.testing.capture_logs() as logs, following(kafka, names) as follower:
        follower.until_current()
        lookup = follower.table.lookup
        assert lookup("kept", 0, 1) == Entry(b"good", 0, 0)
        assert isinstance(lookup("broken", 0, 2), Unusable)
        assert lookup("deleted", 0, 3) == Deleted()
        assert list(follower.table.unusable()) == ["broken"]

        write(("broken", b"mended"))
        follower.until(lambda: follower.table.unusable() == {}, "the record is mended")
    told = [(log["id"], log["earlier_kept"]) for log in logs if log["event"] == "table.record_rejected"]
    assert told == [("kept", True), ("broken", False)]


def test_changes_are_followed_in_order(kafka, names, write):
    """What is committed after the table is current is told, in order; what is aborted never is."""
    with following(kafka, names) as follower:
        follower.until_current()
        write(("a", b"1"))
        write(("a", b"aborted"), commit=False)
        write(("a", b"2"), ("b", b"1"))
        write(("b", None))
        follower.until(lambda: len(follower.changes) == 4, "all changes are told")
        assert follower.changes == [("a", b"1"), ("a", b"2"), ("b", b"1"), ("b", None)]


def test_markers_at_the_end_are_passed(kafka, names, write):
    """A log that ends in markers, of a commit or of an abort, is passed to its end: nothing there is Deleted."""
    write(("a", b"1"))
    write(("b", b"aborted"), commit=False)
    with following(kafka, names) as follower:
        follower.until_current()
        assert follower.table.state.position(0) == 4
        assert follower.table.lookup("b", 0, 2) == Deleted()
        assert follower.table.lookup("b", 0, 4) == NotYet()

        write(("c", b"aborted"), commit=False)
        follower.until(lambda: follower.table.state.position(0) == 6, "the new markers are passed")


def test_a_record_that_comes_after_its_job_is_waited_for(kafka, names, write):
    """Who names a record that the table has not read gets NotYet until it has, and then the record."""
    with following(kafka, names) as follower:
        follower.until_current()
        assert follower.table.lookup("a", 0, 0) == NotYet()
        write(("a", b"1"))
        follower.until(lambda: follower.table.lookup("a", 0, 0) != NotYet(), "the record is read")
        assert follower.table.lookup("a", 0, 0) == Entry(b"1", 0, 0)


def test_two_partitions_of_one_id_are_reported(kafka, names, write):
    """Where an id is on two partitions, the lower one's record counts, and a log line says so."""
    write(("a", b"high"), partition=2)
    write(("a", b"low"), partition=1)
    with structlog.testing.capture_logs() as logs, following(kafka, names) as follower:
        follower.until_current()
        assert follower.table.lookup("a", 2, 0) == Entry(b"low", 1, 0)
    assert [log["partitions"] for log in logs if log["event"] == "table.conflict_detected"] == [(1, 2)]


@pytest.mark.promise(7)
def test_an_acknowledged_change_is_known_to_whoever_is_fresh(kafka, names):
    """Promise 7: from the acknowledgement on, a table that is fresh has the change."""
    writer = writer_of(kafka, names)
    try:
        with following(kafka, names) as follower:
            follower.until_current()
            for round_ in range(3):
                writer.write([Apply(draft("a", description=str(round_)))])
                follower.until(lambda: follower.table.is_fresh(now_ms()), "the table is fresh")
                entry = follower.table.get("a")
                assert entry is not None
                assert read_subscription("a", entry.value).description == str(round_)
                writer.write([Delete("a")])
                follower.until(lambda: follower.table.is_fresh(now_ms()), "the table is fresh")
                assert follower.table.get("a") is None
    finally:
        writer.close()


def test_a_record_under_another_key_is_broken():
    """A record whose key is not its id is not read as either."""
    with pytest.raises(UnreadableRecord, match="key is not the id"):
        read_subscription("b", encode_subscription(subscription("a")))


def test_a_topic_that_is_missing_is_waited_for(broker, kafka, prefix):
    """A table whose topic is not there is neither current nor fresh, and is both when it comes."""
    with following(kafka, TopicNames(prefix)) as follower:
        with structlog.testing.capture_logs() as logs:
            follower.until(lambda: bool(logs), "it says that it waits")
        assert logs[0]["event"] == "table.disconnected"
        assert not follower.table.current
        subscriptions_topic(broker.bootstrap_servers, prefix)
        follower.until_current()


def test_a_broker_that_goes_away_is_waited_for(own_broker, prefix):
    """Without a broker a table stays fresh for 5 s and no longer; when the broker is back it follows again."""
    names, kafka = subscriptions_topic(own_broker.bootstrap_servers, prefix), kafka_of(own_broker.bootstrap_servers)
    with following(kafka, names) as follower:
        follower.until_current()
        stopped_at_ms = now_ms()
        own_broker.kill()
        follower.until(lambda: not follower.table.is_fresh(now_ms()), "the table asks in vain")
        follower.until(lambda: follower.table.is_fresh(now_ms()), "the silence is taken for an absence")
        follower.until(lambda: not follower.table.is_fresh(now_ms()), "the absence has been too long")
        assert now_ms() - stopped_at_ms > 4_500
        assert follower.table.current

        own_broker.start()
        follower.until(lambda: follower.table.is_fresh(now_ms()), "the table is fresh again", deadline_s=60)
        writer = writer_of(kafka, names)
        try:
            writer.write([Apply(draft("a"))])
        finally:
            writer.close()
        follower.until(lambda: len(follower.table) == 1, "the table follows")
