"""Tests of the test helpers for topics."""

from __future__ import annotations

import pytest
from confluent_kafka import IsolationLevel, Producer

from deploy.dev.broker import Broker
from tests.support.topics import create_topic, end_offsets, read_topic


def test_read_topic_returns_committed_records_and_tombstones_in_order(broker: Broker, prefix: str) -> None:
    """`read_topic` reads up to the last stable offset, with tombstones and without aborted records."""
    topic = f"{prefix}whole"
    create_topic(broker.bootstrap_servers, topic, 2, cleanup_policy="compact")
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": f"{prefix}writer"})
    producer.list_topics(topic)
    producer.init_transactions()
    for value, commit in (("1", True), ("2", False), (None, True)):
        producer.begin_transaction()
        producer.produce(topic, key="a", value=value, partition=0)
        producer.produce(topic, key="b", value=value, partition=1)
        producer.flush()
        if commit:
            producer.commit_transaction()
        else:
            producer.abort_transaction()

    found = [(m.partition(), m.key(), m.value()) for m in read_topic(broker.bootstrap_servers, topic)]

    assert found == [(0, b"a", b"1"), (0, b"a", None), (1, b"b", b"1"), (1, b"b", None)]
    everything = read_topic(broker.bootstrap_servers, topic, partitions=[0], isolation=IsolationLevel.READ_UNCOMMITTED)
    assert [message.value() for message in everything] == [b"1", b"2", None]


def test_read_topic_does_not_wait_for_an_open_transaction(broker: Broker, prefix: str) -> None:
    """`read_topic` ends at the last stable offset, so it does not wait for an open transaction."""
    topic = f"{prefix}open"
    create_topic(broker.bootstrap_servers, topic)
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "transactional.id": f"{prefix}writer"})
    producer.list_topics(topic)
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce(topic, value="pending")
    producer.flush()

    assert read_topic(broker.bootstrap_servers, topic) == []
    assert end_offsets(broker.bootstrap_servers, topic, IsolationLevel.READ_UNCOMMITTED) == {0: 1}
    producer.abort_transaction()


@pytest.fixture
def empty_topic(broker: Broker, prefix: str) -> str:
    create_topic(broker.bootstrap_servers, f"{prefix}empty", 3)
    return f"{prefix}empty"


def test_empty_topic_is_read_at_once(broker: Broker, empty_topic: str) -> None:
    """`read_topic` returns no records of an empty topic without waiting."""
    assert read_topic(broker.bootstrap_servers, empty_topic, deadline_s=5) == []
