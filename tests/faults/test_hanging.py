"""Hanging transactions: a single broker that shuts down may lose the end of a transaction."""

from __future__ import annotations

import threading
from functools import partial

import pytest
from confluent_kafka import Consumer, IsolationLevel, KafkaException, Producer, TopicPartition

from consumers.kafka.hanging import Sweep
from deploy.dev.broker import Broker
from deploy.dev.receiver import Receiver
from tests.support.pipeline import Pipeline
from tests.support.roles import RoleStarter
from tests.support.topics import end_offsets
from tests.support.waiting import wait_until

pytestmark = pytest.mark.promise(1)

STOPS = 5
INSTANCES = 20
EVERY_S = 0.01


class OpenTransaction:
    """A transaction with the id of a delivery process, complete except for its end."""

    def __init__(self, pipeline: Pipeline, instance: int) -> None:
        prefix = pipeline.names.prefix
        servers = {"bootstrap.servers": pipeline.bootstrap_servers, "log_level": 0}
        self.instance = instance
        self.group = f"{prefix}deliver"
        self.servers = {"bootstrap.servers": pipeline.bootstrap_servers}
        self.config = {**servers, "transactional.id": f"{self.group}.{instance}"}
        delay_topic = ("0s", "5s", "1m", "5m", "30m", "2h", "24h")[instance // 3]
        self.place = TopicPartition(f"{prefix}jobs.{delay_topic}", instance % 3, 0)
        self.outcomes = pipeline.names.outcomes
        self.reader = Consumer({**servers, "group.id": self.group})
        self._producer = Producer(self.config)
        self._producer.list_topics(timeout=30)
        self._producer.init_transactions(30)
        self._producer.begin_transaction()
        self._producer.produce(self.outcomes, b"", partition=instance % 3)
        self._producer.flush(30)
        self._producer.send_offsets_to_transaction([self.place], self.reader.consumer_group_metadata(), 30)

    def end(self, after_s: float) -> None:
        """Commit it after a delay, in another thread."""
        threading.Timer(after_s, self._end).start()

    def _end(self) -> None:
        try:
            self._producer.commit_transaction(1)
        except KafkaException:
            return

    def hangs(self) -> bool:
        """Return whether its offset is still pending after a successor has initialized the same transactional id."""
        Producer(self.config).init_transactions(30)
        try:
            self.reader.committed([self.place], timeout=1)
        except KafkaException:
            return True
        return False

    def abort(self) -> bool:
        """Abort it as its process would."""
        return Sweep(self.servers, self.group, self.place, [self.outcomes]).by_successor(self.config)


def commit_while_broker_stops(pipeline: Pipeline, broker: Broker) -> list[OpenTransaction]:
    """Stop the broker while transactions commit, and start it again."""
    transactions = [OpenTransaction(pipeline, instance) for instance in range(INSTANCES)]
    stop = threading.Thread(target=broker.stop)
    stop.start()
    for transaction in transactions:  # the critical moment cannot be observed; one of many commits meets it
        transaction.end(transaction.instance * EVERY_S)
    stop.join()
    broker.start()
    return transactions


@pytest.mark.long
def test_hanging_transaction_is_aborted(own_broker: Broker, start_role: RoleStarter, receiver: Receiver) -> None:
    """A delivery process that finds pending positions aborts the hanging transaction of its own id and continues."""
    pipeline = Pipeline(own_broker.bootstrap_servers, "hangs.", start_role)
    pipeline.subscribe(receiver.url)
    for _ in range(STOPS):
        transactions = commit_while_broker_stops(pipeline, own_broker)
        if hanging := [transaction for transaction in transactions if transaction.hangs()]:
            break
    else:
        pytest.skip(f"{STOPS} stops of the broker lost no end of a transaction")
    # Another may have lost the end of its record only, which `hangs` does not see.
    assert all(other.abort() for other in transactions if other is not hanging[0])
    role = pipeline.start("deliver", "--instance", str(hanging[0].instance), ready=False)
    pipeline.publish_some(3)
    pipeline.router()

    receiver.wait_for(3)
    wait_until(lambda: role.metric("signpost_delivery_uncommitted_outcomes") == 0, what="all outcomes are committed")

    def none_hangs() -> bool:
        ends = partial(end_offsets, pipeline.bootstrap_servers, pipeline.names.outcomes)
        return ends() == ends(IsolationLevel.READ_UNCOMMITTED)

    wait_until(none_hangs, what="no transaction hangs")
    assert role.terminate() == 0
