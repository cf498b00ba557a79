"""What delivery does when subscriptions change, or are not known yet."""

from __future__ import annotations

import hmac
from datetime import timedelta
from typing import Any

import pytest
from confluent_kafka import Producer

from deploy.dev.receiver import Received, Receiver
from deploy.dev.responses import Response, always
from producers.subscriptions.changes import Apply, Change, Delete, Pause, Resume
from schemas.records.delivery import JobCodec, job_id
from schemas.subscriptions.changes import Changes
from schemas.subscriptions.header_rules import HeaderWish
from schemas.subscriptions.rules import Draft, Given
from tests.support.pipeline import SECRET, Pipeline
from tests.support.roles import Role
from tests.support.waiting import wait_until

# Retries after 0.1, 0.5, 3 and 12 s.
SPEEDUP = 600


@pytest.fixture(scope="module")
def deliver(module_pipeline: Pipeline) -> Role:
    """The delivery process of all tests of this file, beside a router."""
    module_pipeline.router()
    return module_pipeline.deliver(delay_speedup=SPEEDUP)


@pytest.fixture
def pipeline(shared: Pipeline, deliver: Role) -> Pipeline:
    """The pipeline that runs, with a customer of the test's own."""
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
        activation=1 << 60,  # of a record that is newer than all others
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
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return partition, offset


def next_place(pipeline: Pipeline) -> tuple[int, int]:
    """Return where the next record of the customer's subscriptions will be."""
    (probe,) = pipeline.subscribe("http://127.0.0.1:9/probe", start=99)
    partition, offset = place_of(pipeline, probe)
    return partition, offset + 2  # its transaction's marker is between


def is_signed(request: Received, secret: bytes) -> bool:
    """Tell whether a secret signed a request."""
    return request.header("X-Zenoo-Signature") == f"sha256={hmac.digest(secret, request.body, 'sha256').hex()}"


@pytest.mark.promise(1)
@pytest.mark.parametrize("partition", [0, 99])
def test_a_job_of_a_record_that_is_nowhere_is_dead(pipeline: Pipeline, receiver: Receiver, partition: int) -> None:
    """Where the topic lost records, nobody knows whom a job is for; with the subscription back it is delivered."""
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
def test_a_job_of_a_deleted_subscription_is_cancelled(pipeline: Pipeline, receiver: Receiver) -> None:
    """A job whose subscription is gone ends as cancelled, with the reason, and nothing is sent."""
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
def test_no_attempt_starts_after_a_delete_or_pause_was_acknowledged(
    pipeline: Pipeline, receiver: Receiver, change: type[Delete] | type[Pause], reason: str
) -> None:
    """Once a delete or pause is acknowledged nothing is sent any more, and what waited ends as cancelled."""
    receiver.behave = always(Response(500))
    (id_,) = pipeline.subscribe(receiver.url)
    pipeline.publish_some(200)
    receiver.wait_for(100)  # a retry follows after 0.1 s, another after 0.5 s: some are always under way
    pipeline.write(change(id_))
    sent = len(receiver.requests)
    outcomes = pipeline.wait_for_ends(200)
    assert len(receiver.requests) == sent
    cancelled = [outcome["reason"] for outcome in outcomes if outcome["state"] == "cancelled"]
    assert cancelled == [reason] * 200


@pytest.mark.promise(7)
def test_what_waited_when_it_was_paused_is_never_sent(pipeline: Pipeline, receiver: Receiver) -> None:
    """A job from before a pause is cancelled also when it comes up after the resume; new events are delivered."""
    receiver.behave = always(Response(500))
    (id_,) = pipeline.subscribe(receiver.url)
    pipeline.publish_some(1)
    receiver.wait_for(4)  # it comes up again in 12 s: time for both changes
    pipeline.write(Pause(id_))
    pipeline.write(Resume(id_))
    receiver.behave = always(Response(200))
    pipeline.publish_some(1, start=1)
    outcomes = {outcome["event_id"]: outcome for outcome in pipeline.wait_for_ends(2) if outcome["state"] != "retry"}
    assert (outcomes["evt_0"]["state"], outcomes["evt_0"]["reason"]) == ("cancelled", "reactivated")
    assert outcomes["evt_1"]["state"] == "delivered"


@pytest.mark.decision("D28")
def test_a_new_url_is_where_waiting_jobs_go(pipeline: Pipeline, receiver: Receiver) -> None:
    """The URL is looked up when a request starts: a change applies to what already waits."""
    receiver.behave = lambda received: Response(500 if received.path == "/old" else 200)
    pipeline.subscribe(f"{receiver.url}old")
    pipeline.publish_some(1)
    receiver.wait_for(1)
    pipeline.subscribe(f"{receiver.url}new")
    pipeline.wait_for_ends(1)
    *before, last = [request.path for request in receiver.requests]
    assert (set(before), last) == ({"/old"}, "/new")


@pytest.mark.decision("Z12")
def test_a_new_secret_signs_what_already_waits(pipeline: Pipeline, receiver: Receiver) -> None:
    """After a rotation the next attempt of a waiting job is signed with the new secret only."""
    receiver.behave = always(Response(500))
    pipeline.subscribe(receiver.url)
    pipeline.publish_some(1)
    receiver.wait_for(1)
    pipeline.subscribe(receiver.url, secret="the-new-secret")
    known = len(receiver.requests)  # one more may have been open
    wait_until(lambda: is_signed(receiver.requests[-1], b"the-new-secret"), 60, "the new secret signs")
    assert all(is_signed(request, b"the-new-secret") for request in receiver.requests[known + 1 :])
    pipeline.write(Delete(pipeline.subscription_id()))


@pytest.mark.promise(1)
def test_jobs_of_an_unusable_subscription_wait_until_it_is_mended(
    pipeline: Pipeline, deliver: Role, receiver: Receiver
) -> None:
    """A subscription record that nobody can read cancels nothing: its jobs are deferred until the record is mended."""
    partition, offset = next_place(pipeline)
    id_ = pipeline.subscription_id()
    producer = Producer({"bootstrap.servers": pipeline.bootstrap_servers})
    producer.produce(pipeline.names.subscriptions, b"not a record", id_, partition=partition)
    assert producer.flush(30) == 0
    put_job(pipeline, id_, partition, offset)
    wait_until(
        lambda: deliver.metric("signpost_delivery_deferred_total", reason="unusable_subscription") >= 2,
        what="the job is deferred, and again",
    )
    assert receiver.requests == []
    pipeline.subscribe(receiver.url)
    (request,) = receiver.wait_for(1)
    assert request.body == b"{}"
    (outcome,) = pipeline.wait_for_ends(1)
    assert outcome["attempt"] == 1


def draft_of(pipeline: Pipeline, receiver: Receiver, **settings: Any) -> Draft:
    """Return a subscription to everything, with settings of its own."""
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
def test_settings_of_a_subscription_hold_at_once(pipeline: Pipeline, receiver: Receiver) -> None:
    """Its headers are sent before the signature, its schedule ends its job, and what its endpoint tells is masked."""
    token = "canary-token-0123456789"
    receiver.behave = lambda received: Response(500, body=f"you sent {received.header('Authorization')}".encode())
    draft = draft_of(
        pipeline,
        receiver,
        headers=(HeaderWish("Authorization", f"Bearer {token}"), HeaderWish("X-Region", "eu")),
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


def test_a_rate_limit_holds_in_every_second(pipeline: Pipeline, receiver: Receiver) -> None:
    """Of a backlog no more attempts begin in any second than the subscription says, however it was read or deferred."""
    draft = draft_of(
        pipeline,
        receiver,
        rate_limit=10,
    )
    pipeline.write(Apply(draft))
    pipeline.publish_some(25)

    outcomes = pipeline.wait_for_ends(25)

    began = sorted(outcome["at_ms"] for outcome in outcomes)
    assert len(began) == 25
    assert [(first, last) for first, last in zip(began, began[10:], strict=False) if last - first < 1_000] == []
