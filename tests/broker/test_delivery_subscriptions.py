"""Delivery when subscriptions change, are missing, or are not read yet."""

from __future__ import annotations

import hmac
from datetime import timedelta
from typing import Any

import pytest
from confluent_kafka import Producer

from deploy.dev.receiver import Received, Receiver
from deploy.dev.responses import CannedResponse, always
from producers.subscriptions.changes import Apply, Change, Delete, Pause, Resume
from schemas.records.delivery import JobCodec, job_id
from schemas.subscriptions.changes import Changes
from schemas.subscriptions.header_rules import GivenHeader
from schemas.subscriptions.rules import Draft, Given
from tests.support.pipeline import SECRET, Pipeline
from tests.support.roles import Role
from tests.support.waiting import wait_until

# Retries after 0.1, 0.5, 3 and 12 s.
SPEEDUP = 600


@pytest.fixture(scope="module")
def deliver(module_pipeline: Pipeline) -> Role:
    """The delivery process of all tests of this file, next to a router."""
    module_pipeline.router()
    return module_pipeline.deliver(delay_speedup=SPEEDUP)


@pytest.fixture
def pipeline(shared: Pipeline, deliver: Role) -> Pipeline:
    """The running pipeline, with a customer of this test alone."""
    return shared


def put_job(pipeline: Pipeline, subscription: str, partition: int, offset: int) -> None:
    """Write a job that names a subscription record, as the router does."""
    codec = JobCodec()
    tail = codec.tail(
        sender="zenoo",
        event_type="case.created",
        event_id="evt_1",
        customer_id=pipeline.customer,
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
        activation=1 << 60,  # higher than that of any record
        run=0,
        attempt=1,
        due_at_ms=0,
        first_offset=-1,
    )
    producer = Producer({"bootstrap.servers": pipeline.bootstrap_servers, "partitioner": "murmur2_random"})
    producer.produce(f"{pipeline.names.prefix}jobs.0s", value, subscription)
    assert producer.flush(30) == 0


def place_of(pipeline: Pipeline, subscription: str) -> tuple[int, int]:
    """Return partition and offset of the record of a subscription."""
    (message,) = [m for m in pipeline.read(pipeline.names.subscriptions) if m.key() == subscription.encode()]
    partition = message.partition()
    offset = message.offset()
    assert partition is not None
    assert offset is not None
    return partition, offset


def next_place(pipeline: Pipeline) -> tuple[int, int]:
    """Return where the next record of the customer's subscriptions will be."""
    (probe,) = pipeline.subscribe("http://127.0.0.1:9/probe", start=99)
    partition, offset = place_of(pipeline, probe)
    return partition, offset + 2  # the marker of its transaction is between them


def is_signed(request: Received, secret: bytes) -> bool:
    """Return whether a secret signed a request."""
    return request.header("X-Zenoo-Signature") == f"sha256={hmac.digest(secret, request.body, 'sha256').hex()}"


@pytest.mark.promise(1)
@pytest.mark.parametrize("partition", [0, 99])
def test_job_of_a_lost_subscription_record_is_dead(pipeline: Pipeline, receiver: Receiver, partition: int) -> None:
    """A job whose subscription record is lost is dead. Once the subscription exists again, the job is delivered."""
    put_job(pipeline, pipeline.subscription_id(), partition, 1_000_000)
    (outcome,) = pipeline.wait_for_ends(1)
    assert (outcome["state"], outcome["reason"]) == ("dead", "unknown_subscription")
    (letter,) = pipeline.dead_letters()
    assert (letter.reason, letter.subscription_id) == ("unknown_subscription", pipeline.subscription_id())
    assert letter.value is not None
    assert receiver.requests == []

    pipeline.subscribe(receiver.url)
    put_job(pipeline, pipeline.subscription_id(), partition, 1_000_000)
    (request,) = receiver.wait_for(1)
    assert request.body == b"{}"


@pytest.mark.promise(1, 7)
def test_job_of_a_deleted_subscription_is_cancelled(pipeline: Pipeline, receiver: Receiver) -> None:
    """A job of a deleted subscription ends as cancelled with the reason `deleted`, and nothing is sent."""
    (id_,) = pipeline.subscribe(receiver.url)
    place = place_of(pipeline, id_)
    pipeline.write(Delete(id_))
    put_job(pipeline, id_, *place)
    (outcome,) = pipeline.wait_for_ends(1)
    assert (outcome["state"], outcome["reason"]) == ("cancelled", "deleted")
    assert receiver.requests == []


@pytest.mark.promise(7)
@pytest.mark.decision("O28", "O29", "D26", "D27")
@pytest.mark.parametrize(("change", "reason"), [(Delete, "deleted"), (Pause, "paused")])
def test_no_attempt_starts_after_an_acknowledged_delete_or_pause(
    pipeline: Pipeline, receiver: Receiver, change: type[Delete] | type[Pause], reason: str
) -> None:
    """Once a delete or pause is acknowledged, nothing is sent any more, and waiting jobs end as cancelled."""
    receiver.behave = always(CannedResponse(500))
    (id_,) = pipeline.subscribe(receiver.url)
    pipeline.publish_some(200)
    receiver.wait_for(100)  # retries follow after 0.1 and 0.5 s: some are always in flight
    pipeline.write(change(id_))
    sent = len(receiver.requests)
    outcomes = pipeline.wait_for_ends(200)
    assert len(receiver.requests) == sent
    cancelled = [outcome["reason"] for outcome in outcomes if outcome["state"] == "cancelled"]
    assert cancelled == [reason] * 200


@pytest.mark.promise(7)
def test_jobs_that_waited_at_a_pause_are_never_sent(pipeline: Pipeline, receiver: Receiver) -> None:
    """A job from before a pause is cancelled even if it is due after the resume. New events are delivered."""
    receiver.behave = always(CannedResponse(500))
    (id_,) = pipeline.subscribe(receiver.url)
    pipeline.publish_some(1)
    receiver.wait_for(4)  # the next attempt is due in 12 s: enough time for both changes
    pipeline.write(Pause(id_))
    pipeline.write(Resume(id_))
    receiver.behave = always(CannedResponse(200))
    pipeline.publish_some(1, start=1)
    outcomes = {outcome["event_id"]: outcome for outcome in pipeline.wait_for_ends(2) if outcome["state"] != "retry"}
    assert (outcomes["evt_0"]["state"], outcomes["evt_0"]["reason"]) == ("cancelled", "reactivated")
    assert outcomes["evt_1"]["state"] == "delivered"


@pytest.mark.decision("D28")
def test_waiting_jobs_go_to_a_new_url(pipeline: Pipeline, receiver: Receiver) -> None:
    """The URL is looked up when a request starts, so a change applies to waiting jobs."""
    receiver.behave = lambda received: CannedResponse(500 if received.path == "/old" else 200)
    pipeline.subscribe(f"{receiver.url}old")
    pipeline.publish_some(1)
    receiver.wait_for(1)
    pipeline.subscribe(f"{receiver.url}new")
    pipeline.wait_for_ends(1)
    *before, last = [request.path for request in receiver.requests]
    assert (set(before), last) == ({"/old"}, "/new")


@pytest.mark.decision("D28")
def test_narrower_event_types_cancel_no_job(pipeline: Pipeline, receiver: Receiver) -> None:
    """A job keeps its retries after its subscription has stopped to take events of that type."""
    receiver.behave = always(CannedResponse(500))
    (id_,) = pipeline.subscribe(receiver.url)
    pipeline.publish_some(1)
    receiver.wait_for(2)
    pipeline.write(Change(id_, Changes(event_types=("case.closed",))))
    sent = len(receiver.requests)
    receiver.behave = always(CannedResponse(200))
    outcomes = pipeline.wait_for_ends(1)
    assert [outcome["state"] for outcome in outcomes][-1] == "delivered"
    assert len(receiver.requests) > sent  # an attempt after the change


@pytest.mark.decision("Z12")
def test_new_secret_signs_waiting_jobs(pipeline: Pipeline, receiver: Receiver) -> None:
    """After a change of the secret the next attempt of a waiting job is signed with the new secret only."""
    receiver.behave = always(CannedResponse(500))
    pipeline.subscribe(receiver.url)
    pipeline.publish_some(1)
    receiver.wait_for(1)
    pipeline.subscribe(receiver.url, secret="the-new-secret")
    known = len(receiver.requests)  # one more may be in flight
    wait_until(lambda: is_signed(receiver.requests[-1], b"the-new-secret"), what="the new secret signs")
    assert all(is_signed(request, b"the-new-secret") for request in receiver.requests[known + 1 :])
    pipeline.write(Delete(pipeline.subscription_id()))


@pytest.mark.promise(1)
def test_jobs_of_an_unusable_subscription_wait_until_it_is_repaired(
    pipeline: Pipeline, deliver: Role, receiver: Receiver
) -> None:
    """An unreadable subscription record cancels nothing: its jobs are deferred until the record is repaired."""
    partition, offset = next_place(pipeline)
    id_ = pipeline.subscription_id()
    producer = Producer({"bootstrap.servers": pipeline.bootstrap_servers})
    producer.produce(pipeline.names.subscriptions, b"not a record", id_, partition=partition)
    assert producer.flush(30) == 0
    put_job(pipeline, id_, partition, offset)
    wait_until(
        lambda: deliver.metric("signpost_delivery_deferred_total", reason="unusable_subscription") >= 2,
        what="the job is deferred twice",
    )
    assert receiver.requests == []
    pipeline.subscribe(receiver.url)
    (request,) = receiver.wait_for(1)
    assert request.body == b"{}"
    (outcome,) = pipeline.wait_for_ends(1)
    assert outcome["attempt"] == 1


def draft_of(pipeline: Pipeline, receiver: Receiver, **settings: Any) -> Draft:
    """Return a subscription to all event types, with the given settings."""
    return Draft(
        id=pipeline.subscription_id(),
        sender="zenoo",
        customer_id=pipeline.customer,
        url=receiver.url,
        event_types=("*",),
        secret=Given(SECRET),
        **settings,
    )


@pytest.mark.promise(7)
def test_settings_of_a_subscription_apply_at_once(pipeline: Pipeline, receiver: Receiver) -> None:
    """Its headers are sent before the signature, its schedule ends the job, and echoed header values are masked."""
    token = "canary-token-0123456789"
    receiver.behave = lambda received: CannedResponse(500, body=f"you sent {received.header('Authorization')}".encode())
    draft = draft_of(
        pipeline,
        receiver,
        headers=(GivenHeader("Authorization", f"Bearer {token}"), GivenHeader("X-Region", "eu")),
        schedule=(timedelta(minutes=5),),
        timeout=timedelta(seconds=2),
    )
    pipeline.write(Apply(draft))
    pipeline.publish_some(1)

    outcomes = pipeline.wait_for_ends(1)

    assert [outcome["state"] for outcome in outcomes] == ["retry", "dead"]
    assert all(outcome["response"] == b"you sent ***" for outcome in outcomes)
    names = [name for name, _ in receiver.requests[-1].headers]
    assert names.index("Authorization") < names.index("X-Region") < names.index("X-Zenoo-Signature")
    assert {request.header("Authorization") for request in receiver.requests} == {f"Bearer {token}"}

    pipeline.write(Change(draft.id, Changes(without_headers=("authorization",), schedule=())))
    receiver.clear()
    pipeline.publish_some(1, start=1)
    assert [outcome["state"] for outcome in pipeline.wait_for_ends(2)][-1] == "dead"
    (request,) = receiver.requests
    assert (request.header("Authorization"), request.header("X-Region")) == (None, "eu")


def test_rate_limit_holds_in_every_second(pipeline: Pipeline, receiver: Receiver) -> None:
    """At most `rate_limit` attempts of a backlog start in any second, whether jobs wait in memory or are deferred."""
    pipeline.write(Apply(draft_of(pipeline, receiver, rate_limit=10)))
    pipeline.publish_some(25)

    outcomes = pipeline.wait_for_ends(25)

    started_ms = sorted(outcome["at_ms"] for outcome in outcomes)
    assert len(started_ms) == 25
    assert [
        (first, last) for first, last in zip(started_ms, started_ms[10:], strict=False) if last - first < 1_000
    ] == []
