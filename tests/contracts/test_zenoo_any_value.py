"""Any value that Zenoo's schemas allow arrives as published, and any bytes on a topic have one result."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.catalog.errors import UNREADABLE_REASONS, UnreadableRecord
from schemas.events.event import MAX_TIME_US, MIN_TIME_US, Event
from schemas.senders.event_codec import EventDecoder, encode_event
from tests.contracts.zenoo import EXAMPLES, ZENOO, event_of
from tests.support.avro_values import TEXT, json_values_of

DECODER = EventDecoder(ZENOO)


@st.composite
def events(draw: st.DrawFn) -> Event:
    event_type = draw(st.sampled_from(list(ZENOO.event_types.values())))
    data: dict[str, Any] = draw(json_values_of(event_type.data))
    times = st.integers(MIN_TIME_US, MAX_TIME_US)
    name = TEXT.filter(bool)
    return Event(draw(name), event_type.name, draw(times), draw(name), data)


@pytest.mark.decision("Z10", "Z15", "Z18")
@settings(deadline=None)
@given(events())
def test_any_value_of_the_schemas_arrives_as_published(event):
    """Avro and JSON keep every value and the order of keys, and rendering twice gives the same bytes."""
    decoded = DECODER.decode(encode_event(ZENOO, event), lambda: "")
    assert decoded == event
    body = ZENOO.render(decoded)
    assert body == ZENOO.render(decoded)
    document = json.loads(body)
    assert list(document) == ["event_id", "event_type", "created_at", "data"]
    assert document["event_id"] == event.event_id
    assert document["data"] == event.data
    assert list(document["data"]) == list(ZENOO.event_types[event.event_type].data_fields)
    assert json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() == body


@st.composite
def hostile_values(draw: st.DrawFn) -> bytes:
    value = encode_event(ZENOO, draw(events()))
    match draw(st.sampled_from(["noise", "noise behind a fingerprint", "flipped", "cut", "longer"])):
        case "noise":
            return draw(st.binary(max_size=200))
        case "noise behind a fingerprint":
            return value[:10] + draw(st.binary(max_size=200))
        case "flipped":
            index = draw(st.integers(0, len(value) - 1))
            return value[:index] + bytes([value[index] ^ draw(st.integers(1, 255))]) + value[index + 1 :]
        case "cut":
            return value[: draw(st.integers(0, len(value) - 1))]
        case _:
            return value + draw(st.binary(min_size=1, max_size=20))


def result_of(value: bytes) -> str:
    """Return `sent`, or the reason why a record is unreadable."""
    try:
        json.loads(ZENOO.render(DECODER.decode(value, lambda: "evt_x")))
    except UnreadableRecord as error:
        return error.reason
    return "sent"


@settings(deadline=None)
@given(hostile_values())
def test_hostile_bytes_are_sent_or_have_one_of_ten_reasons(value):
    """Any bytes either render to JSON or raise UnreadableRecord with a reason of the closed list."""
    assert result_of(value) in UNREADABLE_REASONS | {"sent"}


def with_type(event_type: str, envelope_of: str = "case.created") -> bytes:
    """Return a record with the schema of one type and the event_type of another."""
    event = event_of(EXAMPLES[envelope_of])
    value = encode_event(ZENOO, event)
    old, new = (bytes([2 * len(name)]) + name.encode() for name in (envelope_of, event_type))
    assert value.count(old) == 1
    return value.replace(old, new)


GOOD = encode_event(ZENOO, event_of(EXAMPLES["case.created"]))
UNREADABLE: dict[str, bytes | None] = {
    "empty": None,
    "unknown_format": b'{"event_id":"evt_001"}',
    "unknown_schema": b"\xc3\x01" + b"\x00" * 8 + GOOD[10:],
    "truncated": GOOD[:-1],
    "trailing_bytes": GOOD + b"\x00",
    "invalid_value": GOOD.replace(b"Acme Holdings", b"\xff\xfeme Holdings"),
    "unknown_event_type": with_type("case.deleted"),
    "event_type_mismatch": with_type("case.closed"),
    "no_customer": encode_event(ZENOO, event_of(EXAMPLES["case.created"], customer_id="")),
    "too_large": encode_event(
        ZENOO, Event("e", "case.created", 0, "acme", EXAMPLES["case.created"]["data"] | {"entity_name": "x" * 262_144})
    ),
}


@pytest.mark.parametrize("reason", UNREADABLE)
def test_each_kind_of_unreadable_record_has_its_reason(reason):
    """Each of the ten kinds of unreadable records has its own reason."""
    with pytest.raises(UnreadableRecord) as error:
        ZENOO.render(DECODER.decode(UNREADABLE[reason], lambda: "evt_x"))
    assert error.value.reason == reason


def test_ten_reasons_are_the_closed_list():
    """The list of reasons is closed, and each reason has a record above."""
    assert set(UNREADABLE) == UNREADABLE_REASONS
    assert len(UNREADABLE) == 10


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "empty"),
        (b"\xc3", "unknown_format"),
        (GOOD[:9], "truncated"),
        (GOOD[:10], "truncated"),
        # Half of a surrogate pair, encoded by itself (CESU-8): not allowed in UTF-8.
        (GOOD.replace(b"Acme H", b"\xed\xa0\x80e H"), "invalid_value"),
        # A year that ISO 8601 cannot write with four digits.
        (encode_event(ZENOO, Event("e", "sla.warning", MAX_TIME_US + 1, "acme", {"case_token": "c"})), "invalid_value"),
        (encode_event(ZENOO, Event("e", "sla.warning", MIN_TIME_US - 1, "acme", {"case_token": "c"})), "invalid_value"),
    ],
)
def test_almost_readable_records_have_their_reason(value, reason):
    """Records that are almost readable have the reason of their defect."""
    with pytest.raises(UnreadableRecord) as error:
        DECODER.decode(value, lambda: "evt_x")
    assert error.value.reason == reason


@pytest.mark.parametrize("value", [2**64, "\ud800", {1: 2}, b"bytes", object()])
def test_values_that_json_lacks_are_refused_when_rendered(value):
    """A number over 64 bits, half a surrogate pair, a key that is no string, and bytes are invalid_value."""
    with pytest.raises(UnreadableRecord) as error:
        ZENOO.render(Event("e", "case.created", 0, "acme", {"case_token": value}))
    assert error.value.reason == "invalid_value"
