"""Documents for receivers describe requests correctly, for shipped senders and for custom ones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from deploy.reference.examples import NOW_S, examples_of
from deploy.reference.folder import documents_of, write_documents
from deploy.reference.payloads import body_schema
from producers.events.json_reader import EventReader
from schemas.avro.types import parse_type
from schemas.senders.event_codec import EventDecoder, encode_event
from schemas.senders.sender import Sender, load_sender
from tests.contracts.senders import SENDERS, Example, examples
from tests.contracts.test_any_value import ALL, folder_of
from tests.support.avro_values import exact, json_values_of
from tests.support.npm import installed
from tests.support.parts import need
from tests.support.tools import Commands

NPM = Path(__file__).parent / "documents"
# Types that ALL lacks: reused names, a recursive type, a union of several branches, an enum, a uuid.
NAMED: dict[str, Any] = {
    "type": "record",
    "name": "NamedData",
    "fields": [
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "colour", "type": {"type": "enum", "name": "Colour", "symbols": ["red", "blue"]}},
        {"name": "former", "type": ["null", "Colour"], "default": None, "doc": "the colour before"},
        {
            "name": "node",
            "type": {
                "type": "record",
                "name": "Node",
                "fields": [
                    {"name": "size", "type": "int"},
                    {"name": "next", "type": ["null", "Node"], "default": None},
                ],
            },
        },
        {"name": "either", "type": ["null", "long", "string"], "default": None},
        {"name": "shares", "type": {"type": "map", "values": "double"}},
    ],
}


def schema_of(sender: Sender, event_type: str) -> dict[str, Any]:
    known = sender.type_of(event_type)
    assert known is not None
    schema = body_schema(sender, known)
    Draft202012Validator.check_schema(schema)
    return schema


def is_valid(schema: dict[str, Any], body: Any) -> bool:
    return bool(Draft202012Validator(schema).is_valid(body))


def mutants(value: dict[str, Any], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the body once without each required key, and once with another type of each known value."""
    for key, inner in schema["properties"].items():
        if key in schema["required"]:
            yield {name: one for name, one in value.items() if name != key}
        if key not in value:
            continue
        yield value | {key: [[value[key]]]}
        if inner.get("properties"):
            yield from (value | {key: changed} for changed in mutants(value[key], inner))


@pytest.mark.parametrize("example", examples(), ids=str)
def test_every_body_of_a_contract_is_valid_by_its_schema(example: Example) -> None:
    """The contracts' bodies are valid. They are invalid without a required key, or with a value of another type."""
    schema = schema_of(SENDERS[example.sender], example.event_type)
    body = json.loads(example.body)
    assert is_valid(schema, body)
    if "properties" in schema:
        changed = list(mutants(body, schema))
        assert len(changed) > 2 * len(body)
        assert [mutant for mutant in changed if is_valid(schema, mutant)] == []
    else:
        assert example.sender == "diligent"  # its payloads may be any object
        assert not is_valid(schema, [body])


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_value_that_a_schema_allows_is_valid_by_its_document(tmp_path_factory, data) -> None:
    """The JSON Schema accepts the body of any value that the Avro schema allows."""
    folder = tmp_path_factory.getbasetemp() / "documents" / "everything"
    sender = load_sender(folder if folder.exists() else folder_of(folder, ALL))
    event_type = "all.kinds"
    text = exact(data.draw(json_values_of(parse_type(ALL))))
    document = f'{{"event_type":"{event_type}","customer_id":"c","created_at":"2026-01-01T00:00:00Z","data":{text}}}'
    (event,) = EventReader(sender, lambda: 0, lambda: "e").read(document, "f.json")
    body = sender.render(EventDecoder(sender).decode(encode_event(sender, event), str))
    assert is_valid(schema_of(sender, event_type), json.loads(body))


@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"former": "blue", "either": "x", "more": 1}, True),
        ({"node": {"size": 1, "next": {"size": 2, "next": None}}}, True),
        ({"colour": "green"}, False),
        ({"former": "green"}, False),
        ({"either": 1.5}, False),
        ({"node": {"size": 1, "next": {"size": "2", "next": None}}}, False),
        ({"shares": {"a": "b"}}, False),
        ({"id": None}, False),
    ],
)
def test_named_types_are_in_the_json_schema(tmp_path: Path, change: dict[str, Any], valid: bool) -> None:
    """The JSON Schema of a custom sender has enums, reused types, recursive types and unions."""
    sender = load_sender(folder_of(tmp_path / "named", NAMED))
    body = {"id": "x", "colour": "red", "former": None, "node": {"size": 1, "next": None}, "either": 7, "shares": {}}
    assert is_valid(schema_of(sender, "all.kinds"), body | change) is valid


@pytest.mark.parametrize("sender", SENDERS.values(), ids=list(SENDERS))
def test_every_example_is_a_valid_signed_request(sender: Sender) -> None:
    """Each type has an example that fits its schema, is signed with the given secret, and is in the guide."""
    requests = examples_of(sender)
    assert list(requests) == [event_type.name for event_type in sender.all_types]
    files = dict(documents_of(sender, "topic", "1"))
    for event_type in sender.all_types:
        example = requests[event_type.name]
        assert is_valid(schema_of(sender, example.event_type), example.value)
        assert sender.verify(dict(example.headers), example.body, example.secret, NOW_S) is None
        assert event_type.trigger.split(",")[0] in files["guide.md"].replace("\\", "")
        assert json.dumps(example.value, indent=2, ensure_ascii=False) in files["guide.md"]
    assert next(iter(requests.values())).body.decode() in files["guide.md"]


@pytest.mark.parametrize("sender", SENDERS.values(), ids=list(SENDERS))
def test_guide_has_every_header_key_and_wait(sender: Sender) -> None:
    """The guide has all headers, envelope keys, waits and attempts of its sender, and each link leads to a file."""
    files = dict(documents_of(sender, "topic", "1"))
    guide = files["guide.md"]
    headers = {
        name for name in re.findall(r"^\| `(\S+)` \|", guide, re.MULTILINE) if name.lower() in sender.header_names
    }
    assert {name.lower() for name in headers} == sender.header_names
    assert [f"| `{key}` |" for key in sender.envelope_keys if f"| `{key}` |" not in guide] == []
    assert f"There are {len(sender.schedule) + 1} attempts" in guide
    assert len(re.findall(r"^\| \d+ \| \d+[smh] \|", guide, re.MULTILINE)) == len(sender.schedule)
    links = set(re.findall(r"\]\((?!https:)([^)]+)\)", guide))
    assert links <= files.keys()
    assert files.keys() - links == {"guide.md"}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("zenoo", "Recognise a repeated event by `event_id` in the body"),
        ("diligent", "Recognise a repeated event by the header `X-Event-Id`"),
        ("diligent", "The event's type is in the header `X-Event-Name`."),
        ("diligent", "A subscription without a secret gets requests without a signature."),
        ("diligent", "any text of at most 512 characters, in UTF-8"),
        ("riskos", "- `globalWatchlist.caseReviewStatus` is `match` or `no match`."),
        ("standard", "Recognise a repeated event by the header `webhook-id`"),
        ("standard", "requests have the signatures of both"),
        ("zenoo", "A request has one signature, of the newest secret."),
        ("everything", "Recognise a repeated event by the body, whose bytes are the same"),
    ],
)
def test_guide_explains_differences_between_senders(tmp_path: Path, name: str, sentence: str) -> None:
    """The guide explains repeats, the place of the event type, the form of a secret, and rotation for each sender."""
    sender = SENDERS[name] if name in SENDERS else load_sender(folder_of(tmp_path / name, ALL))
    assert sentence in dict(documents_of(sender, "topic", "1"))["guide.md"]


@pytest.fixture(scope="session")
def asyncapi() -> Draft7Validator:
    """The official schema of AsyncAPI 3.0."""
    need("node")
    file = installed(NPM) / "node_modules" / "@asyncapi" / "specs" / "schemas" / "3.0.0.json"
    return Draft7Validator(json.loads(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", [*SENDERS, "everything", "named"])
def test_asyncapi_is_valid(asyncapi: Draft7Validator, tmp_path: Path, name: str) -> None:
    """Every document is valid by the official schema and its references exist. A wrong document is invalid."""
    own = {"everything": ALL, "named": NAMED}
    sender = load_sender(folder_of(tmp_path / name, own[name])) if name in own else SENDERS[name]
    files = dict(documents_of(sender, f"signpost.{name}.events", "1.2.3"))
    text = files["asyncapi.yaml"]
    document = yaml.safe_load(text)
    assert [error.message for error in asyncapi.iter_errors(document)] == []
    for reference in re.findall(r"\$ref: '?([^'\n]+)'?", text):
        if reference.startswith("#/"):
            node = document
            for part in reference.removeprefix("#/").split("/"):
                node = node[part]
        else:
            assert reference.removeprefix("./") in files
    assert not asyncapi.is_valid({**document, "operations": {"send": {"action": "sending"}}})
    assert len(document["channels"]["webhooks"]["messages"]) == len(sender.all_types)


def test_command_writes_all_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`signpost senders docs` writes the documents of all senders, custom ones included, or of the named ones."""
    own = folder_of(tmp_path / "own", NAMED)
    signpost = Commands({"SIGNPOST_SENDERS": json.dumps([str(own)]), "SIGNPOST_PREFIX": "x."}, monkeypatch)
    result = signpost("senders", "docs", str(tmp_path / "all"))
    assert (result.code, result.err) == (0, "")
    written = sorted(
        str(file.relative_to(tmp_path / "all")) for file in (tmp_path / "all").rglob("*") if file.is_file()
    )
    assert f"{len(written)} files of {len(SENDERS) + 1} senders" in result.out
    assert {f"{name}/guide.md" for name in (*SENDERS, "own")} < set(written)
    assert "address: x.own.events" in (tmp_path / "all" / "own" / "asyncapi.yaml").read_text(encoding="utf-8")
    assert "1 sender\n" in signpost("senders", "docs", str(tmp_path / "one"), "own").out
    assert sorted(child.name for child in (tmp_path / "one").iterdir()) == ["README.md", "own"]
    assert signpost("senders", "docs", str(tmp_path / "none"), "nobody").code == 2


def test_texts_of_a_folder_cannot_break_the_page(tmp_path: Path) -> None:
    """A title, trigger or prefix with Markdown syntax is escaped in text, and unchanged in code."""
    folder = folder_of(tmp_path / "odd", NAMED)
    toml = (folder / "sender.toml").read_text(encoding="utf-8")
    toml = toml.replace('title = "All"', 'title = "A | <b>`x`</b> [y](z)"').replace('"x" }', '"a | b `c`\\n# d" }', 1)
    toml = toml.replace('secret = "utf8"', 'secret = "utf8"\nprefix = "\\\\`\\"${x}|u0041="')
    (folder / "sender.toml").write_text(toml, encoding="utf-8")
    assert write_documents(tmp_path / "out", [load_sender(folder)], str, metadata.version("kafka-signpost")) == 4
    guide = (tmp_path / "out" / "odd" / "guide.md").read_text(encoding="utf-8")
    assert guide.startswith("# A \\| \\<b\\>\\`x\\`\\</b\\> \\[y\\](z): guide for receivers\n")
    assert "| a \\| b \\`c\\` \\# d |" in guide
    assert 'PREFIX = "\\\\`\\"${x}|u0041="' in guide
