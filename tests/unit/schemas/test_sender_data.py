"""sender.toml: headers, event types with a shared record, any event type, and errors."""

from __future__ import annotations

import copy
import json
import shutil
import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest

from schemas.catalog.errors import SenderError, SubscriptionError, UnreadableRecord
from schemas.events.event import Event
from schemas.network.egress import EgressPolicy
from schemas.senders.event_codec import EventDecoder, encode_event
from schemas.senders.sender import load_sender, load_senders
from schemas.subscriptions.rules import Bounds, Draft, Generate, Given, check
from tests.support.attempts import Attempted

STANDARD, DILIGENT, RISKOS = (load_senders()[name] for name in ("standard", "diligent", "riskos"))
BOUNDS = Bounds(timedelta(seconds=30), datetime(2026, 1, 1, tzinfo=UTC))
DRAFT = Draft(
    id="a", sender="standard", customer_id="acme", url="https://x.example/", event_types=("*",), secret=Generate()
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of diligent's folder, which uses most features."""
    with resources.as_file(resources.files("schemas") / "senders" / "diligent") as original:
        return Path(shutil.copytree(original, tmp_path / "other"))


def edit(folder: Path, old: str, new: str) -> int:
    """Replace the first `old` in sender.toml and return the number of its line."""
    file = folder / "sender.toml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    return text.count("\n", 0, text.index(old)) + 1


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (', target_type = "FLOW_RUN" }', " }", "event_types.flow_run_completed: the key target_type is missing; the"),
        ('key = ["alert_id"]', 'kye = "alert_id"', "event_types.monitoring_alert_fired: unknown key kye: no"),
        ('target_type = "CDD"', "target_type = 7", "event_types.cdd_state_changed.target_type: expected text in"),
        ('"{EVENT_TYPE}"', '"{EVENT}"', "headers.X-Event-Name: unknown placeholder {EVENT}; known: {ver"),
        ('form = "payload"', 'form = "envelope"', "body: an envelope needs time_format and [body.envelope]"),
        ('form = "payload"', 'form = "payload"\ntime_format = "seconds"', 'body: form = "payload" sends the payload'),
        ("[event_types]", 'api = "native"\n[event_types]', "api: unknown key; no REST API exists that this key could"),
        (
            "[event_types]",
            "evaluate_filters = true\n[event_types]",
            "evaluate_filters: unknown key; filters of subscriptions are not evaluated: remove it",
        ),
        ('["flow_run_failed"]', '["flow_run_fialed"]', "conditions.1.event_types: there is no event type 'flow_"),
        ('one_of = ["FAILED"]', 'one_off = ["FAILED"]', "conditions.1.one_off: unknown key"),
        ('field = "status"', 'field = "status..x"', "conditions.0.field: String should match pattern"),
        ('longest_secret = 512', "longest_secret = 0", "signature.longest_secret: Input should be greater than"),
        ("subscriptions = 10", "subscriptions = -1", "limits.subscriptions: Input should be greater than"),
        ('"any_number"', '"one"', "subscriptions.event_types: Input should be 'at_least_one', 'any_number' or 'exac"),
        ('"any_number"', '"any_number"\nfilters = 1', "subscriptions.filters: expected true or false (found 1)"),
        ('record = "event"', 'record = "../event"', "event_types.cdd_state_changed.record: the name of a schema"),
    ],
)  # fmt: skip
def test_invalid_sender_toml_names_line_and_key(folder: Path, old: str, new: str, expected: str) -> None:
    """Each error names the file, the line and the key; in an array of tables, also the element."""
    line = edit(folder, old, new)
    with pytest.raises(SenderError) as error:
        load_sender(folder)
    messages = [part.partition("sender.toml:")[2] for part in str(error.value).splitlines()]
    assert any(one.partition(": ")[2].startswith(expected) for one in messages), messages
    numbers = [int(one.partition(":")[0]) for one in messages]
    assert any(abs(number - line) <= 2 for number in numbers), (numbers, line)


def test_header_template_mixes_text_and_placeholders(folder: Path) -> None:
    """Text around placeholders is sent unchanged; a removed event type has no header from its constant."""
    edit(folder, '"{target_type}"', '"a {target_type} of {customer_id}!"')
    sender = load_sender(folder)
    job = Attempted(event_type="search_completed")
    assert b"X-Target-type: a NAME_SCREENING_SEARCH of acme!" in sender.headers(job, b"", [], 0)
    gone = sender.headers(job._replace(event_type="search_gone"), b"", [], 0)
    assert not any(line.startswith(b"X-Target-type") for line in gone)
    assert b"X-Event-Name: SEARCH_GONE" in gone


@pytest.mark.parametrize("event_type", ["invoice.paid", "X", "a-b_c.1", "x" * 256])
def test_standard_accepts_any_event_type(event_type: str) -> None:
    """A name of letters, digits, '.', '_' and '-' is an event type, on the topic and in the body."""
    event = Event("evt_1", event_type, 0, "acme", {"n": 1})
    decoded = EventDecoder(STANDARD).decode(encode_event(STANDARD, event), str)
    assert decoded.event_type == event_type
    assert json.loads(STANDARD.render(decoded)) == {
        "type": event_type, "timestamp": "1970-01-01T00:00:00.000000Z", "data": {"n": 1}
    }  # fmt: skip


@pytest.mark.parametrize("event_type", ["", "all", "*", "a b", "é", "x" * 257, "a\r\nb", ".a"])
def test_invalid_event_type_is_unreadable(event_type: str) -> None:
    """A type that cannot be a label, header or pattern makes the record unreadable: unknown_event_type."""
    good = encode_event(STANDARD, Event("evt_1", "TYPE", 0, "acme", {}))
    encoded, size = event_type.encode(), BytesIO()
    fastavro.schemaless_writer(size, "bytes", encoded)
    value = good.replace(b"\x08TYPE", size.getvalue())
    with pytest.raises(UnreadableRecord) as error:
        EventDecoder(STANDARD).decode(value, str)
    assert error.value.reason == "unknown_event_type"


def problems(**fields: Any) -> tuple[str, ...]:
    try:
        check([replace(DRAFT, **fields)], load_senders(), EgressPolicy(), BOUNDS)
    except SubscriptionError as error:
        return error.problems
    return ()


@pytest.mark.parametrize(
    ("sender", "pattern", "known"),
    [
        ("standard", "invoice.paid", True),
        ("standard", "invoice.*", True),
        ("standard", "all", True),
        ("standard", "inv*", False),
        ("standard", "a b", False),
        ("onboarding", "all", True),
        ("onboarding", "test", True),
        ("onboarding", "screening.*", False),
        ("onboarding", "*", False),
        ("onboarding", "screening", False),
        ("diligent", "flow_run_failed", True),
        ("diligent", "FLOW_RUN_FAILED", False),
        ("zenoo", "test", False),
    ],
)
@pytest.mark.decision("Z1", "O14", "O16")
def test_subscription_may_name_types_groups_and_all(sender: str, pattern: str, known: bool) -> None:
    """A pattern is a type, a group of types or all types of a sender; standard accepts any type."""
    assert (problems(sender=sender, event_types=(pattern,)) == ()) == known


def test_folder_says_what_its_subscriptions_may_say(folder: Path) -> None:
    """A folder without the table needs event types and has no filters; one with it has what the table says."""
    edit(folder, '[subscriptions]\nevent_types = "any_number"', "[subscriptions]")
    plain = load_sender(folder)
    assert (plain.type_count, plain.default_types, plain.has_filters) == ("at_least_one", ("*",), False)
    edit(folder, "[subscriptions]", '[subscriptions]\nevent_types = "exactly_one"\nfilters = true')
    single = load_sender(folder)
    assert (single.type_count, single.default_types, single.has_filters) == ("exactly_one", ("all",), True)
    assert DILIGENT.default_types == ()


def test_secret_must_fit_its_sender() -> None:
    """Subscriptions of standard accept only whsec_ and whsk_ secrets, those of diligent up to 512 characters."""
    assert problems(secret=Given(STANDARD.generate_secret())) == ()
    assert "whsec_" in problems(secret=Given("plain text"))[0]
    assert problems(sender="diligent", event_types=("*",), secret=Given("plain text")) == ()
    assert "at most 512" in problems(sender="diligent", event_types=("*",), secret=Given("x" * 513))[0]


class Schemas:
    """A schema registry in memory."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema

    def get(self, schema_id: int) -> Any:
        return self._schema


def rendered_confluent(sender: Any, schema: Any, record: dict[str, Any]) -> bytes:
    """Return the body of a record in Confluent's wire format."""
    stream = BytesIO()
    fastavro.schemaless_writer(stream, schema, record)
    decoder = EventDecoder(sender, Schemas(schema))
    rendered: bytes = sender.render(decoder.decode(struct.pack(">bI", 0, 1) + stream.getvalue(), str))
    return rendered


def test_writer_may_have_a_record_in_place_of_json_text() -> None:
    """With a registry, a team's own record is the payload, for types with a shared record and for any type."""
    fields = [
        {"name": "id", "type": "string"},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "sum", "type": ["null", "double"]},
    ]
    data = {"id": "ü", "tags": ["a"], "sum": None}
    for sender, event_type in ((DILIGENT, "flow_run_failed"), (STANDARD, "invoice.paid")):
        schema = copy.deepcopy(sender.all_types[0].schema)
        schema["name"] = "TeamsOwn"
        schema["fields"][-1]["type"] = {"type": "record", "name": "Data", "fields": fields}
        record = {"event_id": "e", "event_type": event_type, "created_at": 0, "customer_id": "c", "data": data}
        assert b'{"id":"\xc3\xbc","tags":["a"],"sum":null}' in rendered_confluent(sender, schema, record)


def test_fields_of_a_newer_writer_come_last() -> None:
    """Unknown fields of a newer writer follow the known fields and the additional keys."""
    event_type = RISKOS.all_types[0]
    schema = copy.deepcopy(event_type.schema)
    schema["fields"][-1]["type"]["fields"].append({"name": "newer", "type": "long"})
    data = {
        "workflow": "w", "eval_id": "e", "reviewer_id": "r", "environment_name": "Sandbox", "newer": 7,
        "globalWatchlist": {"caseReviewStatus": "match"}, "more": {"other": "[1.50]"},
    }  # fmt: skip
    record = {"event_id": "e", "event_type": event_type.name, "created_at": 0, "customer_id": "c", "data": data}
    body = rendered_confluent(RISKOS, schema, record)
    assert body.endswith(b'"globalWatchlist":{"caseReviewStatus":"match"},"other":[1.50],"newer":7}}')
