"""Any JSON that a schema allows arrives as the same JSON, for every sender and every schema property."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.events.json_reader import EventReader
from schemas.avro.types import parse_type
from schemas.catalog.errors import UNREADABLE_REASONS, EventError, SenderError, UnreadableRecord
from schemas.events.event import Event
from schemas.senders.event_codec import EventDecoder, encode_event
from schemas.senders.sender import Sender, load_sender
from tests.contracts.senders import SENDERS
from tests.support.avro_values import exact, json_values_of

ENVELOPE = [
    {"name": "event_id", "type": ["null", "string"], "default": None},
    {"name": "event_type", "type": "string"},
    {"name": "created_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "customer_id", "type": "string"},
]
INNER: list[dict[str, Any]] = [
    {"name": "exact", "type": {"type": "string", "json": "decimal"}},
    {"name": "maybe", "type": ["null", {"type": "string", "json": "integer"}], "default": None},
    {"name": "rest", "type": {"type": "map", "values": {"type": "string", "json": "raw"}}, "json": "members"},
]
# All properties of schemas/avro/json_form.py, in each place where they are allowed.
ALL: dict[str, Any] = {
    "type": "record",
    "name": "AllData",
    "fields": [
        {"name": "text", "type": "string"},
        {"name": "null_or_text", "type": ["null", "string"], "default": None},
        {"name": "absent_text", "type": ["null", "string"], "default": None, "absent": True},
        {"name": "number", "type": "long"},
        {"name": "big", "type": {"type": "string", "json": "integer"}},
        {"name": "any", "type": {"type": "string", "json": "raw"}},
        {"name": "free", "type": {"type": "string", "json": "object"}},
        {
            "name": "absent_free",
            "type": ["null", {"type": "string", "json": "object"}],
            "default": None,
            "absent": True,
        },
        {"name": "inner", "type": {"type": "record", "name": "Inner", "fields": INNER}},
        {"name": "list", "type": {"type": "array", "items": {"type": "string", "json": "raw"}}},
        {"name": "map", "type": {"type": "map", "values": {"type": "string", "json": "decimal"}}},
        {
            "name": "absent_list",
            "type": ["null", {"type": "array", "items": "string"}],
            "default": None,
            "absent": True,
        },
        {"name": "more", "type": {"type": "map", "values": {"type": "string", "json": "raw"}}, "json": "members"},
    ],
}
TOML = """title = "All"
[event_types]
"all.kinds" = { trigger = "x" }
[body]
form = "payload"
max_bytes = 10000000
[headers]
User-Agent = "x"
[signature]
scheme = "hmac_sha256_hex"
header = "X"
secret = "utf8"
required = false
[delivery]
timeout = "1s"
schedule = []
[kafka]
key = []
"""


def folder_of(path: Path, data: Any) -> Path:
    (path / "events").mkdir(parents=True)
    (path / "sender.toml").write_text(TOML, encoding="utf-8")
    record = {"type": "record", "name": "All", "fields": [*ENVELOPE, {"name": "data", "type": data}]}
    (path / "events" / "all.kinds.avsc").write_text(json.dumps(record), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Sender:
    """A sender whose schema uses all properties, in each place."""
    return load_sender(folder_of(tmp_path_factory.mktemp("senders") / "everything", ALL))


def round_trip(sender: Sender, event_type: str, text: str) -> Any:
    """Publish data as JSON text, and return the data of the body with exact decimals."""
    document = f'{{"event_id":"e","event_type":"{event_type}","customer_id":"c","created_at":"2026-01-01T00:00:00Z",'
    reader = EventReader(sender, lambda: 0, str)
    (event,) = reader.read(f'{document}"data":{text}}}', "f.json")
    body = sender.render(EventDecoder(sender).decode(encode_event(sender, event), str))
    parsed = json.loads(body, parse_float=Decimal)
    return parsed["data"] if sender.envelope_keys else parsed


@st.composite
def events(draw: st.DrawFn) -> tuple[Sender, str, Any]:
    sender = SENDERS[draw(st.sampled_from(["diligent", "onboarding", "riskos", "standard"]))]
    event_type = draw(st.sampled_from(list(sender.event_types) or ["a.b", "X-1"]))
    known = sender.type_of(event_type)
    assert known is not None
    return sender, event_type, draw(json_values_of(known.data))


@pytest.mark.decision("O12", "D30", "D35", "R2", "R17")
@settings(deadline=None, max_examples=40)
@given(events())
def test_any_value_of_any_sender_arrives_as_the_same_json(found):
    """Unicode, big integers, decimals, empty and absent keys arrive as published, in their order."""
    sender, event_type, data = found
    if sender.conditions and list(sender.problems(event_type, data)):
        event = Event("e", event_type, 0, "c", data)  # a record that is already on the topic
        body = sender.render(EventDecoder(sender).decode(encode_event(sender, event), str))
        arrived = json.loads(body, parse_float=Decimal)
        arrived = arrived["data"] if sender.envelope_keys else arrived
    else:
        arrived = round_trip(sender, event_type, exact(data))
    assert arrived == json.loads(exact(data), parse_float=Decimal)


@settings(deadline=None, max_examples=60)
@given(json_values_of(parse_type(ALL)))
def test_every_schema_property_keeps_the_value(everything, data):
    """Embedded text, free objects, absent keys, exact numbers and further keys arrive as the same JSON."""
    assert round_trip(everything, "all.kinds", exact(data)) == json.loads(exact(data), parse_float=Decimal)


def test_empty_null_and_absent_are_distinguished(everything):
    """Empty strings, objects and lists are sent, null where it is allowed, and absent keys stay absent."""
    data = {
        "text": "", "null_or_text": None, "number": 0, "big": -0, "any": None, "free": {},
        "inner": {"exact": 0.0, "maybe": None}, "list": [], "map": {},
    }  # fmt: skip
    assert round_trip(everything, "all.kinds", json.dumps(data)) == data
    more = {"absent_text": "", "absent_free": {}, "absent_list": [], "more": None, "z": ""}
    assert round_trip(everything, "all.kinds", json.dumps(data | more)) == data | more


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"big": 1.5}, "data.big: expected an integer, found 1.5"),
        ({"big": "7"}, 'data.big: expected an integer, found "7"'),
        ({"big": True}, "data.big: expected an integer, found true"),
        ({"free": [1]}, "data.free: expected an object, found [1]"),
        ({"free": "[1]"}, 'data.free: expected an object, found "[1]"'),
        ({"any": "\ud800"}, "data.any: it contains half of a surrogate pair (\\ud800)"),
        ({"map": {"a": "x"}}, 'data.map.a: expected a number, found "x"'),
        ({"absent_text": None}, "data.absent_text: null is not allowed; omit the key"),
        ({"inner": {"maybe": None}}, "data.inner.exact: expected a number, found nothing"),
    ],
)
def test_value_that_does_not_fit_is_named(everything, change, problem):
    """Each error has the path, the expected type and the found value."""
    data = {"text": "", "number": 0, "big": 1, "any": 1, "free": {}, "inner": {"exact": 1}, "list": [], "map": {}}
    reader = EventReader(everything, lambda: 0, str, "c")
    with pytest.raises(EventError) as error:
        reader.event({"event_type": "all.kinds", "data": data | change})
    assert problem in str(error.value)


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        ({"name": "a", "type": {"type": "string", "json": "xml"}}, "'xml' is for a string, one of raw, object"),
        ({"name": "a", "type": {"type": "long", "json": "raw"}}, "'raw' is for a string"),
        ({"name": "a", "type": "string", "json": "raw"}, 'a: "json" of a field is "members"'),
        ({"name": "a", "type": "string", "absent": True}, "a: what can be absent is in a union with null"),
        ({"name": "a", "type": "string", "json": "members"}, "a: members are a map"),
        (
            {"name": "a", "type": ["string", {"type": "string", "json": "raw"}]},
            "not an Avro schema|union only with null",
        ),
    ],
)
def test_misplaced_schema_property_is_an_error_of_the_folder(tmp_path, field, problem):
    """A schema property in the wrong place is an error when the folder is read."""
    with pytest.raises(SenderError, match=problem):
        load_sender(folder_of(tmp_path / "wrong", {"type": "record", "name": "W", "fields": [field]}))


@st.composite
def hostile(draw: st.DrawFn) -> tuple[Sender, bytes]:
    sender, event_type, data = draw(events())
    value = encode_event(sender, Event("e", event_type, 0, "c", data))
    index = draw(st.integers(10, len(value) - 1))
    match draw(st.sampled_from(["flipped", "cut", "noise"])):
        case "flipped":
            return sender, value[:index] + bytes([value[index] ^ draw(st.integers(1, 255))]) + value[index + 1 :]
        case "cut":
            return sender, value[:index]
        case _:
            return sender, value[:10] + draw(st.binary(max_size=100))


@settings(deadline=None, max_examples=60)
@given(hostile())
def test_hostile_bytes_are_sent_or_have_one_of_ten_reasons(found):
    """Any bytes either render to JSON or raise UnreadableRecord with a reason of the closed list."""
    sender, value = found
    assert result_of(sender, value) in UNREADABLE_REASONS | {"sent"}


def result_of(sender: Sender, value: bytes) -> str:
    """Return `sent`, or the reason why a record is unreadable."""
    try:
        json.loads(sender.render(EventDecoder(sender).decode(value, lambda: "evt_x")))
    except UnreadableRecord as error:
        return error.reason
    return "sent"


@pytest.mark.parametrize("number", [10**30, Decimal("1.10"), Decimal("1E+400"), 1.5, -(2**63)])
def test_python_numbers_of_any_size_are_sent(number):
    """Python's int, Decimal and float of any size in a free-form payload are written as JSON numbers."""
    sender = SENDERS["standard"]
    event = Event("e", "a.b", 0, "c", {"n": number, "deep": [{"n": number}]})
    body = json.loads(sender.render(EventDecoder(sender).decode(encode_event(sender, event), str)), parse_float=Decimal)
    assert body["data"]["n"] == body["data"]["deep"][0]["n"] == number


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2}, b"x", object(), "\ud800", Decimal("NaN")])
def test_values_that_json_lacks_are_refused_when_published(value):
    """NaN, infinity, a key that is no string, bytes and other objects raise EventError."""
    with pytest.raises(EventError):
        encode_event(SENDERS["standard"], Event("e", "a.b", 0, "c", {"v": value}))
