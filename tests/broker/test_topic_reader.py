"""The topic reader: from given offsets to end offsets requested before."""

from __future__ import annotations

import logging
import threading

import pytest
from confluent_kafka import IsolationLevel, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from consumers.kafka.topic_reader import Range, TopicReader, place_of
from deploy.dev.broker import Broker
from schemas.catalog.errors import Unavailable
from tests.support.topics import create_topic, produce
from tests.support.waiting import wait_until

LOG = logging.getLogger("signpost.kafka")


@pytest.fixture
def reader(broker: Broker) -> TopicReader:
    """Return a reader that gives up after 2 s of silence."""
    kafka = {"bootstrap.servers": broker.bootstrap_servers}
    return TopicReader(kafka, AdminClient(kafka, logger=LOG), "signpost.test", silent_after_s=2.0)


@pytest.fixture
def topic(broker: Broker, prefix: str) -> str:
    """Return a topic with three partitions."""
    create_topic(broker.bootstrap_servers, f"{prefix}read", partitions=3)
    return f"{prefix}read"


def transaction(broker: Broker, topic: str, values: list[bytes]) -> Producer:
    """Return a producer with these records of partition 0 in an open transaction."""
    config = {"bootstrap.servers": broker.bootstrap_servers, "transactional.id": topic, "transaction.timeout.ms": 9_000}
    producer = Producer(config, logger=LOG)
    producer.list_topics(timeout=10)
    producer.init_transactions(10)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, partition=0)
    producer.flush(10)
    return producer


def values_of(reader: TopicReader, ranges: list[Range]) -> list[bytes | None]:
    return [message.value() for batch in reader.read(ranges) for message in batch]


def test_all_partitions_are_read_to_their_end(broker: Broker, reader: TopicReader, topic: str) -> None:
    """Each record of several partitions is read once, in partition order. An empty partition ends at once."""
    for number in range(30):
        produce(broker.bootstrap_servers, topic, str(number).encode(), partition=number % 2)
    places = [place_of(one) for batch in reader.read(reader.ranges(reader.partitions_of(topic))) for one in batch]
    for partition in (0, 1, 2):
        offsets = [offset for _, number, offset in places if number == partition]
        assert offsets == list(range(15 if partition < 2 else 0))


def test_reading_stops_at_the_requested_end(broker: Broker, reader: TopicReader, topic: str) -> None:
    """Records appended after the request for the end are left out, and so are records outside a range."""
    for value in (b"0", b"1", b"2", b"3"):
        produce(broker.bootstrap_servers, topic, value, partition=1)
    ranges = reader.ranges([(topic, 1)])
    produce(broker.bootstrap_servers, topic, b"later", partition=1)
    assert values_of(reader, ranges) == [b"0", b"1", b"2", b"3"]
    assert values_of(reader, [Range(topic, 1, 1, 3)]) == [b"1", b"2"]


def test_markers_at_the_end_are_passed(broker: Broker, reader: TopicReader, topic: str) -> None:
    """A topic that ends with an aborted transaction is read to its end."""
    produce(broker.bootstrap_servers, topic, b"one", partition=0)
    transaction(broker, topic, [b"never"]).abort_transaction(10)
    # The call returns before the marker is written. The end is 3: two records and the marker.
    ranges = wait_until(
        lambda: [one for one in reader.ranges([(topic, 0)]) if one.end == 3], what="the marker is written"
    )
    assert values_of(reader, ranges) == [b"one"]


def test_open_transaction_is_awaited_only_for_the_high_watermark(
    broker: Broker, reader: TopicReader, topic: str
) -> None:
    """The last stable offset is before an open transaction. A read to the high watermark waits for its end."""
    produce(broker.bootstrap_servers, topic, b"one", partition=0)
    producer = transaction(broker, topic, [b"two"])
    assert values_of(reader, reader.ranges([(topic, 0)])) == [b"one"]
    high = reader.ranges([(topic, 0)], isolation=IsolationLevel.READ_UNCOMMITTED)
    committing = threading.Timer(0.5, producer.commit_transaction, [10])
    committing.start()
    assert values_of(reader, high) == [b"one", b"two"]
    committing.join()


def test_silence_is_an_error(broker: Broker, reader: TopicReader, topic: str) -> None:
    """A partition that sends nothing before its end raises Unavailable with the name of the topic."""
    produce(broker.bootstrap_servers, topic, b"one", partition=0)
    with pytest.raises(Unavailable, match=rf"{topic} was not read to its end: no broker has sent a record"):
        values_of(reader, [Range(topic, 0, 0, 9)])


def test_missing_topic_is_an_error(reader: TopicReader) -> None:
    """A missing topic raises Unavailable instead of counting as empty."""
    with pytest.raises(Unavailable, match="does not exist"):
        reader.partitions_of("none")


def test_deleted_records_are_skipped(broker: Broker, reader: TopicReader, topic: str) -> None:
    """A range that retention truncates before it is read yields the remaining records."""
    for value in (b"0", b"1", b"2"):
        produce(broker.bootstrap_servers, topic, value, partition=0)
    ranges = reader.ranges([(topic, 0)])
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers}, logger=LOG)
    (deleted,) = admin.delete_records([TopicPartition(topic, 0, 2)]).values()
    deleted.result(30)
    assert values_of(reader, ranges) == [b"2"]


def test_unreachable_brokers_are_an_error() -> None:
    """A request without a reachable broker raises Unavailable."""
    kafka = {"bootstrap.servers": "127.0.0.1:1", "socket.connection.setup.timeout.ms": "1000"}
    reader = TopicReader(kafka, AdminClient(kafka, logger=LOG), "signpost.test")
    reader._timeout.seconds = 1.0
    with pytest.raises(Unavailable, match="the brokers do not list their topics"):
        reader.topics()
