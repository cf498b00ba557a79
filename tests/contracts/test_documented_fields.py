"""Documents for receivers and simulated events have every field, header and type that the contracts document."""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import islice
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from deploy.demo.simulator import Simulator
from deploy.reference.examples import examples_of
from deploy.reference.folder import documents_of
from schemas.events.event import Event
from schemas.senders.json_schema import schema_problems
from schemas.senders.payload_schemas import payload_schemas
from tests.contracts.fields import (
    Field,
    missing_in,
    payload_fields,
    riskos_fields,
    schema_at,
    section_of,
    seen_in,
    table,
    text_of,
    types_of,
)
from tests.contracts.senders import DATA, SENDERS, Example, examples

NOW_US = 1_771_236_060_123_456
SECTIONS = [
    (sender, types, found) for sender in ("zenoo", "diligent") for types, found in payload_fields(sender).items()
]
DOCUMENTED = [
    *((sender, event_type, found) for sender, types, found in SECTIONS for event_type in types),
    ("riskos", "case_management_notification_case_closure", riskos_fields()),
]
UNDOCUMENTED = [
    *(("diligent", name) for name in ("cdd_state_changed", "cdd_document_fetched")),
    *(("onboarding", name) for name in SENDERS["onboarding"].event_types),
    ("standard", "*"),
]
MADE_UP = "Examples of it are made up"


@cache
def files_of(name: str) -> dict[str, str]:
    return dict(documents_of(SENDERS[name], f"signpost.{name}.events", "1"))


def schema_of(name: str, event_type: str) -> Any:
    file = "any" if event_type == "*" else event_type
    return json.loads(files_of(name)[f"schemas/{file}.schema.json"])


def in_body(sender: str, fields: list[Field]) -> list[Field]:
    """Return the fields with their paths in the body. The tables of zenoo start in `data`."""
    if sender != "zenoo":
        return fields
    return [Field(("data", *field.path), field.types, field.optional) for field in fields]


@cache
def simulation(sender: str) -> list[Event]:
    """Return simulated events of a sender."""
    return list(islice(Simulator(7, ("acme",), lambda: NOW_US, SENDERS[sender]).events(), 4_000))


def simulated(sender: str, event_type: str) -> list[Any]:
    """Return the data of simulated events of a type."""
    return [event.data for event in simulation(sender) if event.event_type == event_type]


def test_tables_of_the_contracts_are_read() -> None:
    """Each documented type has a table, and no row is lost: the numbers are those of the contracts."""
    assert {name for sender, name, _ in DOCUMENTED if sender == "zenoo"} == set(SENDERS["zenoo"].event_types)
    assert {name for sender, name, _ in DOCUMENTED if sender == "diligent"} == {
        name for name in SENDERS["diligent"].event_types if not name.startswith("cdd_")
    }
    assert {
        sender: sum(len(found) for one, _, found in SECTIONS if one == sender) for sender in ("zenoo", "diligent")
    } == {
        "zenoo": 109,
        "diligent": 91,
    }
    assert len(riskos_fields()) == 16


@pytest.mark.decision("D30")
@pytest.mark.parametrize(
    ("sender", "event_type", "fields"), DOCUMENTED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_json_schema_has_every_documented_field(sender: str, event_type: str, fields: list[Field]) -> None:
    """Each field has its place, its type and, if the contract gives one, its meaning. All objects are open."""
    schema = schema_of(sender, event_type)
    Draft202012Validator.check_schema(schema)
    for field in in_body(sender, fields):
        found = schema_at(schema, schema, field.path)
        assert found is not None, field
        types = types_of(found, schema)
        # Zenoo's fields may be null (Z18).
        assert types - ({"null"} if sender == "zenoo" else set()) == field.types, field
        holder = schema_at(schema, schema, field.path[:-1])
        assert holder is not None
        assert holder.get("additionalProperties", True) is not False
        if sender == "diligent":
            assert field.path[-1] not in holder.get("required", ()), field
        if sender == "riskos":
            assert (field.path[-1] in holder["required"]) is field.required, field
            assert not (field.meaning and field.path[1:]) or found.get("description"), field


@pytest.mark.parametrize("example", examples(), ids=str)
def test_documents_show_the_examples_of_the_contracts(example: Example) -> None:
    """Guide, JSON Schema and AsyncAPI have each example of a contract. The request has the same bytes."""
    files = files_of(example.sender)
    requests = examples_of(SENDERS[example.sender])[example.event_type]
    assert example.body in [request.body for request in requests]
    value = json.loads(example.body)
    assert json.dumps(value, indent=2, ensure_ascii=False) in files["guide.md"]
    assert value in json.loads(files[f"schemas/{example.event_type}.schema.json"])["examples"]
    document = yaml.safe_load(files["asyncapi.yaml"])
    shown = document["components"]["messages"][f"webhook.{example.event_type}"]["examples"]
    assert value in [one["payload"] for one in shown]


@pytest.mark.parametrize("sender", SENDERS)
def test_folder_has_the_example_files_of_the_contract(sender: str) -> None:
    """The files in a sender's folder are those of the contract, byte for byte, and there are no others."""
    given = {file.name: file.read_bytes() for file in (DATA / "examples" / sender).glob("*.json")}
    folder = SENDERS[sender].folder / "examples"
    assert ({file.name: file.read_bytes() for file in folder.iterdir()} if folder.is_dir() else {}) == given


@pytest.mark.parametrize(
    ("sender", "types", "fields"), SECTIONS, ids=lambda value: value[0] if isinstance(value, tuple) else ""
)
def test_simulated_events_have_every_documented_field(sender: str, types: tuple[str, ...], fields: list[Field]) -> None:
    """Every object of every simulated event has all its documented fields, and each optional field occurs."""
    values = [data for event_type in types for data in simulated(sender, event_type)]
    assert values
    assert {name for data in values for name in missing_in(data, fields)} == set()
    assert {str(field) for field in fields} - {name for data in values for name in seen_in(data, fields)} == set()


def test_simulated_events_of_riskos_have_every_documented_field() -> None:
    """The data have all documented fields; `caseDetails` only if something matched."""
    (event_type,) = SENDERS["riskos"].event_types
    fields = [
        Field(field.path[1:], field.types, field.optional) for field in riskos_fields() if field.path[0] == "data"
    ][1:]
    values = simulated("riskos", event_type)
    assert {name for data in values for name in missing_in(data, fields)} == set()
    assert {str(field) for field in fields} - {name for data in values for name in seen_in(data, fields)} == set()


@pytest.mark.decision("O12", "D30")
@pytest.mark.parametrize(("sender", "event_type"), UNDOCUMENTED)
def test_made_up_payloads_are_marked_everywhere(sender: str, event_type: str) -> None:
    """A payload that no contract documents has no properties, and is marked in schema, guide and AsyncAPI."""
    files = files_of(sender)
    schema = schema_of(sender, event_type)
    payload = schema if sender == "diligent" else schema["properties"]["data"]
    assert MADE_UP in payload["description"]
    assert "properties" not in payload
    name = "any" if event_type == "*" else event_type
    message = yaml.safe_load(files["asyncapi.yaml"])["components"]["messages"][f"webhook.{name}"]
    assert all(MADE_UP in example["summary"] for example in message["examples"])
    (request,) = examples_of(SENDERS[sender])[event_type]
    heading = request.event_type.replace("_", "\\_")
    shown = files["guide.md"].partition(f"\n### {heading}\n")[2].partition("\n### ")[0]
    assert MADE_UP in shown.partition("```")[0]


@pytest.mark.parametrize(("sender", "event_type"), [(sender, event_type) for sender, event_type, _ in DOCUMENTED])
def test_documented_payloads_are_not_marked(sender: str, event_type: str) -> None:
    """Nothing says that the example of a contract is made up."""
    files = files_of(sender)
    assert "made up" not in files[f"schemas/{event_type}.schema.json"]
    message = yaml.safe_load(files["asyncapi.yaml"])["components"]["messages"][f"webhook.{event_type}"]
    assert [example for example in message["examples"] if "summary" in example] == []


@pytest.mark.parametrize("sender", ["zenoo", "diligent", "riskos", "onboarding"])
def test_guide_has_every_documented_type_with_its_trigger(sender: str) -> None:
    """The table of event types has each type of the contract and the whole sentence about when it is sent."""
    guide = files_of(sender)["guide.md"].replace("\\", "")
    types = SENDERS[sender].event_types
    rows = {
        cells[0].strip("`"): cells[1]
        for line in re.findall(r"^\| (`[a-z_.]+` \| .+) \|$", guide, re.MULTILINE)
        if (cells := line.split(" | "))[0].strip("`") in types
    }
    head = "Type in `events`" if sender == "diligent" else "Type"
    for section in re.split(r"^(?=##)", text_of(sender), flags=re.MULTILINE):
        for row in table(section):
            name = row.get(head, "").strip("`")
            if name in types and "Trigger" in row:
                assert rows.pop(name) == row["Trigger"].replace("`", "")
    assert rows == {}


@pytest.mark.decision("D1", "D5", "D18", "D20")
def test_documents_have_every_documented_header_of_diligent() -> None:
    """Each header is in guide and AsyncAPI, with all its values if there are few; only the signature is optional."""
    files = files_of("diligent")
    schema = yaml.safe_load(files["asyncapi.yaml"])["components"]["schemas"]["headers"]
    rows = {row["Header"].strip("`"): row["Value"] for row in table(section_of("diligent", "Delivery"))}
    assert list(schema["properties"]) == list(rows)
    assert schema["required"] == [name for name in rows if name != "X-Signature"]
    for name in ("X-Target-type", "X-Event-Name"):
        values = set(re.findall(r"`([A-Z_]+)`", rows[name]))
        assert len(values) == (5 if name == "X-Target-type" else 7)
        assert set(schema["properties"][name]["enum"]) == values
        (cell,) = re.findall(rf"^\| `{name}` \| (.*) \| yes \|$", files["guide.md"], re.MULTILINE)
        assert set(re.findall(r"`([A-Z_]+)`", cell)) == values
    messages = yaml.safe_load(files["asyncapi.yaml"])["components"]["messages"]
    for row in table(section_of("diligent", "Event types")):
        name = row["Type in `events`"].strip("`")
        target, event_name = (row[key].split("`")[1] for key in list(row)[2:])
        of_type = messages[f"webhook.{name}"]["headers"]["allOf"][1]["properties"]
        assert of_type == {"X-Target-type": {"const": target}, "X-Event-Name": {"const": event_name}}
        assert f"| `{name}` | " in files["guide.md"]
        (line,) = re.findall(rf"^\| `{name}` \|.*$", files["guide.md"], re.MULTILINE)
        assert f"| `{target}` | `{event_name}` |" in line


def test_documents_have_every_documented_header_of_zenoo() -> None:
    """The content type and the signature header are required."""
    rows = {row["Property"]: row["Value"] for row in table(section_of("zenoo", "Delivery"))}
    schema = yaml.safe_load(files_of("zenoo")["asyncapi.yaml"])["components"]["schemas"]["headers"]
    name, _, value = rows["Header"].strip("`").partition(": ")
    assert schema["properties"][name]["const"] == value
    assert {name, rows["Signature header"].strip("`")} <= set(schema["required"])


def test_envelopes_have_every_documented_field() -> None:
    """Every envelope field of zenoo is required, in the documented order."""
    rows = [row["Field"].strip("`") for row in table(section_of("zenoo", "Envelope"))]
    for event_type in SENDERS["zenoo"].event_types:
        schema = schema_of("zenoo", event_type)
        assert list(schema["properties"]) == rows == schema["required"]


@pytest.mark.parametrize("sender", SENDERS)
def test_payload_schemas_of_the_folders_are_valid(sender: str) -> None:
    """The own check and the official validator accept the payload schemas, and examples of the contract fit them."""
    found = payload_schemas(SENDERS[sender])
    assert len(found) == (5 if sender == "diligent" else 0)
    for event_type, schema in found.items():
        assert list(schema_problems(schema)) == []
        Draft202012Validator.check_schema(schema)
        for data in simulated(sender, event_type):
            assert [error.message for error in Draft202012Validator(schema).iter_errors(data)] == []


def test_pages_of_the_senders_have_the_same_tables() -> None:
    """docs/senders has every row of these tables, so that a page cannot lose a field."""
    pages = DATA.parents[2] / "docs" / "senders"
    for sender in ("zenoo", "diligent", "riskos", "onboarding"):
        page = (pages / f"{sender}.md").read_text(encoding="utf-8")
        for row in re.findall(r"^\| `.*$", text_of(sender), re.MULTILINE):
            assert row.split(" | ")[0] in page
