"""Diligent webhooks: signature, events refused when published, keys and limits."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from producers.events.json_reader import EventReader
from schemas.catalog.errors import EventError, InvalidInput, UnreadableRecord
from schemas.events.event import Event
from schemas.senders.event_codec import EventDecoder, encode_event
from tests.contracts.senders import SENDERS, VECTORS, examples, reader, sha256_hex
from tests.support.attempts import Attempted, headers_of

DILIGENT = SENDERS["diligent"]
EXAMPLES = {example.name: example for example in examples() if example.sender == "diligent"}
BODY = b"{}"


@pytest.fixture
def native() -> EventReader:
    """A reader of events of the customer acme."""
    return reader("diligent")


def sent(event: Event) -> bytes:
    return DILIGENT.render(EventDecoder(DILIGENT).decode(encode_event(DILIGENT, event), lambda: ""))


@pytest.mark.decision("D4", "D5", "D31")
@pytest.mark.parametrize("vector", VECTORS["diligent"], ids=lambda vector: vector["name"])
def test_signature_is_that_of_the_vector(vector: dict[str, Any]) -> None:
    """The secret and body of each vector give its X-Signature. Without a secret there is none."""
    secrets = [vector["secret"]] if vector["secret"] else []
    headers = headers_of(DILIGENT, vector["body"].encode(), *secrets)
    assert {name: value for name, value in headers.items() if name == "X-Signature"} == vector["headers"]
    assert not DILIGENT.needs_secret


@pytest.mark.decision("D31")
def test_secret_has_up_to_512_characters_of_any_kind() -> None:
    """A secret of 512 letters signs. One more is refused."""
    assert headers_of(DILIGENT, BODY, "ü" * 512)["X-Signature"] == sha256_hex("ü" * 512, BODY)
    with pytest.raises(InvalidInput, match="513 characters; at most 512"):
        DILIGENT.signing_key("x" * 513)


@pytest.mark.decision("D36")
@pytest.mark.parametrize("status", ["QUEUED", "RUNNING", "CANCELLED", "completed", "", None, 7])
@pytest.mark.parametrize("event_type", ["flow_run_completed", "flow_run_failed"])
def test_flow_run_in_another_state_is_refused_when_published(native, event_type, status) -> None:
    """The error names the field and both values, for both forms of an event."""
    payload = EXAMPLES[event_type].document["payload"] | {"status": status}
    expected = "COMPLETED" if event_type == "flow_run_completed" else "FAILED"
    for data in (payload, json.dumps(payload)):
        with pytest.raises(EventError) as refusal:
            native.event({"event_type": event_type, "data": data})
        assert f'data.status: expected "{expected}" for {event_type}, found {json.dumps(status)}' in str(refusal.value)


@pytest.mark.decision("D36")
def test_flow_run_of_another_type_or_without_a_status_is_refused(native) -> None:
    """A failed run, or one without a status, cannot be published as completed."""
    failed = EXAMPLES["flow_run_failed"].document["payload"]
    with pytest.raises(EventError, match=r'data.status: expected "COMPLETED" for flow_run_completed, found "FAILED"'):
        native.event({"event_type": "flow_run_completed", "data": failed})
    with pytest.raises(EventError, match=r"data.status: expected .* for flow_run_completed, found nothing"):
        native.event({"event_type": "flow_run_completed", "data": {}})


@pytest.mark.decision("D36")
def test_record_that_is_already_on_the_topic_is_delivered_unchanged() -> None:
    """Conditions are checked only when events are published: a record on the topic with another state is rendered."""
    event = replace(EXAMPLES["flow_run_completed"].event(), data={"status": "QUEUED"})
    assert sent(event) == b'{"status":"QUEUED"}'


@pytest.mark.decision("D30", "D36")
def test_nothing_else_of_a_payload_is_checked(native) -> None:
    """Any CDD state, inconsistent counts, and unknown, absent or null fields of any type are accepted."""
    for data in ({"state": "ANYTHING"}, {"status": None, "hit_counts": {"UNRESOLVED": -1}}, {}, {"hits": "none"}):
        for event_type in ("cdd_state_changed", "search_completed", "alert_remediated"):
            assert json.loads(sent(native.event({"event_type": event_type, "data": data}))) == data


@pytest.mark.decision("D3", "D35")
def test_payload_that_is_text_is_the_unchanged_body(native) -> None:
    """Inner spaces, escapes, key order and digits are kept. The first byte is the brace."""
    text = '{ "b" : 1.10, "a":"\\u00e9 é", "n": 123456789012345678901234567890, "e": 1e400, "b2":-0 }'
    event = native.event({"event_type": "cdd_state_changed", "data": f" \n{text} "})
    assert sent(event) == text.encode()


@pytest.mark.decision("D35")
def test_payload_that_is_an_object_is_serialised_compactly(native) -> None:
    """The body is compact and unescaped, with keys in order and numbers as written."""
    payload = '{"z": "é\\u00e9", "a": [1.10, 1e400, 9007199254740993123456]}'
    text = f'{{"headers": {{"X-Event-Name": "SEARCH_COMPLETED"}}, "payload": {payload}}}'
    (event,) = native.read(text, "f.json")
    assert sent(event) == '{"z":"éé","a":[1.10,1e400,9007199254740993123456]}'.encode()


@pytest.mark.decision("D33")
@pytest.mark.parametrize(
    ("event_type", "data", "key"),
    [
        ("search_completed", {"id": "s-1", "alert_id": "a-1"}, "s-1"),
        ("monitoring_alert_fired", {"id": "s-1", "alert_id": "a-1"}, "a-1"),
        ("monitoring_alert_fired", {"id": "s-1"}, "evt_made"),
        ("search_completed", {"alert_id": "a-1"}, "evt_made"),
        ("search_completed", {"id": 7}, "7"),
        ("search_completed", {"id": ""}, "evt_made"),
        ("search_completed", {"id": {"a": 1}}, "evt_made"),
    ],
)
def test_kafka_key_is_the_id_of_payload_or_alert(native, event_type, data, key) -> None:
    """The key is the payload's `id`, for monitoring alerts `alert_id`, else the event's id."""
    event = native.event({"event_type": event_type, "data": data})
    assert DILIGENT.key_of(event) == key
    assert DILIGENT.key_of(EventDecoder(DILIGENT).decode(encode_event(DILIGENT, event), lambda: "")) == key


@pytest.mark.decision("D20")
@pytest.mark.parametrize(
    ("customer", "value"),
    [("acme 100%", "acme 100%"), ("née\r\nX-Evil: 1", "n%C3%A9e%0D%0AX-Evil%3A%201"), (" acme", "%20acme")],
)
def test_customer_id_cannot_forge_a_header(customer: str, value: str) -> None:
    """A printable ASCII id is sent unchanged. Any other id is percent-encoded as a whole."""
    lines = DILIGENT.headers(Attempted(customer_id=customer), BODY, [], 0)
    assert [line for line in lines if line.startswith(b"X-Customer-Id")] == [f"X-Customer-Id: {value}".encode()]


@pytest.mark.decision("D21", "D22", "D33")
def test_schedule_timeout_and_limits_are_those_of_the_contract() -> None:
    """Nine waits, a timeout of 30 s, ten webhooks per customer, and bodies of up to 256 KiB."""
    waits_s = [int(wait.total_seconds()) for wait in DILIGENT.schedule]
    assert waits_s == [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]
    assert DILIGENT.timeout.total_seconds() == 30
    assert DILIGENT.max_subscriptions == 10
    with pytest.raises(UnreadableRecord) as refusal:
        DILIGENT.render(Event("e", "search_completed", 0, "acme", {"x": "x" * 262_144}))
    assert refusal.value.reason == "too_large"


def test_seven_types_are_those_of_the_contract() -> None:
    """Each type has an example, and there are no other types."""
    assert set(DILIGENT.event_types) == set(EXAMPLES)


@pytest.mark.parametrize("text", ["[1]", "{", "", '{"a":NaN}', '{"a":"\\ud800"}', "7"])
def test_text_that_is_no_object_is_unreadable(text: str) -> None:
    """A record on the topic whose text is no JSON object is unreadable (`invalid_value`)."""
    good = encode_event(DILIGENT, Event("e", "search_completed", 0, "acme", {}))
    value = good[:-3] + bytes([2 * len(text)]) + text.encode()
    with pytest.raises(UnreadableRecord) as error:
        EventDecoder(DILIGENT).decode(value, lambda: "")
    assert error.value.reason == "invalid_value"
