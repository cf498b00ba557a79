"""Sender folders: loading, and errors with file, line and field."""

from __future__ import annotations

import json
import shutil
from importlib import resources
from pathlib import Path

import pytest

from schemas.catalog.errors import SenderError, UnreadableRecord
from schemas.events.event import Event
from schemas.senders.event_codec import EventDecoder, encode_event
from schemas.senders.sender import Sender, load_sender, load_senders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of a sender's folder under another name."""
    with resources.as_file(resources.files("schemas") / "senders" / "zenoo") as original:
        return Path(shutil.copytree(original, tmp_path / "other"))


def edit(file: Path, old: str, new: str) -> int:
    """Replace the first `old` and return the number of its line."""
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    return text.count("\n", 0, text.index(old)) + 1


def problem(folder: Path) -> str:
    with pytest.raises(SenderError) as error:
        load_sender(folder)
    return str(error.value).replace(str(folder), "other")


def test_folder_is_loaded_by_its_name(folder: Path):
    """A custom folder is a sender like the built-in ones."""
    sender = load_sender(folder)
    assert sender.name == "other"
    assert list(sender.event_types) == list(load_senders()["zenoo"].event_types)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[kafka]", "[kafka", "not TOML"),
        ('timeout = "30s" ', "timeout = 30 ", "delivery.timeout: expected a duration in quotes"),
        ('"5m"', '"5 minutes"', "delivery.schedule.1: '5 minutes' is not a duration"),
        ('"5m"', '"500ms"', "delivery.schedule.1: expected one second or more"),
        ("timeout =", "time_out =", "delivery.time_out: unknown key"),
        ("[headers]", "[header]", "header: unknown key"),
        ("Signpost/{version}", "Signpost/{versoin}", "headers.User-Agent: unknown placeholder {versoin}"),
        ("Signpost/{version}", "Signpost\\r\\nX: y", "headers.User-Agent: a header value is printable ASCII"),
        ('scheme = "hmac_sha256_hex"', 'scheme = "md5"', "signature.scheme"),
        ('data = "data"', 'data = "date"', "body.envelope.data"),
        ('time_format = "seconds"', 'time_format = "weeks"', "body.time_format"),
        ('"alert_token"]', '"alert_tokn"]', "kafka.key: no event type has a field 'alert_tokn' in data"),
        ('"case.created" =', '"all" =', "event_types.all: an event type has only letters"),
        ("required =", 'required = "yes" #', "signature.required: expected true or false (found 'yes')"),
        (
            "timeout =",
            'trace_context = "yes"\ntimeout =',
            "delivery.trace_context: expected true or false (found 'yes')",
        ),
        ("max_bytes = 262144", 'max_bytes = "262144"', "body.max_bytes: expected a whole number (found '262144')"),
    ],
)
def test_invalid_sender_toml_names_line_and_key(folder: Path, old, new, expected):
    """Each error names the file, the line and the key."""
    line = edit(folder / "sender.toml", old, new)
    assert f"other/sender.toml:{line}: {expected}" in problem(folder)


def test_all_problems_of_sender_toml_are_reported(folder: Path):
    """Two mistakes give two lines."""
    edit(folder / "sender.toml", 'title = "Zenoo CLM"', "")
    edit(folder / "sender.toml", "max_bytes = 262144", "max_bytes = 0")
    assert [text.split(": ")[1] for text in problem(folder).splitlines()] == ["title", "body.max_bytes"]


def test_misspelt_key_hides_no_error_of_its_value(folder: Path):
    """The value of a misspelt key is checked as that of the suggested key, which is not reported as missing."""
    line = edit(folder / "sender.toml", "timeout =", "time_out = 5 #")
    assert problem(folder).splitlines() == [
        f"other/sender.toml:{line}: delivery.time_out: unknown key; did you mean timeout?",
        f'other/sender.toml:{line}: delivery.time_out: expected a duration in quotes, such as "30s" (found 5)',
    ]


@pytest.mark.parametrize(
    ("old", "new", "line", "expected"),
    [
        ('"name": "CaseClosed",', '"name": "CaseClosed"', 4, "not JSON"),
        ('"event_id"', '"id"', 7, "id: the fields of the record are event_id, event_type"),
        ('"customer_id", "type": "string"', '"customer_id", "type": "int"', 10, 'customer_id: expected type "string"'),
        ('"type": "long", "logicalType": "timestamp-micros"', '"type": "long"', 9, "created_at: expected type"),
        (
            '"name": "id", "type": ["null", "string"]',
            '"name": "id", "type": ["null", "bytes"]',
            17,
            "data.closed_by.id",
        ),
        (
            '"name": "risk_score", "type": ["null", "long"]',
            '"name": "risk_score", "type": ["null", {"type": "int", "logicalType": "date"}]',
            14,
            "data.risk_score: int with logicalType date has no JSON form",
        ),
    ],
)
def test_invalid_schema_names_line_and_field(folder: Path, old, new, line, expected):
    """Each error names the .avsc, the line and the path of the field."""
    edit(folder / "events" / "case.closed.avsc", old, new)
    assert f"other/events/case.closed.avsc:{line}: {expected}" in problem(folder)


def test_unknown_avro_type_is_an_error_of_its_file(folder: Path):
    """An undefined type is found when the folder is loaded."""
    edit(folder / "events" / "case.closed.avsc", '["null", "long"]', '["null", "Score"]')
    assert problem(folder).startswith("other/events/case.closed.avsc:14: not an Avro schema: UnknownType")


def test_missing_extra_and_duplicate_schemas_are_errors(folder: Path):
    """Each event type has one .avsc, each .avsc one event type, and no two records have the same name."""
    events = folder / "events"
    shutil.copy(events / "case.closed.avsc", events / "case.reopened.avsc")
    assert (
        problem(folder)
        == "other/events/case.reopened.avsc: event type 'case.reopened' is not under [event_types] of sender.toml"
    )
    edit(folder / "sender.toml", '"case.closed" =', '"case.reopened" = { trigger = "again" }\n"case.closed" =')
    assert "case.reopened.avsc also has a record CaseClosed" in problem(folder)
    (events / "case.reopened.avsc").unlink()
    assert problem(folder) == (
        "other/sender.toml:8: event_types.case.reopened: the record is missing: "
        "other/events/case.reopened.avsc does not exist"
    )


@pytest.fixture
def measuring(folder: Path) -> Sender:
    """Return a sender whose event has floating-point numbers, single and in lists of maps."""
    file = folder / "events" / "case.closed.avsc"
    schema = json.loads(file.read_text(encoding="utf-8"))
    fields = schema["fields"][-1]["type"]["fields"]
    fields.append({"name": "ratio", "type": "double"})
    fields.append(
        {"name": "more", "type": {"type": "array", "items": {"type": "map", "values": "float"}}, "default": []}
    )
    file.write_text(json.dumps(schema), encoding="utf-8")
    return load_sender(folder)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_number_without_json_form_is_unreadable(measuring: Sender, number: float):
    """NaN and infinity, which JSON libraries write as null, are invalid_value at any depth."""
    decoder = EventDecoder(measuring)
    for numbers in ({"ratio": number}, {"ratio": 1.5, "more": [{}, {"a": 0.5, "b": number}]}):
        value = encode_event(measuring, Event("e", "case.closed", 0, "acme", {"case_token": "c"} | numbers))
        with pytest.raises(UnreadableRecord) as error:
            decoder.decode(value, lambda: "")
        assert error.value.reason == "invalid_value"


def test_finite_numbers_are_sent(measuring: Sender):
    """Finite numbers are rendered unchanged."""
    data = {"case_token": "c", "ratio": 0.1, "more": [{"a": 0.5}]}
    value = encode_event(measuring, Event("e", "case.closed", 0, "acme", data))
    body = json.loads(measuring.render(EventDecoder(measuring).decode(value, lambda: "")))
    assert body["data"]["ratio"] == 0.1
    assert body["data"]["more"] == [{"a": 0.5}]


def test_event_without_key_fields_is_keyed_by_its_id():
    """If no key field of the sender has a value, the event id is the key."""
    event = Event("evt_1", "case.created", 0, "acme", {"case_token": "", "alert_token": None})
    assert load_senders()["zenoo"].key_of(event) == "evt_1"
