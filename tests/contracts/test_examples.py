"""Every example of the contracts can be published as it stands, and is sent as the contract shows it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

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


def test_there_are_the_examples_of_the_contracts() -> None:
    """14 of zenoo, 7 of diligent, 2 of riskos; the Onboarding document shows no event."""
    counts = {name: sum(example.sender == name for example in EXAMPLES) for name in SENDERS}
    assert counts == {"zenoo": 14, "diligent": 7, "riskos": 2, "onboarding": 0, "standard": 0}


@pytest.mark.decision("Z15", "D2", "D3", "D30", "D35", "R1", "R3")
@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_as_it_stands_comes_out_byte_for_byte(example: Example) -> None:
    """Published as it stands, through Avro, each is its own compact serialisation; a string payload is kept."""
    body = through_avro(SENDERS[example.sender], example)
    assert body == example.body
    assert body.startswith(b"{")


@pytest.mark.decision("D1", "D18", "D19", "D20")
@pytest.mark.parametrize("example", [e for e in EXAMPLES if e.sender == "diligent"], ids=str)
def test_the_metadata_of_diligent_are_headers(example: Example) -> None:
    """All eight headers in the order and spelling of the document, the name of the type always in upper case."""
    job = Attempted(job_id="job-1", event_type=example.event_type, subscription_id="hook-1")
    headers = headers_of(SENDERS["diligent"], example.body, "s3cret", job=job)
    expected = diligent_headers(example, job_id="job-1", subscription_id="hook-1", secret="s3cret")
    assert list(headers.items()) == list(expected.items())


@pytest.mark.decision("R10", "R16", "R20")
@pytest.mark.parametrize("name", SENDERS)
def test_every_sender_takes_the_native_form(name: str) -> None:
    """event_id, event_type, created_at, customer_id and data are an event of each sender."""
    sender = SENDERS[name]
    of_it = [example for example in EXAMPLES if example.sender == name]
    example = of_it[0].event() if of_it else None
    event_type = example.event_type if example else next(iter(sender.event_types), "invoice.paid")
    data = example.data.value() if example and isinstance(example.data, JsonText) else example.data if example else {}
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
    """Seconds, milliseconds or microseconds, Z or +00:00; what is finer is cut, never rounded up."""
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
def test_what_is_wrong_with_a_form_is_said_by_the_key_that_was_given(name, document, problem) -> None:
    """A misfit names the key as the document has it, not as Signpost calls it."""
    with pytest.raises(EventError, match=r"f\.json: event 1") as error:
        reader(name).read(json.dumps(document), "f.json")
    assert problem in str(error.value)


def test_a_request_that_was_captured_can_be_published_again() -> None:
    """Headers and payload are a form of every sender: the payload is its body, or the text of it."""
    for payload in (EXAMPLES[-1].document, EXAMPLES[-1].text):
        document = {"headers": {"User-Agent": "x"}, "payload": payload}
        (event,) = reader(EXAMPLES[-1].sender).read(json.dumps(document), "f.json")
        assert event == EXAMPLES[-1].event()


def test_the_customer_of_a_request_is_in_its_headers_unless_another_is_named() -> None:
    """A captured request names its customer; who publishes it for another says so."""
    document = {"headers": {"X-Customer-Id": "globex", "X-Event-Name": "SEARCH_COMPLETED"}, "payload": {}}
    for customer, expected in (("acme", "acme"), (None, "globex")):
        found = replace(reader("diligent"), customer_id=customer).read(json.dumps(document), "f.json")
        assert [event.customer_id for event in found] == [expected]
