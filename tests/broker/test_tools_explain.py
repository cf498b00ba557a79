"""`signpost explain`: the history of an event, read from the topics."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, fail_first
from producers.subscriptions.changes import Pause
from schemas.records.delivery import event_id
from schemas.records.health import Health, encode_health
from tests.support.installation import Installation, event, subscription, value_of
from tests.support.pipeline import Pipeline
from tests.support.tools import T0_MS, Commands, job, job_value, outcome_value
from tests.support.waiting import wait_until

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
    for wanted in (derived, f"{here.events_topic}:1:0"):
        (one,) = explained(signpost, wanted)
        assert one["place"] == f"{here.events_topic}:1:0"
        assert one["event_id"] == wanted


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
