"""What a sender.toml can say: headers of an attempt, types that share a record, any type; and its errors."""

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
    """A copy of diligent's folder, which uses most of what there is."""
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
        ('api = "diligent"', 'api = "rest"', "api: Input should be 'native', 'onboarding' or 'diligent'"),
        ('["flow_run_failed"]', '["flow_run_fialed"]', "conditions.1.event_types: there is no event type 'flow_"),
        ('one_of = ["FAILED"]', 'one_off = ["FAILED"]', "conditions.1.one_off: unknown key"),
        ('field = "status"', 'field = "status..x"', "conditions.0.field: String should match pattern"),
        ('longest_secret = 512', "longest_secret = 0", "signature.longest_secret: Input should be greater than"),
        ("subscriptions = 10", "subscriptions = -1", "limits.subscriptions: Input should be greater than"),
        ('record = "event"', 'record = "../event"', "event_types.cdd_state_changed.record: the name of a schema"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_line_and_key(folder: Path, old: str, new: str, expected: str) -> None:
    """Each error names the file, the line and the key, in arrays of tables the element."""
    line = edit(folder, old, new)
    with pytest.raises(SenderError) as error:
        load_sender(folder)
    said = [part.partition("sender.toml:")[2] for part in str(error.value).splitlines()]
    assert any(one.partition(": ")[2].startswith(expected) for one in said), said
    numbers = [int(one.partition(":")[0]) for one in said]
    assert any(abs(number - line) <= 2 for number in numbers), (numbers, line)


def test_a_template_may_have_text_and_several_placeholders(folder: Path) -> None:
    """Everything around placeholders is sent as it stands; a type that is no longer known lacks its constant's line."""
    edit(folder, '"{target_type}"', '"a {target_type} of {customer_id}!"')
    sender = load_sender(folder)
    job = Attempted(event_type="search_completed")
    assert b"X-Target-type: a NAME_SCREENING_SEARCH of acme!" in sender.headers(job, b"", [], 0)
    gone = sender.headers(job._replace(event_type="search_gone"), b"", [], 0)
    assert not any(line.startswith(b"X-Target-type") for line in gone)
    assert b"X-Event-Name: SEARCH_GONE" in gone


@pytest.mark.parametrize("event_type", ["invoice.paid", "X", "a-b_c.1", "x" * 256])
def test_standard_takes_any_type(event_type: str) -> None:
    """A name of letters, digits, '.', '_' and '-' is a type, on the topic and in the body."""
    event = Event("evt_1", event_type, 0, "acme", {"n": 1})
    decoded = EventDecoder(STANDARD).decode(encode_event(STANDARD, event), str)
    assert decoded.event_type == event_type
    assert json.loads(STANDARD.render(decoded)) == {
        "type": event_type, "timestamp": "1970-01-01T00:00:00.000000Z", "data": {"n": 1}
    }  # fmt: skip


@pytest.mark.parametrize("event_type", ["", "all", "*", "a b", "é", "x" * 257, "a\r\nb", ".a"])
def test_what_is_no_name_of_a_type_is_unreadable(event_type: str) -> None:
    """A record whose type could be no label, header or pattern ends as unknown_event_type."""
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
        ("onboarding", "screening.*", True),
        ("onboarding", "screening", False),
        ("diligent", "flow_run_failed", True),
        ("diligent", "FLOW_RUN_FAILED", False),
        ("zenoo", "test", False),
    ],
)
@pytest.mark.decision("Z1", "O14", "O16")
def test_what_subscriptions_may_name(sender: str, pattern: str, known: bool) -> None:
    """A type, a group of types or all of a sender; any of standard."""
    assert (problems(sender=sender, event_types=(pattern,)) == ()) == known


def test_a_secret_is_one_that_its_sender_can_sign_with() -> None:
    """A subscription of standard takes whsec_ and whsk_ alone, one of diligent up to 512 characters."""
    assert problems(secret=Given(STANDARD.generate_secret())) == ()
    assert "whsec_" in problems(secret=Given("plain text"))[0]
    assert problems(sender="diligent", event_types=("*",), secret=Given("plain text")) == ()
    assert "at most 512" in problems(sender="diligent", event_types=("*",), secret=Given("x" * 513))[0]


class Schemas:
    """A registry in memory."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema

    def get(self, schema_id: int) -> Any:
        return self._schema


def rendered_confluent(sender: Any, schema: Any, record: dict[str, Any]) -> bytes:
    """Return the body of a record in the wire format of a registry."""
    stream = BytesIO()
    fastavro.schemaless_writer(stream, schema, record)
    decoder = EventDecoder(sender, Schemas(schema))
    rendered: bytes = sender.render(decoder.decode(struct.pack(">bI", 0, 1) + stream.getvalue(), str))
    return rendered


def test_a_writer_may_have_fields_where_the_sender_has_their_text() -> None:
    """With a registry a team's own record is the payload, for a type that shares a record and for any type."""
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


def test_a_newer_writer_s_fields_follow_the_known_ones_and_the_further_keys() -> None:
    """A field that the folder does not know yet is sent, in records that have further keys as text as well."""
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
