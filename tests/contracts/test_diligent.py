"""What a receiver of Diligent webhooks gets: the signature, what is refused where it is published, keys and limits."""

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
    """Reads events of the customer acme."""
    return reader("diligent")


def sent(event: Event) -> bytes:
    return DILIGENT.render(EventDecoder(DILIGENT).decode(encode_event(DILIGENT, event), lambda: ""))


@pytest.mark.decision("D4", "D5", "D31")
@pytest.mark.parametrize("vector", VECTORS["diligent"], ids=lambda vector: vector["name"])
def test_the_signature_is_that_of_the_vector(vector: dict[str, Any]) -> None:
    """Every vector's X-Signature comes out of its secret and body; without a secret there is none."""
    secrets = [vector["secret"]] if vector["secret"] else []
    headers = headers_of(DILIGENT, vector["body"].encode(), *secrets)
    assert {name: value for name, value in headers.items() if name == "X-Signature"} == vector["headers"]
    assert not DILIGENT.needs_secret


@pytest.mark.decision("D31")
def test_a_secret_has_up_to_512_characters_of_any_kind() -> None:
    """512 letters sign, one more is refused."""
    assert headers_of(DILIGENT, BODY, "ü" * 512)["X-Signature"] == sha256_hex("ü" * 512, BODY)
    with pytest.raises(InvalidInput, match="513 characters; at most 512"):
        DILIGENT.signing_key("x" * 513)


@pytest.mark.decision("D36")
@pytest.mark.parametrize("status", ["QUEUED", "RUNNING", "CANCELLED", "completed", "", None, 7])
@pytest.mark.parametrize("event_type", ["flow_run_completed", "flow_run_failed"])
def test_a_flow_run_in_another_state_is_refused_where_it_is_published(native, event_type, status) -> None:
    """The error has the field and both values, whichever form the event has; intermediate states send nothing."""
    payload = EXAMPLES[event_type].document["payload"] | {"status": status}
    wanted = "COMPLETED" if event_type == "flow_run_completed" else "FAILED"
    for data in (payload, json.dumps(payload)):
        with pytest.raises(EventError) as refusal:
            native.event({"event_type": event_type, "data": data})
        assert f'data.status: expected "{wanted}" for {event_type}, found {json.dumps(status)}' in str(refusal.value)


@pytest.mark.decision("D36")
def test_a_flow_run_of_the_other_type_and_one_without_a_status_are_refused(native) -> None:
    """A failed run is not published as completed, nor one that says nothing."""
    failed = EXAMPLES["flow_run_failed"].document["payload"]
    with pytest.raises(EventError, match=r'data.status: expected "COMPLETED" for flow_run_completed, found "FAILED"'):
        native.event({"event_type": "flow_run_completed", "data": failed})
    with pytest.raises(EventError, match=r"data.status: expected .* for flow_run_completed, found nothing"):
        native.event({"event_type": "flow_run_completed", "data": {}})


@pytest.mark.decision("D36")
def test_what_is_on_the_topic_already_is_delivered_as_it_is() -> None:
    """A condition holds where events are published; a record with another state is rendered."""
    event = replace(EXAMPLES["flow_run_completed"].event(), data={"status": "QUEUED"})
    assert sent(event) == b'{"status":"QUEUED"}'


@pytest.mark.decision("D30", "D36")
def test_nothing_else_is_checked_of_a_payload(native) -> None:
    """States of a CDD, counts that do not add up and unknown, absent or null fields pass, whatever their type."""
    for data in ({"state": "ANYTHING"}, {"status": None, "hit_counts": {"UNRESOLVED": -1}}, {}, {"hits": "none"}):
        for event_type in ("cdd_state_changed", "search_completed", "alert_remediated"):
            assert json.loads(sent(native.event({"event_type": event_type, "data": data}))) == data


@pytest.mark.decision("D3", "D35")
def test_a_payload_that_is_text_is_the_body_as_it_stands(native) -> None:
    """Space inside, escapes, the order of keys and each digit are kept; the first byte is the brace."""
    text = '{ "b" : 1.10, "a":"\\u00e9 é", "n": 123456789012345678901234567890, "e": 1e400, "b2":-0 }'
    event = native.event({"event_type": "cdd_state_changed", "data": f" \n{text} "})
    assert sent(event) == text.encode()


@pytest.mark.decision("D35")
def test_a_payload_that_is_an_object_is_serialised_once(native) -> None:
    """Compact, unescaped, keys in their order, numbers as they were written."""
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
def test_the_kafka_key_is_the_payloads_id_or_the_alerts(native, event_type, data, key) -> None:
    """Events of a thing stay together: by id, monitoring alerts by alert_id, else by the event's id."""
    event = native.event({"event_type": event_type, "data": data})
    assert DILIGENT.key_of(event) == key
    assert DILIGENT.key_of(EventDecoder(DILIGENT).decode(encode_event(DILIGENT, event), lambda: "")) == key


@pytest.mark.decision("D20")
@pytest.mark.parametrize(
    ("customer", "value"),
    [("acme 100%", "acme 100%"), ("née\r\nX-Evil: 1", "n%C3%A9e%0D%0AX-Evil%3A%201"), (" acme", "%20acme")],
)
def test_a_customer_id_can_forge_no_header(customer: str, value: str) -> None:
    """Printable ASCII goes as it is, all else percent-encoded as a whole."""
    lines = DILIGENT.headers(Attempted(customer_id=customer), BODY, [], 0)
    assert [line for line in lines if line.startswith(b"X-Customer-Id")] == [f"X-Customer-Id: {value}".encode()]


@pytest.mark.decision("D21", "D22", "D33")
def test_schedule_timeout_and_limits_are_those_of_the_contract() -> None:
    """Nine waits, 30 s for an attempt, ten webhooks of a customer, bodies of up to 256 KiB."""
    waits_s = [int(wait.total_seconds()) for wait in DILIGENT.schedule]
    assert waits_s == [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]
    assert DILIGENT.timeout.total_seconds() == 30
    assert DILIGENT.max_subscriptions == 10
    with pytest.raises(UnreadableRecord) as refusal:
        DILIGENT.render(Event("e", "search_completed", 0, "acme", {"x": "x" * 262_144}))
    assert refusal.value.reason == "too_large"


def test_the_seven_types_are_those_of_the_contract() -> None:
    """Each type has an example, and none is there besides."""
    assert set(DILIGENT.event_types) == set(EXAMPLES)


@pytest.mark.parametrize("text", ["[1]", "{", "", '{"a":NaN}', '{"a":"\\ud800"}', "7"])
def test_text_that_is_no_object_is_unreadable(text: str) -> None:
    """A record on the topic whose text is no JSON object ends as invalid_value."""
    good = encode_event(DILIGENT, Event("e", "search_completed", 0, "acme", {}))
    value = good[:-3] + bytes([2 * len(text)]) + text.encode()
    with pytest.raises(UnreadableRecord) as error:
        EventDecoder(DILIGENT).decode(value, lambda: "")
    assert error.value.reason == "invalid_value"
