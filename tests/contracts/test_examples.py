"""Every example of the contracts can be published unchanged, and is sent as the contract shows it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from schemas.avro.json_parser import parse
from schemas.avro.json_text import JsonText
from schemas.catalog.errors import EventError
from schemas.senders.event_codec import EventDecoder, encode_event
from schemas.senders.sender import Sender
from tests.contracts.senders import SENDERS, Example, diligent_headers, examples, reader
from tests.support.attempts import Attempted, headers_of

EXAMPLES = examples()


def through_avro(sender: Sender, example: Example) -> bytes:
    event = EventDecoder(sender).decode(encode_event(sender, example.event()), lambda: "")
    return sender.render(event)


def test_all_examples_of_the_contracts_are_there() -> None:
    """There are 14 examples of zenoo, 7 of diligent and 2 of riskos. The Onboarding document shows no event."""
    counts = {name: sum(example.sender == name for example in EXAMPLES) for name in SENDERS}
    assert counts == {"zenoo": 14, "diligent": 7, "riskos": 2, "onboarding": 0, "standard": 0}


@pytest.mark.decision("Z15", "D2", "D3", "D30", "D35", "R1", "R3")
@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_unchanged_example_arrives_byte_for_byte(example: Example) -> None:
    """After Avro each example is its own compact serialisation. A string payload is unchanged."""
    body = through_avro(SENDERS[example.sender], example)
    assert body == example.body
    assert body.startswith(b"{")


@pytest.mark.decision("D1", "D18", "D19", "D20")
@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.sender == "diligent"], ids=str)
def test_metadata_of_diligent_are_headers(example: Example) -> None:
    """All eight headers have the order and spelling of the document. The event type is always in upper case."""
    job = Attempted(job_id="job-1", event_type=example.event_type, subscription_id="hook-1")
    headers = headers_of(SENDERS["diligent"], example.body, "s3cret", job=job)
    expected = diligent_headers(example, job_id="job-1", subscription_id="hook-1", secret="s3cret")
    assert list(headers.items()) == list(expected.items())


@pytest.mark.decision("R10", "R16", "R20")
@pytest.mark.parametrize("name", SENDERS)
def test_every_sender_accepts_the_native_form(name: str) -> None:
    """Each sender accepts event_id, event_type, created_at, customer_id and data."""
    sender = SENDERS[name]
    example = next((example.event() for example in EXAMPLES if example.sender == name), None)
    event_type = next(iter(sender.event_types), "invoice.paid")
    data: Any = {}
    if example is not None:
        event_type = example.event_type
        data = parse(example.data.text) if isinstance(example.data, JsonText) else example.data
    native = {
        "event_id": "evt_1",
        "event_type": event_type,
        "created_at": "2026-02-16T10:01:00.123456Z",
        "customer_id": "globex",
        "data": data,
    }
    (event,) = reader(name).read(json.dumps(native), "f.json")
    assert (event.event_id, event.event_type, event.customer_id) == ("evt_1", event_type, "globex")
    assert event.created_at_us == 1_771_236_060_123_456
    assert sender.render(EventDecoder(sender).decode(encode_event(sender, event), lambda: ""))


TIMES = {
    "zenoo": ('"created_at":', "2026-02-16T10:01:00Z"),
    "onboarding": ('"created_at":', "2026-02-16T10:01:00.123456+00:00"),
    "riskos": ('"event_at":', "2026-02-16T10:01:00.123Z"),
    "standard": ('"timestamp":', "2026-02-16T10:01:00.123456Z"),
}


@pytest.mark.decision("O13", "R16", "Z28")
@pytest.mark.parametrize("name", TIMES)
def test_each_sender_writes_times_in_its_own_format(name: str) -> None:
    """Times have seconds, milliseconds or microseconds, and Z or +00:00. Finer digits are cut, not rounded."""
    sender = SENDERS[name]
    key, text = TIMES[name]
    event = next((example.event() for example in EXAMPLES if example.sender == name), None)
    if event is None:
        (event,) = reader(name).read('{"event_type": "screening.completed", "data": {}}', "f.json")
    at = {"zenoo": 1_771_236_060_999_999, "riskos": 1_771_236_060_123_999}.get(name, 1_771_236_060_123_456)
    assert f'{key}"{text}"'.encode() in sender.render(replace(event, created_at_us=at))


@pytest.mark.parametrize(
    ("name", "document", "problem"),
    [
        ("riskos", {"event_at": "x"}, "event_at: expected a time such as"),
        (
            "riskos",
            {"event_at": "2026-02-16T10:01:00Z", "created_at": "2026-02-16T10:01:00Z"},
            "created_at: event_at has the same meaning; give one of them",
        ),
        ("zenoo", {"event_at": "2026-02-16T10:01:00Z"}, "event_at: an event has no such field"),
        (
            "diligent",
            {"headers": {"X-Event-Name": "CDD_OPENED"}, "payload": {}},
            "headers.X-Event-Name: diligent has no",
        ),
        ("diligent", {"headers": {}, "payload": {}}, "event_type: expected a string, found nothing"),
        (
            "diligent",
            {"headers": {"X-Event-Name": "SEARCH_COMPLETED"}, "payload": "[1]"},
            'payload: expected an object, found "[1]"',
        ),
        ("diligent", {"event_type": "search_completed", "data": [1]}, "data: expected an object, found [1]"),
        ("zenoo", {"headers": {}, "payload": "{"}, "payload: it is not JSON"),
        ("onboarding", {"event_type": "test", "data": {}}, 'onboarding has no type "test"'),
        ("onboarding", {"event_type": "all", "data": {}}, 'onboarding has no type "all"'),
        ("standard", {"event_type": "all", "data": {}}, '"all" is not an event type'),
        ("standard", {"type": "a b", "data": {}}, '"a b" is not an event type'),
    ],
)
def test_errors_name_the_key_of_the_document(name, document, problem) -> None:
    """The error names the key of the document, not Signpost's name of it."""
    with pytest.raises(EventError, match=r"f\.json: event 1") as error:
        reader(name).read(json.dumps(document), "f.json")
    assert problem in str(error.value)


def test_captured_request_can_be_published_again() -> None:
    """Every sender accepts headers and payload. The payload is the body as an object or as text."""
    for payload in (EXAMPLES[-1].document, EXAMPLES[-1].text):
        document = {"headers": {"User-Agent": "x"}, "payload": payload}
        (event,) = reader(EXAMPLES[-1].sender).read(json.dumps(document), "f.json")
        assert event == EXAMPLES[-1].event()


def test_customer_of_a_request_is_in_its_headers_unless_another_is_named() -> None:
    """A captured request names its customer in a header. The publisher can name another one."""
    document = {"headers": {"X-Customer-Id": "globex", "X-Event-Name": "SEARCH_COMPLETED"}, "payload": {}}
    for customer, expected in (("acme", "acme"), (None, "globex")):
        found = replace(reader("diligent"), customer_id=customer).read(json.dumps(document), "f.json")
        assert [event.customer_id for event in found] == [expected]
