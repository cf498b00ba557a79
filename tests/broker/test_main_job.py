"""The main job, end to end: an event on a real Kafka reaches an HTTP endpoint as a signed webhook."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, always, fail_first
from schemas.events.event import Event
from schemas.records.delivery import DeadLetter, DeadLetterCodec
from schemas.senders.event_codec import encode_event
from tests.contracts.zenoo import EXAMPLES, event_of, golden
from tests.support.pipeline import SECRET, Pipeline, ends_of
from tests.support.roles import Role
from tests.support.topics import produce
from tests.support.waiting import wait_until

# The schedule's 26 h 36 min pass in 9.6 s.
FAST = 10_000
Roles = tuple[Role, Role]


@pytest.fixture(scope="module")
def roles(module_pipeline: Pipeline) -> Roles:
    """A router and a delivery process for all tests of this file."""
    return module_pipeline.router(), module_pipeline.deliver(delay_speedup=FAST)


@pytest.fixture
def pipeline(shared: Pipeline, roles: Roles) -> Pipeline:
    """The running pipeline, with a customer of this test alone."""
    return shared


@pytest.mark.decision("Z10", "Z15", "Z16", "Z28")
def test_every_event_type_arrives_as_the_contract_shows_it(pipeline: Pipeline, receiver: Receiver) -> None:
    """Each of the 14 types passes Avro, Kafka, router and delivery, and arrives signed with the documented bytes."""
    pipeline.subscribe(f"{receiver.url}hooks")
    pipeline.publish(event_of(document, pipeline.customer) for document in EXAMPLES.values())
    received = {request.event_id: request for request in receiver.wait_for(14)}
    assert len(received) == 14
    for document in EXAMPLES.values():
        request = received[document["event_id"]]
        assert request.body == golden(document)
        digest = hmac.new(SECRET.encode(), request.body, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(request.header("X-Zenoo-Signature") or "", f"sha256={digest}")
        assert request.method == "POST"
        assert [name for name, _ in request.headers] == [
            "Host",
            "Content-Type",
            "User-Agent",
            "X-Zenoo-Signature",
            "Content-Length",
        ]


@pytest.mark.promise(1, 3)
@pytest.mark.decision("Z3", "Z4", "Z8")
def test_job_is_dead_after_the_whole_schedule(pipeline: Pipeline, receiver: Receiver) -> None:
    """An endpoint that always fails gets six attempts, none early, with the same bytes. Then the job is dead."""
    receiver.behave = always(CannedResponse(500))
    pipeline.subscribe(receiver.url)
    pipeline.publish_some(3)
    outcomes = pipeline.wait_for_ends(3)
    waits = [step / FAST for step in pipeline.sender.schedule]
    for number in range(3):
        requests = [request for request in receiver.requests if request.event_id == f"evt_{number}"]
        assert len(requests) == 6
        assert len({request.body for request in requests}) == 1
        gaps = [timedelta(seconds=after.arrived_at - before.arrived_at) for before, after in pairwise(requests)]
        # The delivery process times failures and retries in whole ms; the endpoint times arrivals.
        assert all(gap >= wait - timedelta(milliseconds=2) for gap, wait in zip(gaps, waits, strict=True))
    assert [o["state"] for o in outcomes if o["event_id"] == "evt_0"].count("retry") == 5
    letters = pipeline.dead_letters()
    assert {letter.reason for letter in letters} == {"exhausted"}
    assert {letter.event_id for letter in letters} == {"evt_0", "evt_1", "evt_2"}
    assert all(letter.attempts == 6 and b"alt_" in (letter.value or b"") for letter in letters)


@pytest.mark.promise(1, 2)
def test_endpoint_that_recovers_gets_everything_once(pipeline: Pipeline, receiver: Receiver) -> None:
    """An endpoint that fails twice and then works gets each event by its third attempt, and none again after that."""
    receiver.behave = fail_first(2, CannedResponse(503), CannedResponse(200))
    pipeline.subscribe(receiver.url)
    pipeline.publish_some(50)
    outcomes = pipeline.wait_for_ends(50)
    assert all(count == 1 for count in ends_of(outcomes).values())
    assert len(receiver.requests) == 150
    delivered = [outcome for outcome in outcomes if outcome["state"] == "delivered"]
    assert {outcome["attempt"] for outcome in delivered} == {3}
    assert {outcome["status"] for outcome in delivered} == {200}


@pytest.mark.promise(1)
def test_status_410_ends_a_job(pipeline: Pipeline, receiver: Receiver) -> None:
    """A 410 ends its job at once as dead (`gone`), and nothing is retried."""
    receiver.behave = always(CannedResponse(410))
    pipeline.subscribe(receiver.url)
    pipeline.publish_some(1)
    (outcome,) = pipeline.wait_for_ends(1)
    assert (outcome["state"], outcome["reason"], outcome["status"]) == ("dead", "gone", 410)
    assert len(receiver.requests) == 1
    assert [letter.reason for letter in pipeline.dead_letters()] == ["gone"]


@pytest.mark.promise(5)
def test_redirects_are_not_followed(pipeline: Pipeline, receiver: Receiver) -> None:
    """A redirect is a failed attempt. Nothing is sent to its target."""
    receiver.behave = always(CannedResponse(307, (("Location", f"{receiver.url}elsewhere"),)))
    pipeline.subscribe(f"{receiver.url}hooks")
    pipeline.publish_some(1)
    receiver.wait_for(3)
    assert {request.path for request in receiver.requests} == {"/hooks"}
    assert {(outcome["state"], outcome["status"]) for outcome in pipeline.outcomes()} == {("retry", 307)}


@pytest.mark.promise(6)
def test_response_is_recorded_without_the_secret(pipeline: Pipeline, receiver: Receiver) -> None:
    """The outcome holds the first KiB of a response, without a secret that the endpoint echoes."""
    receiver.behave = always(CannedResponse(200, body=f"you signed with {SECRET}".encode() + b"." * 4_000))
    pipeline.subscribe(receiver.url)
    pipeline.publish_some(1)
    (outcome,) = pipeline.wait_for_ends(1)
    assert outcome["response"].startswith(b"you signed with ***....")
    assert len(outcome["response"]) == 1_024


def test_metrics_count_events_jobs_and_attempts(pipeline: Pipeline, roles: Roles, receiver: Receiver) -> None:
    """Events, jobs and attempts are counted by sender, event type and result. No id, URL or customer is a label."""
    router, deliver = roles
    kind = {"sender": "zenoo", "event_type": "case.created"}

    def counted() -> list[float]:
        return [
            router.metric("signpost_router_events_total", **kind),
            router.metric("signpost_router_jobs_total"),
            deliver.metric("signpost_delivery_attempts_total", **kind, result="delivered"),
            deliver.metric("signpost_delivery_first_attempt_latency_seconds_count"),
        ]

    before = counted()
    (id_,) = pipeline.subscribe(receiver.url)
    pipeline.publish(event_of(document, pipeline.customer) for document in EXAMPLES.values())
    pipeline.wait_for_ends(14)
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [1, 14, 1, 14]
    assert deliver.metric("signpost_delivery_transactions_total", result="committed") > 0
    exposed = router.get("/metrics")[1] + deliver.get("/metrics")[1]
    for private in (id_, pipeline.customer, receiver.url, "evt_001"):
        assert private not in exposed


def test_each_outcome_has_one_wide_log_line(pipeline: Pipeline, roles: Roles, receiver: Receiver) -> None:
    """The log has one line per attempt with the fields that someone on call needs, and only the host of the URL."""
    _, deliver = roles
    (id_,) = pipeline.subscribe(f"{receiver.url}private/path")
    pipeline.publish_some(1)
    pipeline.wait_for_ends(1)
    wait_until(lambda: id_ in deliver.log_text(), what="the line is written after the commit")
    (line,) = [json.loads(line) for line in deliver.log_text().splitlines() if id_ in line]
    assert line["event"] == "delivery.attempted"
    assert line["state"] == "delivered"
    assert line["subscription"] == id_
    assert line["host"] == "127.0.0.1"
    assert line["status"] == 200
    assert "private" not in deliver.log_text()


@pytest.mark.decision("Z25")
def test_large_bodies_arrive_whole(pipeline: Pipeline, receiver: Receiver) -> None:
    """Bodies of 240 KiB, near the limit of 256, arrive unchanged next to small ones, also by a retry."""
    receiver.behave = fail_first(1, CannedResponse(500), CannedResponse(200))
    pipeline.subscribe(receiver.url)
    note = "\N{SNOWMAN}" * 80_000
    large = {"resolution_notes": note, "case_token": "cas_1"}
    events = [
        {
            "event_type": "case.closed",
            "customer_id": pipeline.customer,
            "event_id": f"evt_large_{number}",
            "data": large,
        }
        for number in range(20)
    ]
    pipeline.publish(events)
    pipeline.publish_some(20)
    pipeline.wait_for_ends(40)
    second = [request for request in receiver.requests if request.attempt == 2]
    assert len(second) == 40
    bodies = [request.json() for request in second if (request.event_id or "").startswith("evt_large")]
    assert len(bodies) == 20
    assert all(body["data"]["resolution_notes"] == note for body in bodies)  # type: ignore[index]  # JSON


def closed_case(pipeline: Pipeline, name: str, note: str) -> dict[str, Any]:
    """Return an event whose body grows with its name and note."""
    data = {"resolution_notes": note, "case_token": "cas_1"}
    return {"event_type": "case.closed", "customer_id": pipeline.customer, "event_id": f"evt_{name}", "data": data}


def test_body_of_max_body_is_delivered_and_one_byte_more_is_dead(pipeline: Pipeline, receiver: Receiver) -> None:
    """A body of `max_body` is delivered whole; one byte more is dead as `body_too_large`, with the event's bytes."""
    pipeline.subscribe(receiver.url)
    max_body = pipeline.settings.max_body
    pipeline.publish([closed_case(pipeline, "small", "x")])
    (small,) = receiver.wait_for(1)
    note = "x" * (1 + max_body - len(small.body))
    pipeline.publish([closed_case(pipeline, "whole", note)])
    # EventPublisher refuses this event; other producers do not.
    case = closed_case(pipeline, "large", f"{note}x")
    large = Event("evt_large", "case.closed", 1_772_445_600_123_456, pipeline.customer, case["data"])
    produce(pipeline.bootstrap_servers, pipeline.events_topic, encode_event(pipeline.sender, large))
    pipeline.wait_for_ends(2)
    assert {request.event_id: len(request.body) for request in receiver.requests}["evt_whole"] == max_body

    def letter() -> DeadLetter:
        decoded = (DeadLetterCodec().decode(message.value()) for message in pipeline.read(pipeline.names.dead))
        [found] = (one for one in decoded if b"evt_large" in (one.value or b"") and one.reason == "body_too_large")
        return found

    assert note.encode() in (wait_until(letter, what="the large one is dead").value or b"")
    assert {request.event_id for request in receiver.requests} == {"evt_small", "evt_whole"}
