"""State on a compacted topic, read whole before its partition is used."""

from __future__ import annotations

import logging

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from consumers.kafka.compacted_partition import CompactedPartition
from deploy.dev.broker import Broker
from tests.support.topics import create_topic

LOG = logging.getLogger("signpost.kafka")


def producer(broker: Broker, transactional_id: str) -> Producer:
    """Return a producer that has begun a transaction, which the broker ends after 2 s."""
    config = {
        "bootstrap.servers": broker.bootstrap_servers,
        "transactional.id": transactional_id,
        "transaction.timeout.ms": 2_000,
    }
    made = Producer(config, logger=LOG)
    made.list_topics(timeout=10)
    made.init_transactions(10)
    made.begin_transaction()
    return made


def test_what_a_later_owner_committed_is_seen_behind_a_transaction_left_open(broker: Broker, prefix: str) -> None:
    """A reader waits for the end of an open transaction and then knows all that was committed after it began."""
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
