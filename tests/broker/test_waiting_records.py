"""What waits is counted in records, although every transaction leaves a marker in the log."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from confluent_kafka import Producer

from deploy.dev.broker import Broker
from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, always
from schemas.records.partitioner import partition_of
from tests.support.installation import Installation, event, subscription, value_of
from tests.support.pipeline import Pipeline
from tests.support.roles import Role
from tests.support.topics import end_offsets
from tests.support.waiting import wait_until


def waiting(deliver: Role, topic: str, delay: str) -> tuple[float, float]:
    """Return the jobs that wait in a delay topic, and the lag of that topic."""
    jobs = deliver.metric("signpost_delivery_jobs_waiting", delay=delay)
    return jobs, deliver.metric("signpost_consumer_lag_records", topic=topic)


def is_soon(found: Callable[[], object], expected: object) -> None:
    """Wait until a value is as expected."""

    def is_expected() -> bool:
        assert found() == expected
        return True

    wait_until(is_expected, what=f"{expected}")


def test_job_that_waits_alone_counts_as_one(pipeline: Pipeline, receiver: Receiver) -> None:
    """One job in a delay topic is one waiting job, after a restart of its process as well; a second one makes two."""
    receiver.behave = always(CannedResponse(500))
    pipeline.subscribe(receiver.url)
    pipeline.router()
    deliver = pipeline.deliver()
    topic = f"{pipeline.names.prefix}jobs.1m"
    for jobs in (1, 2):
        pipeline.publish_some(1, start=jobs)
        receiver.wait_for(jobs)
        wait_until(lambda jobs=jobs: pipeline.size(topic) == 2 * jobs, what="the retry is committed")  # type: ignore[misc]  # bound at once
        is_soon(lambda: waiting(deliver, topic, "1m"), (jobs, jobs))
    assert deliver.terminate() == 0
    deliver = pipeline.deliver()
    is_soon(lambda: waiting(deliver, topic, "1m"), (2, 2))
    assert deliver.metric("signpost_delivery_jobs_waiting", delay="0s") == 0


def transactional(broker: Broker, prefix: str) -> Producer:
    """Return a producer as platform teams may use: each event is a transaction."""
    config = {"bootstrap.servers": broker.bootstrap_servers, "transactional.id": f"{prefix}team", "log_level": 0}
    producer = Producer(config)
    producer.init_transactions(30)
    return producer


@pytest.fixture
def here(broker: Broker, prefix: str) -> Installation:
    return Installation(broker.bootstrap_servers, prefix).make_topics()


def test_lag_of_a_source_has_no_transaction_markers(here: Installation, broker: Broker, prefix: str) -> None:
    """A source is read to its end with lag 0, and a record before which the router waits is lag 1 from the start on."""
    producer = transactional(broker, prefix)

    def publish(number: int) -> None:
        producer.begin_transaction()
        producer.produce(here.events_topic, value_of(event(f"aborted_{number}")), partition=0)
        assert producer.flush(30) == 0
        producer.abort_transaction(30)
        producer.begin_transaction()
        producer.produce(here.events_topic, value_of(event(f"evt_{number}")), partition=0)
        producer.commit_transaction(30)

    here.subscribe(subscription("one"))
    with here.router() as router:
        router.wait_ready()
        publish(1)
        is_soon(lambda: len(here.jobs()), 1)
        is_soon(lambda: router.metric("signpost_consumer_lag_records", topic=here.events_topic), 0)
        # The customer's partition of subscriptions gets a record that nobody can read.
        here.produce(here.names.subscriptions, b"odd", b"odd", partition=partition_of("acme", 3))
        wait_until(lambda: router.role.loop._subscribers.blocked("acme") is not None, what="the customer is blocked")
        publish(2)
        publish(3)
        is_soon(lambda: router.metric("signpost_consumer_lag_records", topic=here.events_topic), 2)
    with here.router() as again:
        is_soon(lambda: again.metric("signpost_consumer_lag_records", topic=here.events_topic), 2)
    assert sum(end_offsets(here.bootstrap_servers, here.events_topic).values()) == 3 * 4
