"""`signpost explain`: the history of an event, read from the topics."""

from __future__ import annotations

import json
import time
from itertools import islice
from typing import Any

import pytest

from deploy.demo.simulator import Simulator
from deploy.dev.broker import Broker
from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, always, fail_first
from producers.events.publisher import wall_clock_us
from producers.subscriptions.changes import Pause
from schemas.events.event import Event
from schemas.records.delivery import event_id, job_id
from schemas.records.health import Health, encode_health
from schemas.senders.event_codec import encode_event
from schemas.senders.header_values import header_id
from schemas.senders.sender import load_senders
from tests.support.installation import Installation, event, subscription, value_of
from tests.support.pipeline import Pipeline
from tests.support.tools import T0_MS, Commands, job, job_value, outcome_value
from tests.support.waiting import wait_until

SENDERS = load_senders()
GONE = Health(
    subscription_id="sub-disabled",
    customer_id="acme",
    sender="zenoo",
    activation=0,
    failing_since_ms=1,
    reported=True,
    disabled_at_ms=2,
    reason="gone",
    last_status=410,
    last_error=None,
    updated_at_ms=2,
)


def explained(signpost: Commands, *arguments: str) -> list[dict[str, Any]]:
    result = signpost("explain", "--json", *arguments)
    assert result.code == 0, result.err
    found: list[dict[str, Any]] = json.loads(result.out)
    return found


def reasons_of(one: dict[str, Any]) -> dict[str, str]:
    """Return by subscription id the reason why a subscription did not take an event."""
    return {entry["subscription_id"]: entry["why"] for entry in one["subscriptions"] if not entry["took"]}


def test_explain_shows_attempts_and_outcome(
    pipeline: Pipeline, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command shows which subscriptions took the event, each attempt with status and due time, and the end."""
    receiver.behave = fail_first(1, CannedResponse(503), CannedResponse(200))
    pipeline.subscribe(receiver.url, receiver.url)
    pipeline.subscribe(receiver.url, customer="beta", start=2)
    pipeline.write(Pause("sub-1"))
    pipeline.publish_some(1)
    pipeline.router()
    pipeline.deliver(delay_speedup=100)
    pipeline.wait_for_ends(1)
    signpost = Commands(pipeline.env(), monkeypatch)
    (one,) = explained(signpost, "evt_0")
    assert (one["event_type"], one["customer_id"]) == ("alert.ai_research_completed", "acme")
    (taker,) = [entry for entry in one["subscriptions"] if entry["took"]]
    (run,) = taker["runs"]
    assert (taker["subscription_id"], run["ending"]) == ("sub-0", "delivered")
    assert [(a["number"], a["state"], a["status"]) for a in run["attempts"]] == [
        (1, "retry", 503),
        (2, "delivered", 200),
    ]
    assert run["attempts"][0]["next_due_at"] > run["attempts"][0]["at"]
    assert reasons_of(one) == {"sub-1": "paused"}
    assert one["other_customers"] == 1
    text = signpost("explain", "evt_0").out
    for part in ("taken by 1 subscription\n  sub-0  127.0.0.1", "503 in ", "next at", "delivered", "sub-1  paused"):
        assert part in text
    assert "1 of other customers" in text
    assert (
        explained(signpost, "evt_0", "--subscription", "sub-2")[0]["subscriptions"][0]["why"] == "is of customer beta"
    )


def test_explain_shows_why_a_subscription_did_not_take_an_event(here: Installation, signpost: Commands) -> None:
    """Each reason follows from the state of the subscription when the event arrived."""
    here.subscribe(
        subscription("sub-kind", event_types=["alert.*", "sla.breached"]),
        subscription("sub-empty", event_types=()),
        subscription("sub-paused", paused=True),
        subscription("sub-sender", sender="riskos"),
        subscription("sub-changed", paused=True),
        subscription("sub-waits"),
        subscription("sub-gone"),
        subscription("sub-disabled"),
    )
    here.produce(here.names.health, encode_health(GONE), b"sub-disabled", partition=0)
    here.write_subscription("sub-gone", None, "acme")
    here.write_subscription("sub-broken", b"damaged", "acme")
    here.publish([event("evt_1")])
    published_s = time.time()
    wait_until(lambda: time.time() > published_s + 0.01, what="the broker's clock (ms) is past the event")
    here.subscribe(subscription("sub-late", created_at_ms=4_000_000_000_000), subscription("sub-changed"))
    (one,) = explained(signpost, "evt_1")
    reasons = reasons_of(one)
    assert reasons.pop("sub-broken").startswith("its record is unreadable")
    assert reasons == {
        "sub-kind": "takes only alert.*, sla.breached",
        "sub-empty": "takes no event types",
        "sub-paused": "paused",
        "sub-sender": "is of sender riskos",
        "sub-changed": "paused",
        "sub-waits": "takes it, but the router has no position there: it has not started",
        "sub-gone": "deleted before the event arrived",
        "sub-disabled": "disabled (gone) before the event arrived",
        "sub-late": "created after the event arrived",
    }
    assert "no router has a position there" in signpost("explain", "evt_1").out


def test_explain_shows_waiting_and_ended_jobs(here: Installation, signpost: Commands) -> None:
    """A waiting job is shown with delay topic and due time; cancelled, dead and lost jobs with their reason."""
    place = {"source_topic": here.events_topic, "source_partition": 0, "source_offset": 0}
    jobs = {name: job(1, job_id=f"job-{name}", subscription_id=f"sub-{name}", **place) for name in "wcdl"}
    prefix = here.names.prefix
    for waiting in jobs.values():
        here.produce(f"{prefix}jobs.0s", job_value(waiting), waiting.subscription_id.encode())
    failed = {"state": "retry", "reason": "timeout", "status": None, "error": "timeout"}
    due = {"next_due_at_ms": T0_MS + 300_000}
    here.produce(here.names.outcomes, outcome_value(jobs["w"], **failed, **due), b"sub-w")
    again = job(1, job_id="job-w", subscription_id="sub-w", attempt=2, due_at_ms=T0_MS + 300_000, **place)
    here.produce(f"{prefix}jobs.5m", job_value(again), b"sub-w")
    here.produce(
        here.names.outcomes, outcome_value(jobs["c"], state="cancelled", reason="paused", status=None), b"sub-c"
    )
    here.produce(here.names.outcomes, outcome_value(jobs["d"], state="dead", reason="gone", status=410), b"sub-d")
    here.produce(here.names.outcomes, outcome_value(jobs["l"], **failed, **due), b"sub-l")
    (one,) = explained(signpost, "evt_1")
    assert "no longer on the topic" in one["trouble"]
    runs = {entry["subscription_id"]: entry["runs"][0] for entry in one["subscriptions"]}
    assert {id_: (run["ending"], run["reason"]) for id_, run in runs.items()} == {
        "sub-w": ("waiting", ""),
        "sub-c": ("cancelled", "paused"),
        "sub-d": ("dead", "gone"),
        "sub-l": ("unknown", "the record of its next attempt is missing"),
    }
    assert runs["sub-w"]["place"].startswith(f"{prefix}jobs.5m:")
    assert runs["sub-w"]["due_at"] == "2026-02-16T10:06:00.000Z"
    assert runs["sub-c"]["attempts"] == []
    text = signpost("explain", "evt_1").out
    assert f"waiting in {prefix}jobs.5m:" in text
    assert "timeout in 12.5 ms, next at +5.0 min" in text
    assert "dead: gone" in text


def test_event_is_found_by_offset_or_derived_id(here: Installation, signpost: Commands) -> None:
    """An event without an id is found by its derived id, and any event by `topic:partition:offset`."""
    here.produce(here.events_topic, value_of(event("")), b"k", partition=1)
    derived = event_id(here.events_topic, 1, 0)
    for wanted in (derived, f"{here.events_topic}:1:0", "zenoo.events:1:0"):
        (one,) = explained(signpost, wanted)
        assert one["place"] == f"{here.events_topic}:1:0"
        assert one["event_id"] == derived


def test_explain_names_the_dead_letter_of_an_unreadable_record(here: Installation, signpost: Commands) -> None:
    """For an unreadable record, the reason and its dead letter are shown."""
    here.produce(here.events_topic, b"evt_1 in plain text", b"k", partition=0)
    with here.router() as router:
        router.wait_ready()
        here.wait_routed()
    (one,) = explained(signpost, "evt_1")
    assert "unknown_format" in one["trouble"]
    assert len(one["dead_letters"]) == 1
    assert "dead-letters show" in signpost("explain", "evt_1").out


@pytest.fixture
def products(broker: Broker, prefix: str) -> Installation:
    """An installation with the topics of all senders."""
    sources = [{"topic": f"{prefix}{sender}.events", "sender": sender} for sender in SENDERS]
    return Installation(broker.bootstrap_servers, prefix, sources=sources).make_topics()


@pytest.mark.parametrize(
    ("sender", "event_type", "header"),
    [
        ("standard", "invoice.paid", "webhook-id"),
        ("onboarding", "case.opened", "webhook-id"),
        ("riskos", "case_management_notification_case_closure", "webhook-id"),
        ("diligent", "search_completed", "X-Event-Id"),
    ],
)
def test_event_is_found_by_the_id_that_its_receiver_sees(
    products: Installation, monkeypatch: pytest.MonkeyPatch, sender: str, event_type: str, header: str
) -> None:
    """The id in the header of a request finds the event in `explain` and in `tail --grep`, for each product."""
    signpost = Commands(products.env, monkeypatch)
    known = SENDERS[sender]
    events = islice(Simulator(7, ("acme",), wall_clock_us, known).events(), 2_000)
    data = next(one.data for one in events if one.event_type == event_type or known.any_type is not None)
    topic = products.names.events(sender)
    for id_ in ("order 7: paid.", "evt_other"):
        products.produce(topic, encode_event(known, Event(id_, event_type, 0, "acme", data)), b"k", partition=1)
    products.subscribe(subscription("sub-1", sender=sender))
    with products.router() as router:
        router.wait_ready()
        wait_until(lambda: len(products.jobs()) == 2, what="two jobs")
    sent = next(job for job in products.jobs() if job.event_id == "order 7: paid.")
    lines = known.headers(sent, sent.body, (known.signing_key(known.generate_secret()),), 0)
    seen = next(line.decode().partition(": ")[2] for line in lines if line.decode().startswith(f"{header}: "))
    assert seen != sent.event_id
    for wanted in (seen, seen.upper(), f"{header}: {seen}", sent.job_id, sent.event_id):
        (one,) = explained(signpost, wanted)
        assert (one["event_id"], one["place"]) == ("order 7: paid.", f"{topic}:1:0")
        assert [run["job_id"] for entry in one["subscriptions"] for run in entry["runs"]] == [sent.job_id]
    assert "found by " in signpost("explain", seen).out
    assert "found by" not in signpost("explain", sent.event_id).out
    for wanted in (seen, sent.job_id):
        (line,) = signpost("tail", f"{sender}.events", "--grep", wanted).out.splitlines()
        assert "order 7: paid." in line
        (line,) = signpost("tail", "jobs.0s", "--grep", wanted).out.splitlines()
        assert "order 7: paid." in line


def test_event_is_found_by_ids_after_its_record_is_deleted(
    products: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retention of the source hides neither the id of a job nor the id in headers."""
    signpost = Commands(products.env, monkeypatch)
    topic = products.names.events("standard")
    place = {"source_topic": topic, "source_partition": 0, "source_offset": 3, "sender": "standard"}
    one = job(1, job_id=job_id(topic, 0, 3, "sub-1"), event_id="order 7", **place)
    products.produce(products.names.outcomes, outcome_value(one), b"sub-1")
    for wanted in (header_id("order 7"), one.job_id):
        (found,) = explained(signpost, wanted)
        assert (found["event_id"], found["place"]) == ("order 7", f"{topic}:0:3")
        assert "no longer on the topic" in found["trouble"]


def test_dead_event_is_found_by_its_id(here: Installation, signpost: Commands) -> None:
    """An event that became a dead letter is found by its id, on its topic and by the dead letter alone."""
    here.produce(here.events_topic, value_of(event("evt_1", customer_id="")), b"k", partition=0)
    with here.router() as router:
        router.wait_ready()
        here.wait_routed()
    (one,) = explained(signpost, "evt_1")
    assert (one["event_id"], len(one["dead_letters"])) == ("evt_1", 1)
    here.delete_events(1)
    (one,) = explained(signpost, "evt_1")
    assert one["event_id"] == "evt_1"
    assert "it was dead-lettered: no_customer" in one["trouble"]


def test_two_events_of_one_id_are_apart(here: Installation, signpost: Commands) -> None:
    """Events with the same id are explained one by one, with an empty line between them."""
    here.produce(here.events_topic, value_of(event("evt_1")), b"k", partition=0)
    here.produce(here.events_topic, value_of(event("evt_1", "beta")), b"k", partition=1)
    lines = signpost("explain", "evt_1").out.splitlines()
    first, second = (number for number, line in enumerate(lines) if line.startswith("evt_1  "))
    assert (first, lines[second - 1]) == (0, "")
    assert lines[-1] != ""


def test_disabled_subscription_is_named_after_its_recovery(
    pipeline: Pipeline, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event published while a subscription was disabled or paused is explained after the subscription delivers."""
    receiver.behave = fail_first(1, CannedResponse(410), CannedResponse(200))
    pipeline.subscribe(receiver.url)
    signpost = Commands(pipeline.env(), monkeypatch)
    pipeline.router()
    pipeline.deliver()
    pipeline.publish_some(1)
    pipeline.wait_for_ends(1)
    wait_until(lambda: pipeline.size(pipeline.names.health) > 0, what="the health is written")
    pipeline.publish_some(1, start=1)
    wait_until(lambda: explained(signpost, "evt_1")[0]["routed"], what="evt_1 is routed")
    receiver.behave = always(CannedResponse(200))
    assert signpost("subscriptions", "resume", "sub-0").code == 0
    pipeline.publish_some(1, start=2)
    receiver.wait_for(2)
    wait_until(lambda: "delivered" in signpost("explain", "evt_2").out, what="evt_2 is delivered")
    assert reasons_of(explained(signpost, "evt_1")[0]) == {"sub-0": "disabled (gone) before the event arrived"}


def test_unknown_subscription_is_refused_with_the_nearest(here: Installation, signpost: Commands) -> None:
    """`--subscription` takes a known subscription; the id of one in place of an event's is recognised."""
    here.subscribe(subscription("acme-cases"))
    here.publish([event("evt_1")])
    result = signpost("explain", "evt_1", "--subscription", "acme-case")
    assert (result.code, "did you mean acme-cases?" in result.err) == (2, True)
    result = signpost("explain", "X-Webhook-Id: acme-cases")
    assert (result.code, "acme-cases is a subscription" in result.err) == (1, True)


def test_unknown_events_and_missing_topics_get_a_sentence(
    here: Installation, signpost: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown event, an unknown source and missing topics are errors with a sentence."""
    result = signpost("explain", "evt_none")
    assert (result.code, result.out) == (1, "")
    assert "no event evt_none is in any source" in result.err
    assert signpost("explain", "evt_none", "--topic", "zenoo.events").code == 1
    assert signpost("explain", "evt_none", "--topic", "nowhere").code == 2
    assert signpost("explain", f"{here.events_topic}:99:99").code == 1
    monkeypatch.setenv("SIGNPOST_PREFIX", f"{here.names.prefix}elsewhere.")
    result = signpost("explain", "evt_1")
    assert result.code == 1
    assert "topics apply" in result.err
