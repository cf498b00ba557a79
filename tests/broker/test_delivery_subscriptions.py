"""What delivery does when subscriptions change, or are not known yet."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer

from deploy.local.receiver import Receiver
from deploy.local.replies import Answer, always
from producers.subscription_changes import Delete, Pause, Resume
from schemas.delivery import JobCodec, job_id
from tests.support.pipeline import CUSTOMER, Pipeline
from tests.support.waiting import wait_until


def put_job(pipeline: Pipeline, subscription: str, partition: int, offset: int) -> None:
    """Write a job that names a subscription record, as the router does."""
    codec = JobCodec()
    tail = codec.tail(
        sender="zenoo",
        event_type="case.created",
        event_id="evt_1",
        customer_id=CUSTOMER,
        source_topic=pipeline.events_topic,
        source_partition=0,
        source_offset=0,
        appended_at_ms=1_700_000_000_000,
        body=b"{}",
    )
    value = codec.encode(
        tail,
        job_id=job_id(pipeline.events_topic, 0, 0, subscription),
        subscription_id=subscription,
        subscription_partition=partition,
        subscription_offset=offset,
        activation=1 << 60,  # of a record that is newer than all others
        run=0,
        attempt=1,
        due_at_ms=0,
        first_offset=-1,
    )
    producer = Producer({"bootstrap.servers": pipeline.bootstrap_servers, "partitioner": "murmur2_random"})
    producer.produce(f"{pipeline.names.prefix}jobs.0s", value, subscription)
    assert producer.flush(30) == 0


def partition_of_customer(pipeline: Pipeline) -> tuple[int, int]:
    """Return where the next record of the customer's subscriptions will be."""
    pipeline.subscribe("http://127.0.0.1:9/probe", start=99)
    (message,) = [m for m in pipeline.read(pipeline.names.subscriptions) if m.key() == b"sub-99"]
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return partition, offset + 2  # its transaction's marker is between


def test_a_job_waits_for_the_record_that_it_matched(pipeline: Pipeline, receiver: Receiver) -> None:
    """A job whose subscription record this process has not read yet waits for it, and is then sent."""
    partition, offset = partition_of_customer(pipeline)
    put_job(pipeline, "sub-0", partition, offset)
    deliver = pipeline.deliver()
    wait_until(lambda: deliver.metric("signpost_delivery_jobs_waiting", tier="0s") == 1, what="the job waits")
    assert receiver.requests == []
    pipeline.subscribe(receiver.url)
    assert len(receiver.wait_for(1)) == 1


def test_a_job_of_a_deleted_subscription_is_cancelled(pipeline: Pipeline, receiver: Receiver) -> None:
    """A job whose subscription is gone ends as cancelled, with the reason, and nothing is sent."""
    pipeline.subscribe(receiver.url)
    pipeline.publish_some(3)
    router = pipeline.router()
    wait_until(lambda: router.metric("signpost_router_jobs_total") == 3)
    pipeline.write(Delete("sub-0"))
    pipeline.deliver()
    outcomes = pipeline.wait_for_ends(3)
    assert {(outcome["state"], outcome["reason"]) for outcome in outcomes} == {("cancelled", "deleted")}
    assert receiver.requests == []


@pytest.mark.parametrize(("change", "reason"), [(Delete("sub-0"), "deleted"), (Pause("sub-0"), "paused")])
def test_no_attempt_starts_after_a_delete_or_pause_was_acknowledged(
    pipeline: Pipeline, receiver: Receiver, change: Delete | Pause, reason: str
) -> None:
    """Once a delete or pause is acknowledged nothing is sent any more, and what waited ends as cancelled."""
    receiver.behave = always(Answer(500))
    pipeline.subscribe(receiver.url)
    pipeline.publish_some(200)
    pipeline.router()
    pipeline.deliver(delay_speedup=600)  # a retry after 0.1 s, then after 0.5 s: some are always under way
    receiver.wait_for(100)
    pipeline.write(change)
    sent = len(receiver.requests)
    outcomes = pipeline.wait_for_ends(200)
    assert len(receiver.requests) == sent
    cancelled = [outcome["reason"] for outcome in outcomes if outcome["state"] == "cancelled"]
    assert cancelled == [reason] * 200


def test_what_waited_when_it_was_paused_is_never_sent(pipeline: Pipeline, receiver: Receiver) -> None:
    """A job from before a pause is cancelled also when it comes up after the resume; new events are delivered."""
    receiver.behave = always(Answer(500))
    pipeline.subscribe(receiver.url)
    pipeline.publish_some(1)
    pipeline.router()
    deliver = pipeline.deliver(delay_speedup=15)  # a retry after 4 s: time for both changes
    receiver.wait_for(1)
    wait_until(lambda: deliver.metric("signpost_delivery_transactions_total", result="committed") >= 1)
    pipeline.write(Pause("sub-0"))
    pipeline.write(Resume("sub-0"))
    receiver.behave = always(Answer(200))
    pipeline.publish_some(1, start=1)
    outcomes = {outcome["event_id"]: outcome for outcome in pipeline.wait_for_ends(2)}
    assert (outcomes["evt_0"]["state"], outcomes["evt_0"]["reason"]) == ("cancelled", "reactivated")
    assert outcomes["evt_1"]["state"] == "delivered"


def test_a_new_url_is_where_waiting_jobs_go(pipeline: Pipeline, receiver: Receiver) -> None:
    """URL and secret are looked up when a request starts: a change applies to what already waits."""
    receiver.behave = lambda received: Answer(500 if received.path == "/old" else 200)
    pipeline.subscribe(f"{receiver.url}old")
    pipeline.publish_some(1)
    pipeline.router()
    pipeline.deliver(delay_speedup=60)
    receiver.wait_for(1)
    pipeline.subscribe(f"{receiver.url}new")
    assert [request.path for request in receiver.wait_for(2)] == ["/old", "/new"]


def test_jobs_of_an_unusable_subscription_wait_until_it_is_mended(pipeline: Pipeline, receiver: Receiver) -> None:
    """A subscription record that nobody can read cancels nothing: its jobs are parked until the record is mended."""
    partition, offset = partition_of_customer(pipeline)
    producer = Producer({"bootstrap.servers": pipeline.bootstrap_servers})
    producer.produce(pipeline.names.subscriptions, b"not a record", "sub-0", partition=partition)
    assert producer.flush(30) == 0
    put_job(pipeline, "sub-0", partition, offset)
    deliver = pipeline.deliver(delay_speedup=60)
    wait_until(
        lambda: deliver.metric("signpost_delivery_parked_total", reason="unusable_subscription") >= 2,
        what="the job is parked, and again",
    )
    assert receiver.requests == []
    pipeline.subscribe(receiver.url)
    (request,) = receiver.wait_for(1)
    assert request.body == b"{}"
    (outcome,) = pipeline.wait_for_ends(1)
    assert outcome["attempt"] == 1
