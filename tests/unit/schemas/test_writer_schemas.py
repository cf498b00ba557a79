"""Events in Confluent's wire format, written with other schemas than the sender's own."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest

from schemas.catalog.errors import UnreadableRecord
from schemas.events.event import Event
from schemas.senders.event_codec import EventDecoder
from schemas.senders.sender import load_sender, load_senders
from tests.contracts.test_any_value import folder_of

ZENOO = load_senders()["zenoo"]
OWN = ZENOO.event_types["case.closed"].schema
NOW_US = 1_771_236_060_123_456
RECORD: dict[str, Any] = {
    "event_id": "evt_1",
    "event_type": "case.closed",
    "created_at": NOW_US,
    "customer_id": "acme",
    "data": {"case_token": "cas_1", "risk_score": 45, "closed_by": {"id": "u", "name": "Zoë"}},
}


class Schemas:
    """A schema registry in memory."""

    def __init__(self, *schemas: Any) -> None:
        self.schemas = dict(enumerate(schemas, start=1))
        self.requested: list[int] = []

    def get(self, schema_id: int) -> Any:
        self.requested.append(schema_id)
        if schema_id not in self.schemas:
            raise UnreadableRecord("unknown_schema", f"no {schema_id}")
        return self.schemas[schema_id]


def edited(change: Callable[[Any, list[Any]], None]) -> Any:
    """Return a changed copy of the sender's schema; `change` gets the schema and the fields of data."""
    schema = copy.deepcopy(OWN)
    change(schema, schema["fields"][-1]["type"]["fields"])
    return schema


def written(schema: Any, record: dict[str, Any] = RECORD, schema_id: int = 1) -> bytes:
    stream = BytesIO()
    fastavro.schemaless_writer(stream, schema, record)
    return struct.pack(">bI", 0, schema_id) + stream.getvalue()


def decoded(schema: Any, record: dict[str, Any] = RECORD) -> Event:
    return EventDecoder(ZENOO, Schemas(schema)).decode(written(schema, record), lambda: "evt_made")


def reason(value: bytes, *schemas: Any) -> str:
    with pytest.raises(UnreadableRecord) as error:
        EventDecoder(ZENOO, Schemas(*schemas)).decode(value, lambda: "")
    return error.value.reason


def test_own_schema_by_id_gives_the_same_event():
    """A value that names the sender's schema by id decodes like one that names it by fingerprint."""
    event = decoded(OWN)
    assert (event.event_id, event.created_at_us, event.customer_id) == ("evt_1", NOW_US, "acme")
    assert event.data == {
        "case_token": "cas_1",
        "risk_tier": None,
        "risk_score": 45,
        "resolution_notes": None,
        "closed_by": {"id": "u", "name": "Zoë"},
    }


@pytest.mark.decision("Z18")
def test_fields_of_a_newer_schema_follow_the_known_ones():
    """Fields that a newer writer adds are sent after the known fields, at every depth and in any writer order."""

    def change(_: Any, fields: list[Any]) -> None:
        fields.insert(0, {"name": "region", "type": "string", "default": ""})
        fields[-1]["type"][1]["fields"].insert(0, {"name": "team", "type": ["null", "string"], "default": None})

    data = RECORD["data"] | {"region": "EU", "closed_by": {"team": "A", "name": "Zoë", "id": "u"}}
    body = json.loads(ZENOO.render(decoded(edited(change), RECORD | {"data": data})))
    assert list(body["data"]) == ["case_token", "risk_tier", "risk_score", "resolution_notes", "closed_by", "region"]
    assert list(body["data"]["closed_by"]) == ["id", "name", "team"]


@pytest.mark.decision("Z18")
def test_older_schema_gives_null_and_the_order_of_the_sender():
    """Missing fields, another order and narrower types of an older writer give the documented order."""

    def change(schema: Any, fields: list[Any]) -> None:
        del fields[3]  # resolution_notes
        fields.reverse()
        fields[1] = {"name": "risk_score", "type": "int"}
        schema["fields"].reverse()
        schema["namespace"] = "com.example.older"

    event = decoded(edited(change), RECORD | {"data": RECORD["data"] | {"risk_tier": "Low"}})
    assert list(event.data) == ["case_token", "risk_tier", "risk_score", "resolution_notes", "closed_by"]
    assert event.data["resolution_notes"] is None
    assert event.data["risk_score"] == 45


def test_sender_alias_matches_a_field_of_the_writer(tmp_path: Path):
    """A writer's field with a former name is matched; the current name wins if both are present."""
    score = {"name": "score", "aliases": ["risk_score", "risk"], "type": ["null", "long"], "default": None}
    sender = load_sender(folder_of(tmp_path / "own", {"type": "record", "name": "Data", "fields": [score]}))
    record = RECORD | {"event_type": "all.kinds"}

    def rendered(**data: int) -> Any:
        schema = copy.deepcopy(sender.all_types[0].schema)
        schema["fields"][-1]["type"]["fields"] = [{"name": name, "type": "int"} for name in data]
        value = written(schema, record | {"data": data})
        return json.loads(sender.render(EventDecoder(sender, Schemas(schema)).decode(value, str)))

    assert rendered(risk_score=4, other=5) == {"score": 4, "other": 5}
    assert rendered(risk=4, score=5) == {"score": 5, "risk": 4}


def test_times_in_milliseconds_are_converted():
    """A created_at in milliseconds gives the same time."""

    def change(schema: Any, _: list[Any]) -> None:
        schema["fields"][2]["type"] = {"type": "long", "logicalType": "timestamp-millis"}

    assert decoded(edited(change), RECORD | {"created_at": NOW_US // 1000}).created_at_us == NOW_US // 1000 * 1000


def test_schema_without_a_required_field_is_an_invalid_value():
    """A required field that the writer lacks has no default."""
    schema = edited(lambda _, fields: fields.pop(0))
    assert reason(written(schema), schema) == "invalid_value"


@pytest.mark.parametrize("other", ["string", "boolean", "double", "bytes"])
def test_field_of_another_type_is_an_invalid_value(other):
    """A score that is not an integer does not reach receivers."""

    def change(_: Any, fields: list[Any]) -> None:
        fields[2] = {"name": "risk_score", "type": other}

    value: Any = {"string": "45", "boolean": True, "double": 1.5, "bytes": b"4"}[other]
    schema = edited(change)
    assert reason(written(schema, RECORD | {"data": RECORD["data"] | {"risk_score": value}}), schema) == "invalid_value"


@pytest.mark.parametrize(
    ("added", "value"), [("bytes", b"\xff"), ("double", float("nan")), ({"type": "array", "items": "float"}, [1e400])]
)
def test_added_field_without_json_form_is_an_invalid_value(added, value):
    """Bytes, NaN and infinity in an unknown field are unreadable, not null."""
    schema = edited(lambda _, fields: fields.append({"name": "extra", "type": added}))
    with pytest.raises(UnreadableRecord) as error:
        ZENOO.render(decoded(schema, RECORD | {"data": RECORD["data"] | {"extra": value}}))
    assert error.value.reason == "invalid_value"


def test_unreadable_records_in_the_wire_format_have_their_reasons():
    """Each kind of unreadable value has its own reason."""
    good = written(OWN)
    assert reason(good[:4], OWN) == "truncated"
    assert reason(good[:-1], OWN) == "truncated"
    assert reason(good + b"\0", OWN) == "trailing_bytes"
    assert reason(good) == "unknown_schema"
    assert reason(written(OWN, RECORD | {"event_type": "case.open"}), OWN) == "unknown_event_type"
    assert reason(written(OWN, RECORD | {"event_type": "case.created"}), OWN) == "event_type_mismatch"
    assert reason(written(OWN, RECORD | {"customer_id": ""}), OWN) == "no_customer"


@pytest.mark.parametrize(
    "schema",
    [
        "string",
        {"type": "record", "name": "Other", "fields": []},
        {"type": "record"},
        7,
        edited(lambda _, fields: fields.append({"name": "bomb", "type": {"type": "array", "items": "null"}})),
    ],
)
def test_schema_of_no_event_is_unknown(schema):
    """Any other registered schema is unknown_schema and takes neither time nor memory."""
    assert reason(written(OWN), schema) == "unknown_schema"


OTHER = {"type": "record", "name": "Other", "fields": [{"name": "next", "type": "Other"}]}


def test_record_without_created_at_is_named():
    """The error of another record says what it lacks."""
    with pytest.raises(UnreadableRecord, match="it has no field created_at"):
        EventDecoder(ZENOO, Schemas(OTHER)).decode(written(OWN), lambda: "")


def test_without_a_registry_the_wire_format_is_unknown():
    """Without a registry, a value with a schema id is unknown_format."""
    with pytest.raises(UnreadableRecord, match="schema_registry_url") as error:
        EventDecoder(ZENOO).decode(written(OWN), lambda: "")
    assert error.value.reason == "unknown_format"


def test_schema_is_requested_once():
    """The registry gets no second request for a known schema."""
    schemas = Schemas(OWN)
    decoder = EventDecoder(ZENOO, schemas)
    for _ in range(3):
        decoder.decode(written(OWN), lambda: "")
    assert schemas.requested == [1]


def test_schema_of_no_event_is_requested_once():
    """A schema never changes: one that is no event schema is not requested again for the next record."""
    schemas = Schemas("string")
    decoder = EventDecoder(ZENOO, schemas)
    for _ in range(3):
        with pytest.raises(UnreadableRecord):
            decoder.decode(written(OWN), lambda: "")
    assert schemas.requested == [1]


ORDERS = edited(lambda schema, _: schema.update(name="Orders", namespace="other"))


def test_record_of_a_union_is_decoded():
    """A topic of many event types may have one schema, a union of their records. Each branch is decoded."""
    union = ["null", OWN, ORDERS]
    for branch, schema in ((1, OWN), (2, ORDERS)):
        value = written(schema)
        value = value[:5] + bytes([2 * branch]) + value[5:]
        event = EventDecoder(ZENOO, Schemas(union)).decode(value, str)
        assert (event.event_id, event.data["risk_score"]) == ("evt_1", 45)


def test_other_values_of_a_union_are_unreadable():
    """A null, a branch that does not exist, and a missing branch number are unreadable."""
    union = ["null", OWN]
    head = written(OWN)[:5]
    assert reason(head + b"\x00", union) == "invalid_value"
    assert reason(head + b"\x04" + written(OWN)[5:], union) == "invalid_value"
    assert reason(head + b"\x01" + written(OWN)[5:], union) == "invalid_value"
    assert reason(head, union) == "truncated"
    assert reason(written(OWN), ["null", "string"]) == "unknown_schema"


def test_recursive_type_of_another_branch_is_read_with_bounds():
    """A branch may use a recursive type that another branch defines: deep values end no process."""
    node = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
    first = edited(lambda schema, fields: (schema.update(name="First"), fields.append({"name": "node", "type": node})))
    second = edited(lambda _schema, fields: fields.append({"name": "node", "type": "zenoo.Node"}))
    value = written(OWN)
    value = value[:5] + b"\x02" + value[5:] + b"\2" * 100_000 + b"\0"
    with pytest.raises(UnreadableRecord, match="RecursionError"):
        EventDecoder(ZENOO, Schemas([first, second])).decode(value, str)


def nested(levels: int) -> tuple[Any, bytes]:
    """Return a schema with a linked list in its data, and a value with a list of `levels` records."""
    node = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
    schema = edited(lambda _schema, fields: fields.append({"name": "node", "type": node}))
    shallow = written(schema, RECORD | {"data": RECORD["data"] | {"node": {"next": None}}})
    assert shallow.endswith(b"\0")  # the end of the list
    return schema, shallow[:-1] + b"\2" * levels + b"\0"


def test_deeply_nested_value_is_unreadable_and_ends_no_process() -> None:
    """Thousands of levels of a recursive type are an unreadable record; a few levels are decoded."""
    schema, shallow = nested(3)
    read = EventDecoder(ZENOO, Schemas(schema)).decode(shallow, lambda: "")
    assert isinstance(read.data, dict)
    assert read.data["node"] == {"next": {"next": {"next": {"next": None}}}}
    for levels in (1_000, 100_000):
        schema, value = nested(levels)
        with pytest.raises(UnreadableRecord, match="RecursionError") as raised:
            EventDecoder(ZENOO, Schemas(schema)).decode(value, lambda: "")
        assert raised.value.reason == "invalid_value"


def test_endless_type_is_unreadable() -> None:
    """A record that always contains itself has no bytes and no end: unreadable, as a field and as an item."""
    endless = {"type": "record", "name": "Endless", "fields": [{"name": "next", "type": "Endless"}]}
    for kind, more in ((endless, b""), ({"type": "array", "items": endless}, b"\2")):
        schema = edited(lambda _schema, fields, kind=kind: fields.append({"name": "more", "type": kind}))
        with pytest.raises(UnreadableRecord, match="RecursionError"):
            EventDecoder(ZENOO, Schemas(schema)).decode(written(OWN) + more, lambda: "")
