"""Events in JSON: defaults and error messages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from producers.events.json_reader import EventReader
from schemas.catalog.errors import EventError
from schemas.senders.sender import load_senders

ZENOO = load_senders()["zenoo"]
NOW_US = 1_771_236_060_123_456
A_TIME = "created_at: expected a time such as 2026-02-16T10:01:00Z"
RISKOS_TYPE = "case_management_notification_case_closure"
A_CUSTOMER = "customer_id: expected a string"
HALF = "it contains half of a surrogate pair"
CLOSED = {"event_id": "evt_3", "event_type": "case.closed", "customer_id": "acme", "data": {"case_token": "cas_1"}}


@pytest.fixture
def reader() -> EventReader:
    """Return a reader with a fixed time, a fixed id and no customer."""
    return EventReader(ZENOO, lambda: NOW_US, lambda: "evt_made")


def problems(reader: EventReader, text: str) -> list[str]:
    with pytest.raises(EventError) as error:
        reader.read(text, "f.json")
    return str(error.value).splitlines()


def with_data(**data: Any) -> str:
    return json.dumps(CLOSED | {"data": CLOSED["data"] | data})


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (json.dumps(CLOSED), 1),
        (json.dumps(CLOSED, indent=2), 1),
        (json.dumps([CLOSED, CLOSED]), 2),
        (json.dumps(CLOSED) + "\n\n" + json.dumps(CLOSED) + "\r\n", 2),
        ("[]", 0),
    ],
)
def test_object_array_and_json_lines_are_read(reader, text, count):
    """Each of the three forms of a file gives its events."""
    assert [event.event_id for event in reader.read(text, "f.json")] == ["evt_3"] * count


@pytest.mark.decision("Z17")
def test_missing_id_and_time_are_filled_in(reader):
    """A missing or null id is generated, and a missing or null time is the current time."""
    for missing in ({}, {"event_id": None, "created_at": None}):
        document = {k: v for k, v in CLOSED.items() if k != "event_id"} | missing
        (event,) = reader.read(json.dumps(document), "f.json")
        assert (event.event_id, event.created_at_us) == ("evt_made", NOW_US)


def test_given_customer_is_a_default():
    """The customer of the command applies only to events without a customer."""
    reader = EventReader(ZENOO, lambda: NOW_US, lambda: "evt_made", "globex")
    without = {k: v for k, v in CLOSED.items() if k != "customer_id"}
    assert [e.customer_id for e in reader.read(json.dumps([CLOSED, without]), "f")] == ["acme", "globex"]


@pytest.mark.parametrize(
    ("text", "created_at_us"),
    [
        ("2026-02-16T10:01:00Z", 1_771_236_060_000_000),
        ("2026-02-16T11:01:00.5+01:00", 1_771_236_060_500_000),
        ("2026-02-16T10:01:00.1234569Z", 1_771_236_060_123_456),
    ],
)
def test_times_are_iso_8601_with_an_offset(reader, text, created_at_us):
    """Any offset is accepted; digits beyond microseconds are cut."""
    (event,) = reader.read(json.dumps(CLOSED | {"created_at": text}), "f.json")
    assert event.created_at_us == created_at_us


@pytest.mark.decision("Z18")
@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"risk_scor": 3}, "data.risk_scor: the schema has no such field; did you mean risk_score?"),
        ({"closed_by": {"nam": "x"}}, "data.closed_by.nam: the schema has no such field; did you mean name?"),
        ({"risk_score": "45"}, 'data.risk_score: expected an integer of 64 bits or null, found "45"'),
        ({"risk_score": True}, "data.risk_score: expected an integer of 64 bits or null, found true"),
        ({"risk_score": 4.0}, "data.risk_score: expected an integer of 64 bits or null, found 4.0"),
        ({"risk_score": 2**63}, f"data.risk_score: expected an integer of 64 bits or null, found {2**63}"),
        ({"risk_score": float("nan")}, "data.risk_score: expected an integer of 64 bits or null, found NaN"),
        ({"case_token": None}, "data.case_token: expected a string, found null"),
        ({"risk_tier": "\ud800"}, f"data.risk_tier: {HALF} (\\ud800): write both halves, or leave it out"),
        ({"closed_by": "x"}, 'data.closed_by: expected an object or null, found "x"'),
        ({"closed_by": {"id": 7}}, "data.closed_by.id: expected a string or null, found 7"),
    ],
)
def test_invalid_data_names_event_path_and_value(reader, data, sentence):
    """The error has the file, the number and id of the event, the path, the expected type and the value."""
    assert problems(reader, with_data(**data)) == [f"f.json: event 1 (evt_3): {sentence}"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"data": {}}, "data.case_token: expected a string, found nothing"),
        ({"data": [1]}, "data: expected an object, found [1]"),
        ({"event_type": "case.close"}, 'event_type: zenoo has no type "case.close"; did you mean case.closed?'),
        ({"event_type": 1}, "event_type: expected a string, found 1"),
        ({"customer_id": ""}, f'{A_CUSTOMER} of one character or more, found ""'),
        ({"customer_id": None}, f"{A_CUSTOMER}, found nothing; write it into the event or give --customer"),
        ({"created_at": "2026-02-16T10:01:00"}, f'{A_TIME}, found "2026-02-16T10:01:00"'),
        ({"created_at": 1771236060}, f"{A_TIME}, found 1771236060"),
        ({"creatd_at": "x"}, "creatd_at: an event has no such field; did you mean created_at?"),
    ],
)
def test_invalid_envelope_names_event_path_and_value(reader, change, sentence):
    """The envelope is validated like the data."""
    assert problems(reader, json.dumps(CLOSED | change)) == [f"f.json: event 1 (evt_3): {sentence}"]


def test_all_problems_of_a_file_are_reported(reader):
    """Each problem of each event has its line, up to twenty; the rest is a count."""
    bad = CLOSED | {"data": {"case_token": 1, "risk_score": "x"}}
    assert len(problems(reader, json.dumps([CLOSED, bad, bad]))) == 4
    many = problems(reader, json.dumps([bad] * 30))
    assert len(many) == 21
    assert many[-1] == "f.json: and 40 more"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "f.json: the file is empty"),
        ("{", "f.json: not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ('{"a": 1}\n{"b"', "f.json: line 2: not JSON: Expecting ':' delimiter: line 1 column 5 (char 4)"),
        ('{"a": 1, "a": 2}', 'f.json: not JSON: the key "a" occurs twice'),
        ("[" * 100_000, "f.json: not JSON: Expecting value: line 1 column 100001 (char 100000)"),
        ("[" * 4_000 + "1 2", "f.json: not JSON: Expecting ',' delimiter: line 1 column 4003 (char 4002)"),
        ("7", "f.json: event 1: expected an object, found 7"),
    ],
)
def test_invalid_json_names_its_position(reader, text, sentence):
    """A file that is not JSON gives one error."""
    assert problems(reader, text) == [sentence]


CLOSURE = {"event_id": "e", "event_at": "2026-02-16T10:01:00Z", "event_type": RISKOS_TYPE, "data": {}}
CREATED = {"event_type": "alert.created", "customer_id": "acme", "data": {"anything": 1}}
FIRED = {"headers": {"X-Event-Name": "MONITORING_ALERT_FIRED"}, "payload": {"id": 1}}


@pytest.mark.parametrize(
    ("sender", "document", "right"),
    [
        ("zenoo", CLOSURE, "riskos"),
        ("zenoo", {"event_type": RISKOS_TYPE}, "riskos"),
        ("zenoo", FIRED, "diligent"),
        ("riskos", {**CREATED, "event_type": "case.closed"}, "zenoo"),
        ("riskos", {**CREATED, "event_type": "case.opened"}, "onboarding"),
        ("diligent", {**CREATED, "event_type": "sla.breached"}, "zenoo"),
        ("onboarding", CLOSURE, "riskos"),
    ],
)
def test_wrong_sender_is_the_only_problem(sender: str, document: dict[str, Any], right: str) -> None:
    """An event of another sender gets one sentence with the option to give, not the errors of its form."""
    senders = load_senders()
    reader = EventReader(senders[sender], lambda: NOW_US, lambda: "evt_made", others=senders)
    (problem,) = problems(reader, json.dumps(document))
    assert problem.endswith(f"{sender} is the wrong sender: this is an event of {right}; give --sender {right}")


@pytest.mark.parametrize(
    "document",
    [
        CREATED,
        {"event_type": "case.craeted"},
        {"event_type": "nobodys"},
        {"event_type": ["x"]},
        {},
        5,
        CLOSED | {"x": 1},
    ],
)
def test_event_of_no_other_sender_keeps_its_problems(document: Any) -> None:
    """A misspelt type, an unknown type and an error of form are reported as without other senders."""
    alone = EventReader(ZENOO, lambda: NOW_US, lambda: "evt_made")
    among = EventReader(ZENOO, lambda: NOW_US, lambda: "evt_made", others=load_senders())
    text = json.dumps(document)
    assert problems(among, text) == problems(alone, text)
