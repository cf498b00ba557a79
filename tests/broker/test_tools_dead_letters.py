"""`signpost dead-letters`: list, show and retry."""

from __future__ import annotations

import json
from typing import Any

import pytest

from consumers.inspect import dead_letters
from deploy.dev.receiver import Receiver
from deploy.dev.responses import CannedResponse, always
from schemas.catalog.reasons import DEAD
from schemas.records.delivery import DeadLetter, DeadLetterCodec, Job, event_id
from tests.support.installation import Installation, event, subscription, value_of
from tests.support.pipeline import Pipeline
from tests.support.tools import T0_MS, Commands, job, job_value, outcome_value
from tests.support.topics import read_topic
from tests.support.waiting import wait_until


def write_dead_job(here: Installation, one: Job, reason: str = "exhausted") -> None:
    """Write the dead letter of a job."""
    letter = DeadLetter(
        reason=reason,
        detail="attempt 6 was the last",
        topic=f"{here.names.prefix}jobs.24h",
        partition=0,
        offset=7,
        at_ms=T0_MS,
        key=one.subscription_id.encode(),
        value=job_value(one),
        job_id=one.job_id,
        subscription_id=one.subscription_id,
        event_id=one.event_id,
        attempts=6,
    )
    here.produce(here.names.dead, DeadLetterCodec().encode(letter), letter.key)


def write_unreadable(here: Installation, topic: str, **fields: Any) -> None:
    """Write the dead letter of an unreadable record."""
    given: dict[str, Any] = {
        "reason": "unknown_schema",
        "detail": "no such fingerprint",
        "topic": topic,
        "partition": 1,
        "offset": 3,
        "at_ms": T0_MS,
        "key": b"cas_1",
        "value": value_of(event("evt_9")),
        "headers": (("traceparent", b"00-1"), ("empty", None)),
    }
    letter = DeadLetter(**(given | fields))
    here.produce(here.names.dead, DeadLetterCodec().encode(letter), letter.key)


def listed(signpost: Commands, *options: str) -> list[dict[str, Any]]:
    result = signpost("dead-letters", "list", "--json", *options)
    assert result.code == 0, result.err
    found: list[dict[str, Any]] = json.loads(result.out)
    return found


def test_list_is_newest_first_and_filtered(here: Installation, signpost: Commands) -> None:
    """All kinds are listed, newest first, and each filter keeps only matching ones."""
    write_dead_job(here, job(1))
    write_dead_job(here, job(2, subscription_id="sub-2"), "gone")
    write_unreadable(here, here.events_topic)
    here.produce(here.names.dead, b"no dead letter", b"k")
    assert [one["reason"] for one in listed(signpost)] == ["unreadable", "unknown_schema", "gone", "exhausted"]
    assert [one["event_id"] for one in listed(signpost, "--reason", "exhausted")] == ["evt_1"]
    assert [one["reason"] for one in listed(signpost, "--subscription", "sub-2")] == ["gone"]
    assert len(listed(signpost, "--limit", "2")) == 2
    assert len(listed(signpost, "--since", "1h")) == 4
    assert listed(signpost, "--since", "2099-01-01") == []
    table = signpost("dead-letters", "list").out.splitlines()
    assert table[0].startswith("ID ")
    assert len(table) == 5


def test_event_and_sender_of_dead_events_are_shown(here: Installation, signpost: Commands) -> None:
    """A dead event has its id and sender, as far as its bytes or its source tell; a dead job has those of its event."""
    write_unreadable(here, here.events_topic, reason="body_too_large")
    write_unreadable(here, here.events_topic, reason="no_customer", value=value_of(event("evt_8", "")))
    write_unreadable(here, here.events_topic, reason="no_customer", value=value_of(event("", "")))
    write_unreadable(here, here.events_topic, reason="trailing_bytes", value=value_of(event("evt_7")) + b"more")
    write_unreadable(here, here.events_topic, reason="too_large", value=None)
    write_unreadable(here, "elsewhere", reason="unknown_format", value=b"text")
    write_dead_job(here, job(1))
    found = [(one["event_id"], one["sender"]) for one in reversed(listed(signpost))]
    assert found == [
        ("evt_9", "zenoo"),
        ("evt_8", "zenoo"),
        (event_id(here.events_topic, 1, 3), "zenoo"),
        ("evt_7", "zenoo"),
        (None, "zenoo"),
        (None, None),
        ("evt_1", "zenoo"),
    ]
    too_large = next(one["id"] for one in listed(signpost) if one["reason"] == "body_too_large")
    shown = signpost("dead-letters", "show", too_large).out
    assert "event_id:        evt_9" in shown
    assert "sender:          zenoo" in shown
    for line, parts in zip(signpost("dead-letters", "list").out.splitlines()[1:], reversed(found), strict=True):
        assert all((part or "-") in line.split() for part in parts)


def test_unknown_reason_is_refused_with_the_nearest(here: Installation, signpost: Commands) -> None:
    """`--reason` takes a reason of the closed list, in `list` and in `retry`."""
    for command in ("list", "retry"):
        result = signpost("dead-letters", command, "--reason", "exhausteed")
        assert (result.code, "--reason: unknown value 'exhausteed'; did you mean exhausted?" in result.err) == (2, True)
        result = signpost("dead-letters", command, "--reason", "nosuch")
        assert (result.code, "; known: exhausted, gone, " in result.err) == (2, True)
        for reason in DEAD:
            assert signpost("dead-letters", command, "--reason", reason).code == 0


def test_unknown_subscription_gets_a_hint(here: Installation, signpost: Commands) -> None:
    """A misspelt subscription is not mistaken for one without dead letters."""
    here.subscribe(subscription("acme-cases"))
    out = signpost("dead-letters", "list", "--subscription", "acme-case").out
    assert out == "no dead letter matches; there is no subscription acme-case; did you mean acme-cases?\n"
    assert signpost("dead-letters", "list", "--subscription", "acme-cases").out == "no dead letter matches\n"


def test_show_has_attempts_and_body(here: Installation, signpost: Commands) -> None:
    """`show` has the reason, each attempt, and the body that was sent."""
    one = job(1, attempt=6)
    for attempt in (2, 1):
        tried = job(1, attempt=attempt)
        here.produce(
            here.names.outcomes,
            outcome_value(tried, state="retry", reason="status_503", status=503, at_ms=T0_MS + attempt),
            b"sub-1",
        )
    here.produce(here.names.outcomes, outcome_value(job(2)), b"sub-1")
    write_dead_job(here, one)
    (found,) = listed(signpost)
    result = signpost("dead-letters", "show", found["id"])
    assert "attempt 6 was the last" in result.out
    assert '{"event_type":"case.created"}' in result.out
    assert result.out.count("status=503") == 2
    shown = json.loads(signpost("dead-letters", "show", f"{here.names.dead}:{found['id']}", "--json").out)
    assert [attempt["attempt"] for attempt in shown["made"]] == [1, 2]
    assert shown["record"]["body"] == '{"event_type":"case.created"}'


def test_job_is_retried_as_a_new_run(here: Installation, signpost: Commands) -> None:
    """A retry is the same job and body, as run 1, attempt 1, with the current subscription."""
    here.subscribe(subscription("sub-1"), subscription("sub-1", activation=3))
    write_dead_job(here, job(1, attempt=6, due_at_ms=5, first_offset=9))
    result = signpost("dead-letters", "retry", "--reason", "exhausted")
    assert (result.code, result.out.splitlines()[-1]) == (0, "1 retried, 0 refused")
    (again,) = here.jobs()
    assert (again.job_id, again.run, again.attempt, again.due_at_ms, again.first_offset) == ("job-1", 1, 1, 0, -1)
    assert (again.activation, again.subscription_offset, again.body) == (3, 1, job(1).body)


def test_retry_is_not_repeated_by_accident(
    here: Installation, signpost: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options skip jobs that were retried before; an id retries its job again; the list shows both."""
    here.subscribe(subscription("sub-1"))
    write_dead_job(here, job(1))
    assert signpost("dead-letters", "retry", "--reason", "exhausted").code == 0
    result = signpost("dead-letters", "retry", "--reason", "exhausted")
    assert result.out == "0 retried, 0 refused, 1 skipped: retried before\n"
    (found,) = listed(signpost)
    assert found["retried_as_run"] == 1
    assert signpost("dead-letters", "retry", found["id"]).code == 0
    assert [one.run for one in here.jobs()] == [1, 2]
    assert "  run 2    " in signpost("dead-letters", "list").out
    assert json.loads(signpost("dead-letters", "show", found["id"], "--json").out)["retried_as_run"] == 2
    monkeypatch.setattr(dead_letters, "_QUICK", 1)
    result = signpost("dead-letters", "list")
    assert ("  ?  " in result.out, "--retried" in result.err) == (True, True)
    assert listed(signpost, "--retried")[0]["retried_as_run"] == 2


def test_unreadable_record_is_published_unchanged(here: Installation, signpost: Commands) -> None:
    """An unreadable record goes to its topic and partition again: same key, bytes and headers."""
    write_unreadable(here, here.events_topic)
    (found,) = listed(signpost)
    assert signpost("dead-letters", "retry", found["id"]).code == 0
    (record,) = read_topic(here.bootstrap_servers, here.events_topic)
    assert (record.partition(), record.key(), record.value()) == (1, b"cas_1", value_of(event("evt_9")))
    assert record.headers() == [("traceparent", b"00-1"), ("empty", None)]


def test_hopeless_retries_are_refused(here: Installation, signpost: Commands) -> None:
    """Each retry that cannot succeed is refused with its reason."""
    here.subscribe(subscription("sub-2", paused=True))
    here.write_subscription("sub-3", b"damaged", "acme")
    write_dead_job(here, job(1))
    write_dead_job(here, job(2, subscription_id="sub-2"))
    write_dead_job(here, job(3, subscription_id="sub-3"))
    write_unreadable(here, here.events_topic, value=None, key=None)
    write_unreadable(here, f"{here.names.prefix}nowhere")
    write_unreadable(here, f"{here.names.prefix}jobs.0s", value=b"damaged")
    here.produce(here.names.dead, b"no dead letter", b"k")
    result = signpost("dead-letters", "retry", "--since", "1h")
    assert result.code == 1
    assert result.out == "0 retried, 7 refused\n"
    for part in (
        "sub-1 is deleted",
        "sub-2 is paused",
        "sub-3 cannot be read",
        "the dead letter does not contain the original record",
        "nowhere no longer exists",
        "the job in it is unreadable",
        "not a dead letter",
    ):
        assert part in result.err
    assert here.jobs() == []


def test_many_retries_need_confirmation(here: Installation, signpost: Commands) -> None:
    """Without a terminal, more than ten records are retried only with `--yes`."""
    here.subscribe(subscription("sub-1"))
    for number in range(11):
        write_dead_job(here, job(number))
    result = signpost("dead-letters", "retry", "--reason", "exhausted")
    assert result.code == 2
    assert "11 records" in result.err
    assert here.jobs() == []
    assert signpost("dead-letters", "retry", "--reason", "exhausted", "--yes").code == 0
    assert len(here.jobs()) == 11


def test_empty_missing_and_mistyped_get_a_sentence(
    here: Installation, signpost: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No dead letters, no match, an invalid id and a missing topic are each reported in a sentence."""
    assert signpost("dead-letters", "list").out == "there are no dead letters\n"
    assert signpost("dead-letters", "list", "--reason", "gone").out == "no dead letter matches\n"
    assert signpost("dead-letters", "retry", "--reason", "gone").out == "0 retried, 0 refused\n"
    for id_ in ("0:0", "77:0", "0", "a:b", "0:99999999999999999999"):
        result = signpost("dead-letters", "show", id_)
        assert (result.code, "dead letter" in result.err) == (2, True)
    assert signpost("dead-letters", "retry").code == 2
    monkeypatch.setenv("SIGNPOST_PREFIX", f"{here.names.prefix}elsewhere.")
    result = signpost("dead-letters", "list")
    assert result.code == 1
    assert "topics apply" in result.err


@pytest.mark.decision("Z8")
def test_retried_job_is_delivered(pipeline: Pipeline, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A permanently refused job is sent with the same bytes after a retry, and recorded as run 1."""
    receiver.behave = always(CannedResponse(410))
    pipeline.subscribe(receiver.url)
    pipeline.publish_some(1)
    pipeline.router()
    pipeline.deliver(disable_gone=False)  # otherwise the retried job would be cancelled
    pipeline.wait_for_ends(1)
    receiver.behave = always(CannedResponse(200))
    signpost = Commands(pipeline.env(), monkeypatch)
    assert signpost("dead-letters", "retry", "--reason", "gone").code == 0
    first, second = receiver.wait_for(2)
    assert first.body == second.body
    wait_until(lambda: [(o["run"], o["state"]) for o in pipeline.outcomes()][-1] == (1, "delivered"), what="run 1 ends")
