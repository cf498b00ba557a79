"""Events in Confluent's wire format: written with a schema that need not be the sender's own."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import fastavro
import pytest

from consumers.kafka.schema_registry import Registry
from schemas.catalog.errors import Unavailable, UnreadableRecord
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
    """A registry in memory."""

    def __init__(self, *schemas: Any) -> None:
        self.schemas = dict(enumerate(schemas, start=1))
        self.asked: list[int] = []

    def get(self, schema_id: int) -> Any:
        self.asked.append(schema_id)
        if schema_id not in self.schemas:
            raise UnreadableRecord("unknown_schema", f"no {schema_id}")
        return self.schemas[schema_id]


def edited(change: Callable[[Any, list[Any]], None]) -> Any:
    """Return the sender's schema after a change, which gets the schema and the fields of data."""
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


def test_the_sender_s_own_schema_by_its_id_gives_the_same_event():
    """A value that names the sender's schema by an id is the event that its fingerprint would have given."""
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
    """What a newer writer adds is sent, behind the known fields, at every depth and wherever the writer has it."""

    def change(_: Any, fields: list[Any]) -> None:
        fields.insert(0, {"name": "region", "type": "string", "default": ""})
        fields[-1]["type"][1]["fields"].insert(0, {"name": "team", "type": ["null", "string"], "default": None})

    data = RECORD["data"] | {"region": "EU", "closed_by": {"team": "A", "name": "Zoë", "id": "u"}}
    body = json.loads(ZENOO.render(decoded(edited(change), RECORD | {"data": data})))
    assert list(body["data"]) == ["case_token", "risk_tier", "risk_score", "resolution_notes", "closed_by", "region"]
    assert list(body["data"]["closed_by"]) == ["id", "name", "team"]


@pytest.mark.decision("Z18")
def test_what_an_older_schema_lacks_is_null_and_order_is_the_sender_s():
    """An older writer without a field, and one with another order and narrower types, give the documented order."""

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


def test_a_field_is_known_by_an_alias_of_the_sender(tmp_path: Path):
    """A writer that still has a field's former name gives the field; the present name wins where it has both."""
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


def test_times_in_milliseconds_are_read_as_such():
    """A writer whose created_at counts milliseconds gives the same time."""

    def change(schema: Any, _: list[Any]) -> None:
        schema["fields"][2]["type"] = {"type": "long", "logicalType": "timestamp-millis"}

    assert decoded(edited(change), RECORD | {"created_at": NOW_US // 1000}).created_at_us == NOW_US // 1000 * 1000


def test_a_schema_that_lacks_a_required_field_is_an_invalid_value():
    """A token that the writer does not have cannot be made up."""
    schema = edited(lambda _, fields: fields.pop(0))
    assert reason(written(schema), schema) == "invalid_value"


@pytest.mark.parametrize("other", ["string", "boolean", "double", "bytes"])
def test_a_field_of_another_type_is_an_invalid_value(other):
    """A score that is no integer does not reach receivers."""

    def change(_: Any, fields: list[Any]) -> None:
        fields[2] = {"name": "risk_score", "type": other}

    value: Any = {"string": "45", "boolean": True, "double": 1.5, "bytes": b"4"}[other]
    schema = edited(change)
    assert reason(written(schema, RECORD | {"data": RECORD["data"] | {"risk_score": value}}), schema) == "invalid_value"


@pytest.mark.parametrize(
    ("added", "value"), [("bytes", b"\xff"), ("double", float("nan")), ({"type": "array", "items": "float"}, [1e400])]
)
def test_an_added_field_without_a_form_in_json_is_an_invalid_value(added, value):
    """Bytes, NaN and infinity in a field that the sender does not know are unreadable, not null."""
    schema = edited(lambda _, fields: fields.append({"name": "extra", "type": added}))
    with pytest.raises(UnreadableRecord) as error:
        ZENOO.render(decoded(schema, RECORD | {"data": RECORD["data"] | {"extra": value}}))
    assert error.value.reason == "invalid_value"


def test_unreadable_records_in_the_wire_format_are_told_apart():
    """Each kind of unreadable value has its reason."""
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
def test_a_schema_that_is_none_of_an_event_is_unknown(schema):
    """Whatever else is registered is told by its id, and takes neither time nor memory."""
    assert reason(written(OWN), schema) == "unknown_schema"


def test_without_a_registry_the_wire_format_is_unknown():
    """A value that names an id is told apart where no registry is set."""
    with pytest.raises(UnreadableRecord, match="schema_registry_url") as error:
        EventDecoder(ZENOO).decode(written(OWN), lambda: "")
    assert error.value.reason == "unknown_format"


def test_a_schema_is_asked_for_once():
    """The registry is not asked again for a schema that was read."""
    schemas = Schemas(OWN)
    decoder = EventDecoder(ZENOO, schemas)
    for _ in range(3):
        decoder.decode(written(OWN), lambda: "")
    assert schemas.asked == [1]


class _Handler(BaseHTTPRequestHandler):
    """Answers as a registry does: schema 1 is one of ours, 2 is JSON Schema, 3 fails, others are not there."""

    def do_GET(self) -> None:
        schema_id = self.path.partition("?")[0].rpartition("/")[2]
        status, answer = {
            "1": (200, {"schema": json.dumps(OWN)}),
            "2": (200, {"schema": "{}", "schemaType": "JSON"}),
            "3": (503, {"error_code": 50003, "message": "leader is away"}),
        }.get(schema_id, (404, {"error_code": 40403, "message": "Schema not found"}))
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def registry():
    """The client, and a registry that it talks to over HTTP until the test closes it."""
    server = HTTPServer(("127.0.0.1", 0), _Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Registry(f"http://127.0.0.1:{server.server_port}"), server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_registry_s_answers_are_told_apart(registry):
    """A schema, another kind of schema, an unknown id and a registry in trouble each have their answer."""
    client, _ = registry
    assert EventDecoder(ZENOO, client).decode(written(OWN), lambda: "").data["risk_score"] == 45
    for schema_id in (2, 4):
        with pytest.raises(UnreadableRecord) as error:
            client.get(schema_id)
        assert error.value.reason == "unknown_schema"
    with pytest.raises(Unavailable):
        client.get(3)


def test_a_registry_that_is_down_is_waited_for(registry):
    """An unknown id while the registry does not answer is Unavailable; a schema that was read is still known."""
    client, server = registry
    client.get(1)
    server.shutdown()
    server.server_close()
    assert client.get(1) == OWN
    with pytest.raises(Unavailable):
        client.get(4)


def nested(levels: int) -> tuple[Any, bytes]:
    """Return a schema whose data hold a list of records that hold the next one, and a value with so many of them."""
    node = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}
    schema = edited(lambda _schema, fields: fields.append({"name": "node", "type": node}))
    shallow = written(schema, RECORD | {"data": RECORD["data"] | {"node": {"next": None}}})
    assert shallow.endswith(b"\0")  # the end of the list
    return schema, shallow[:-1] + b"\2" * levels + b"\0"


def test_a_value_nested_without_end_is_unreadable_and_ends_no_process() -> None:
    """A few KB of a type that holds itself are an unreadable record; shallow ones are read."""
    schema, shallow = nested(3)
    read = EventDecoder(ZENOO, Schemas(schema)).decode(shallow, lambda: "")
    assert isinstance(read.data, dict)
    assert read.data["node"] == {"next": {"next": {"next": {"next": None}}}}
    for levels in (1_000, 100_000):
        schema, value = nested(levels)
        with pytest.raises(UnreadableRecord, match="RecursionError") as raised:
            EventDecoder(ZENOO, Schemas(schema)).decode(value, lambda: "")
        assert raised.value.reason == "invalid_value"


def test_a_type_that_never_ends_is_read_to_no_end() -> None:
    """A record that always holds itself takes no bytes and has no end: unreadable, as a field and as an item."""
    endless = {"type": "record", "name": "Endless", "fields": [{"name": "next", "type": "Endless"}]}
    for kind, more in ((endless, b""), ({"type": "array", "items": endless}, b"\2")):
        schema = edited(lambda _schema, fields, kind=kind: fields.append({"name": "more", "type": kind}))
        with pytest.raises(UnreadableRecord, match="RecursionError"):
            EventDecoder(ZENOO, Schemas(schema)).decode(written(OWN) + more, lambda: "")
