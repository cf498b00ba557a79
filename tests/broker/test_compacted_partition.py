"""State on a compacted topic, read completely before its partition is used."""

from __future__ import annotations

import logging

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from consumers.kafka.compacted_partition import CompactedPartition
from deploy.dev.broker import Broker
from tests.support.topics import create_topic

LOG = logging.getLogger("signpost.kafka")


def producer(broker: Broker, transactional_id: str) -> Producer:
    """Return a producer with an open transaction, which the broker aborts after 2 s."""
    config = {
        "bootstrap.servers": broker.bootstrap_servers,
        "transactional.id": transactional_id,
        "transaction.timeout.ms": 2_000,
    }
    transactional = Producer(config, logger=LOG)
    transactional.list_topics(timeout=10)
    transactional.init_transactions(10)
    transactional.begin_transaction()
    return transactional


def test_records_of_a_later_owner_are_read_behind_an_open_transaction(broker: Broker, prefix: str) -> None:
    """A reader waits until an open transaction ends, and then has all records committed after it began."""
    topic = f"{prefix}health"
    create_topic(broker.bootstrap_servers, topic, partitions=2)
    zombie = producer(broker, f"{prefix}zombie")
    zombie.produce(topic, b"never", b"sub_z", partition=1)
    zombie.flush(10)
    owner = producer(broker, f"{prefix}owner")
    for key, value in ((b"sub_1", b"one"), (b"sub_2", b"two"), (b"sub_1", b"three"), (b"sub_2", None)):
        owner.produce(topic, value, key, partition=1)
    owner.commit_transaction(10)
    kafka = {"bootstrap.servers": broker.bootstrap_servers}
    state = CompactedPartition(kafka, AdminClient(kafka, logger=LOG), topic)
    assert state.read([0, 1]) == {0: {}, 1: {"sub_1": b"three"}}
