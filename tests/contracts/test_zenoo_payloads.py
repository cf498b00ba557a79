"""Zenoo webhooks: bodies, keys and limits are those of the contract."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime

import pytest

from schemas.catalog.errors import UnreadableRecord
from schemas.events.event import Event
from schemas.senders.event_codec import EventDecoder, encode_event
from tests.contracts.zenoo import EXAMPLES, ZENOO, event_of, golden

CREATED = event_of(EXAMPLES["case.created"])
DECODER = EventDecoder(ZENOO)


def no_id() -> str:
    raise AssertionError("the event has an id")


def sent(event: Event) -> bytes:
    """Return the body of an event after encoding and decoding."""
    return ZENOO.render(DECODER.decode(encode_event(ZENOO, event), no_id))


@pytest.mark.decision("Z15")
@pytest.mark.parametrize("event_type", EXAMPLES)
def test_each_example_passes_avro_byte_for_byte(event_type):
    """Each example of the contract, encoded, decoded and rendered, is its own compact serialisation."""
    assert sent(event_of(EXAMPLES[event_type])) == golden(EXAMPLES[event_type])


@pytest.mark.decision("Z27")
def test_types_are_the_14_of_the_contract_without_a_test_event():
    """The sender has exactly the event types with an example. There is none for a test delivery."""
    assert len(EXAMPLES) == 14
    assert set(ZENOO.event_types) == set(EXAMPLES)


@pytest.mark.decision("Z15")
def test_text_beyond_ascii_is_sent_unescaped_without_byte_order_mark():
    """The body contains letters of two, three and four bytes unescaped."""
    name = "Société Générale Łódź 株式会社 😀"
    body = sent(replace(CREATED, data=CREATED.data | {"entity_name": name}))
    assert f'"entity_name":"{name}"'.encode() in body
    assert body.startswith(b'{"event_id":"evt_001","event_type":"case.created","created_at":"2026-02-16T10:01:00Z",')


@pytest.mark.decision("Z18")
@pytest.mark.parametrize("event_type", EXAMPLES)
def test_only_tokens_are_required(event_type):
    """An event with only its tokens is sent with all other fields null, in the documented order."""
    example = EXAMPLES[event_type]
    tokens = {k: v for k, v in example["data"].items() if k.endswith("_token")}
    if event_type == "check.completed":
        del tokens["alert_token"]
    expected = {field: tokens.get(field) for field in example["data"]}
    body = sent(replace(event_of(example), data=tokens))
    assert body == golden(example | {"data": expected})


@pytest.mark.decision("Z19")
@pytest.mark.parametrize(
    ("event_type", "person"),
    [("alert.resolved", "resolved_by"), ("sla.warning", "assigned_to"), ("sla.breached", "escalated_to")],
)
def test_person_of_an_automatic_action_is_null(event_type, person):
    """Automatic dispositions, unassigned cases and missing escalations have null as the person."""
    event = event_of(EXAMPLES[event_type])
    body = json.loads(sent(replace(event, data=event.data | {person: None})))
    assert body["data"][person] is None


@pytest.mark.decision("Z20")
def test_check_without_an_alert_has_no_alert_token():
    """If alert_generated is false, alert_token is null."""
    event = event_of(EXAMPLES["check.completed"])
    body = json.loads(sent(replace(event, data=event.data | {"alert_generated": False, "alert_token": None})))
    assert body["data"] == EXAMPLES["check.completed"]["data"] | {"alert_generated": False, "alert_token": None}


@pytest.mark.decision("Z21", "Z22")
@pytest.mark.parametrize(
    ("event_type", "data"),
    [
        ("case.created", {"status": "Wartet auf Dritte", "type": "Screening", "priority": "P0"}),
        ("alert.created", {"type": "PEP Screening", "category": "Screening", "priority_score": 0}),
        ("alert.ai_research_completed", {"confidence": 100, "false_positive_probability": 0}),
        ("risk_assessment.completed", {"overall_score": 45, "overall_tier": "Élevé"}),
    ],
)
def test_values_are_passed_through_and_never_checked_against_the_examples(event_type, data):
    """Statuses, types and tiers are free text, scores are integers. None is computed or corrected."""
    event = event_of(EXAMPLES[event_type])
    assert json.loads(sent(replace(event, data=event.data | data)))["data"] == EXAMPLES[event_type]["data"] | data


@pytest.mark.decision("Z28")
@pytest.mark.parametrize(
    ("created_at_us", "text"),
    [
        (1_771_236_060_999_999, "2026-02-16T10:01:00Z"),
        (1_771_236_059_999_999, "2026-02-16T10:00:59Z"),
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (-62_135_596_800_000_000, "0001-01-01T00:00:00Z"),
        (253_402_300_799_999_999, "9999-12-31T23:59:59Z"),
    ],
)
def test_times_are_cut_to_seconds(created_at_us, text):
    """created_at is sent in whole seconds, cut and not rounded."""
    assert json.loads(sent(replace(CREATED, created_at_us=created_at_us)))["created_at"] == text


@pytest.mark.decision("Z28")
def test_times_inside_data_pass_through():
    """A due date is text: its offset and digits are unchanged."""
    due = "2026-03-02T10:00:00.123456789+05:45"
    assert json.loads(sent(replace(CREATED, data=CREATED.data | {"due_date": due})))["data"]["due_date"] == due


@pytest.mark.decision("Z17")
@pytest.mark.parametrize("event_id", ["evt_abc123xyz", "7", "id with spaces, and Ünïcode", "x" * 500])
def test_id_of_the_source_is_unchanged(event_id):
    """An event id is opaque: receivers see the id of the source."""
    assert json.loads(sent(replace(CREATED, event_id=event_id)))["event_id"] == event_id


@pytest.mark.decision("Z17")
@pytest.mark.parametrize("event_id", [None, ""])
def test_event_without_an_id_gets_a_derived_one(event_id):
    """If the source gave no id, the decoder uses the id derived from the record's offset."""
    value = encode_event(ZENOO, replace(CREATED, event_id=event_id or ""))
    assert DECODER.decode(value, lambda: "evt_derived").event_id == "evt_derived"


@pytest.mark.decision("Z25")
def test_body_of_256_kib_is_sent_and_one_byte_more_is_not():
    """The largest body has 262,144 bytes."""
    room = 262_144 - len(sent(replace(CREATED, data=CREATED.data | {"entity_name": ""})))

    def render(length: int) -> bytes:
        return sent(replace(CREATED, data=CREATED.data | {"entity_name": "x" * length}))

    assert len(render(room)) == 262_144
    with pytest.raises(UnreadableRecord) as refusal:
        render(room + 1)
    assert refusal.value.reason == "too_large"


@pytest.mark.decision("Z24")
@pytest.mark.parametrize("event_type", EXAMPLES)
def test_kafka_key_is_the_case_or_else_the_alert(event_type):
    """The key of an event is the token of its case, for alert.ai_research_completed that of the alert."""
    expected = "alt_001" if event_type == "alert.ai_research_completed" else "cas_xyz789"
    assert ZENOO.key_of(event_of(EXAMPLES[event_type])) == expected


@pytest.mark.decision("Z3", "Z9")
def test_schedule_and_timeout_are_those_of_the_contract():
    """Five waits between six attempts, and a timeout of 30 seconds."""
    assert [wait.total_seconds() for wait in ZENOO.schedule] == [60, 300, 1800, 7200, 86_400]
    assert ZENOO.timeout.total_seconds() == 30


@pytest.mark.decision("Z23")
@pytest.mark.parametrize(
    ("event_type", "days", "sign"), [("sla.warning", "days_remaining", 1), ("sla.breached", "days_overdue", -1)]
)
def test_days_of_the_examples_are_differences_of_calendar_dates(event_type, days, sign):
    """Both examples count days as the difference of UTC calendar dates."""
    example = EXAMPLES[event_type]
    due, created = (
        datetime.fromisoformat(text).date() for text in (example["data"]["due_date"], example["created_at"])
    )
    assert example["data"][days] == sign * (due - created).days


@pytest.mark.decision("Z23", "Z26")
@pytest.mark.parametrize("days", [90, 0, -3])
def test_warning_is_sent_with_any_number_of_days(days):
    """The producer decides when to warn and how to count days."""
    event = event_of(EXAMPLES["sla.warning"])
    assert (
        json.loads(sent(replace(event, data=event.data | {"days_remaining": days})))["data"]["days_remaining"] == days
    )
