"""What `events publish` accepts can be routed, sent and shown; everything else is refused with a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consumers.inspect.readable import RecordReader, line
from deploy.dev.responses import event_id_of, text_in
from producers.events.json_reader import EventReader
from producers.events.publisher import EventPublisher
from schemas.avro.json_parser import parse
from schemas.avro.json_text import JsonText
from schemas.avro.json_writer import compact, readable
from schemas.catalog.errors import EventError
from schemas.events.event import Event
from schemas.senders.event_codec import EventDecoder
from schemas.senders.sender import Sender, load_sender, load_senders
from tests.contracts.test_any_value import folder_of
from tests.support.odd_events import DATA, native

SENDERS = load_senders()
STANDARD = SENDERS["standard"]
READER = EventReader(STANDARD, lambda: 0, lambda: "made")
SHOW = RecordReader(SENDERS)
NODE = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"], "default": None}]}


def publisher_of(sender: Sender, **limits: int) -> EventPublisher:
    """Return a publisher without a broker: events are prepared and not sent."""
    return EventPublisher({"bootstrap.servers": ""}, sender=sender, topic="t", **limits)


def refusal(sender: Sender, event: Event | dict[str, Any], **limits: int) -> str:
    with pytest.raises(EventError) as error:
        publisher_of(sender, **limits).prepare(event)
    return str(error.value)


def standard_event(data: Any, **changed: Any) -> dict[str, Any]:
    return {"event_id": "evt_1", "event_type": "note.added", "customer_id": "acme", "data": data, **changed}


@pytest.mark.parametrize("is_text", [False, True], ids=["object", "text"])
@pytest.mark.parametrize("name", DATA)
def test_accepted_event_is_rendered_and_shown_with_its_digits(name: str, is_text: bool) -> None:
    """The body, the line and the JSON of `tail` have the value as it was published, and the receiver finds its ids."""
    (event,) = READER.read(native(DATA[name], "evt_odd", is_text=is_text) + "\n", "f.jsonl")
    prepared = publisher_of(STANDARD).prepare(event)
    body = STANDARD.render(EventDecoder(STANDARD).decode(prepared.value, str))
    assert compact(parse(body.decode())["data"]) == compact(parse(DATA[name]))
    assert event_id_of(b'{"event_id":"evt_odd",' + body[1:]) == "evt_odd"
    assert text_in(body, "type") == "note.added"

    record = SHOW.read(prepared.value)
    assert record.kind == "event"
    text = readable({"value": record.fields})
    assert "\n" not in text
    assert compact(parse(text)["value"]["data"]) == compact(parse(DATA[name]))
    assert compact(parse(readable(record.fields, indent=True))["data"]) == compact(parse(DATA[name]))
    shown = line(record.fields)
    assert shown.isprintable()
    assert "needle" in shown


def test_repeated_keys_of_json_text_are_shown_as_published() -> None:
    """Data that are given as text are sent unchanged, with a key that occurs twice."""
    text = '{"a":1,"a":2}'
    (event,) = READER.read(native(text, "evt_twice", is_text=True), "f")
    prepared = publisher_of(STANDARD).prepare(event)
    assert f'"data":{text}' in readable(SHOW.read(prepared.value).fields)
    with pytest.raises(EventError, match='the key "a" occurs twice'):
        READER.read(native(text, "evt_twice"), "f")


@pytest.mark.parametrize("separator", list("\u2028\u2029\x85"))
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_json_lines_end_with_a_line_feed_alone(separator: str, end: str) -> None:
    """Line separators of Unicode within a string do not end a line of JSON Lines."""
    lines = [native(f'{{"t":"a{separator}b"}}', f"evt_{number}") for number in range(3)]
    found = READER.read(end.join([*lines, " \t", ""]), "f")
    assert [event.event_id for event in found] == ["evt_0", "evt_1", "evt_2"]
    with pytest.raises(EventError, match=r"^f: line 3: not JSON: "):
        READER.read(f"{lines[0]}\n{lines[1]}\n{{\n", "f")


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (native('{"t":"\\ud83d half"}', "e"), "data.t"),
        (native('{"a":[0,{"b c":"\\udc00"}]}', "e"), "data.a[1].b c"),
        (native('{"a":{"\\ud83d":1}}', "e"), "data.a.\\ud83d"),
        (native('{"t":"\\ud83d half"}', "e", is_text=True), "data.t"),
        (native("{}", "\\ud83d"), "event_id"),
        (native("{}", "e").replace("acme", "\\ud83d"), "customer_id"),
        (native("{}", "e").replace("note.added", "\\ud83d"), "event_type"),
    ],
)
def test_half_a_surrogate_pair_is_named_with_its_path(document: str, path: str) -> None:
    """The sentence names the half, its field and what to do, and not the type of the value around it."""
    with pytest.raises(EventError) as error:
        READER.read(document, "f")
    half = "\\udc00" if "udc00" in document else "\\ud83d"
    assert f": {path}: " in str(error.value)
    assert half in str(error.value)
    if path != "event_type":
        assert f"{path}: it contains half of a surrogate pair ({half}): write both halves, or leave it out" in str(
            error.value
        )


def test_body_above_a_limit_is_refused_where_it_is_published() -> None:
    """The limit of the sender, max_body and max_event are named, with the sizes and what to do."""
    large = standard_event({"text": "x" * 300_000})
    sentence = refusal(STANDARD, large, max_body=10**9)
    assert sentence.startswith("event evt_1: data: the request body would have 300,")
    assert sentence.endswith("at most 262,144 are allowed (standard's max_bytes): publish less data, or a link to it")
    assert "at most 2,000 are allowed (max_body)" in refusal(
        STANDARD, standard_event({"text": "x" * 3_000}), max_body=2_000
    )
    assert "at most 2,000 are allowed (max_event)" in refusal(
        STANDARD, standard_event({"text": "x" * 3_000}), max_event=2_000
    )
    body = STANDARD.render(Event("evt_1", "note.added", 0, "acme", JsonText("{}")))
    fits = JsonText(json.dumps({"t": "x" * (262_144 - len(body) - len('"t": ""'))}))
    publisher_of(STANDARD).prepare(Event("evt_1", "note.added", 0, "acme", fits))


@pytest.mark.parametrize("is_text", [False, True], ids=["object", "text"])
def test_data_that_are_too_deep_are_refused(is_text: bool) -> None:
    """1,024 levels are published; 1,025 and 100,000 are refused with the field and the limit."""
    for levels in (1_024, 1_025, 100_000):
        data = '{"a":' * levels + "1" + "}" * levels
        document = native(data, "evt_deep", is_text=is_text)
        if levels == 1_024:
            (event,) = READER.read(document, "f")
            publisher_of(STANDARD).prepare(event)
            continue
        with pytest.raises(EventError) as error:
            READER.read(document, "f")
        assert f"data: it has {levels:,} levels of arrays and objects, and at most 1,024 are allowed" in str(
            error.value
        )


def test_record_inside_of_itself_has_a_limit(tmp_path: Path) -> None:
    """A recursive type of a hundred levels is routed; more are refused with the path's type and the limit."""
    sender = load_sender(folder_of(tmp_path / "trees", NODE))
    reader = EventReader(sender, lambda: 0, str, "c")

    def chain(levels: int) -> str:
        return (
            f'{{"event_type":"all.kinds","data":{"{" + chr(34) + "next" + chr(34) + ":"}'
            + '{"next":' * (levels - 1)
            + "null"
            + "}" * (levels + 1)
        )

    (event,) = reader.read(chain(101), "f")
    prepared = publisher_of(sender).prepare(event)
    assert RecordReader({"trees": sender}).read(prepared.value).kind == "event"
    for levels in (102, 50_000):
        with pytest.raises(EventError, match=r"Node is inside of itself 100 times|nested too deeply"):
            reader.read(chain(levels), "f")


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_time_outside_of_utc_years_is_refused(time: str) -> None:
    """A time whose UTC has no four-digit year would be unreadable for the router."""
    assert "created_at is outside the years 1 to 9999" in refusal(STANDARD, standard_event({}, created_at=time))


@pytest.mark.parametrize(
    "changed", [{"event_id": "\ud83d"}, {"customer_id": "\udc00"}, {"customer_id": ""}, {"data": {"t": "\ud83d"}}]
)
def test_event_object_is_checked_like_json(changed: dict[str, Any]) -> None:
    """An Event of a program is refused for the same reasons as a JSON file."""
    given = {"event_id": "e", "event_type": "note.added", "created_at_us": 0, "customer_id": "acme", "data": {}}
    assert f"{next(iter(changed))}" in refusal(STANDARD, Event(**(given | changed)))


def test_key_of_large_data_is_found() -> None:
    """The Kafka key comes from data with 5,000 digits or 1,000 levels beside it."""
    for odd in ("7" * 5_000, "[" * 1_000 + "]" * 1_000):
        keyed = next(sender for sender in SENDERS.values() if sender.key_fields and sender.any_type is None)
        event_type = next(iter(keyed.event_types))
        fields = keyed.key_fields_of.get(event_type, keyed.key_fields)
        text = f'{{"{fields[0]}":"k1","odd":{odd}}}'
        assert keyed.key_of(Event("e", event_type, 0, "acme", JsonText(text))) == "k1"


def test_hostile_text_is_no_json_for_the_receiver() -> None:
    """Bodies that are not JSON, or not an object, have no event id."""
    for body in (b"", b"\xff", b"[" * 100_000, b"[]", b'{"event_id":1}', b'{"event_id":"a"'):
        assert event_id_of(body) is None
    deep = b'{"event_id":"a","b":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert event_id_of(deep) == "a"
