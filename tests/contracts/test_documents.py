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

from consumers.delivery.http.types import MAX_BODY_READ
from consumers.delivery.results.recorder import RESPONSE_KEPT
from deploy.reference.examples import NOW_S, examples_of
from deploy.reference.folder import documents_of, write_documents
from deploy.reference.payloads import body_schema
from producers.events.json_reader import EventReader
from schemas.avro.types import parse_type
from schemas.senders.event_codec import EventDecoder, encode_event
from schemas.senders.payload_schemas import payload_schemas
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
    schema = body_schema(sender, known, payload_schemas(sender).get(known.name))
    Draft202012Validator.check_schema(schema)
    return schema


def is_valid(schema: dict[str, Any], body: Any) -> bool:
    return bool(Draft202012Validator(schema).is_valid(body))


def mutants(value: dict[str, Any], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the body once without each required key, and once with another type of each known value."""
    for key, inner in schema["properties"].items():
        if key in schema.get("required", ()):
            yield {name: one for name, one in value.items() if name != key}
        if key not in value or not (inner.keys() & {"type", "const", "enum", "$ref", "anyOf"}):
            continue
        yield value | {key: [[value[key]]]}
        if inner.get("properties") and isinstance(value[key], dict):
            yield from (value | {key: changed} for changed in mutants(value[key], inner))


@pytest.mark.parametrize("example", examples(), ids=str)
def test_every_body_of_a_contract_is_valid_by_its_schema(example: Example) -> None:
    """The contracts' bodies are valid. They are invalid without a required key, or with a value of another type."""
    schema = schema_of(SENDERS[example.sender], example.event_type)
    body = json.loads(example.body)
    assert is_valid(schema, body)
    if "properties" in schema:
        changed = list(mutants(body, schema))
        # Nothing is required of a payload of diligent.
        assert len(changed) >= (1 if example.sender == "diligent" else 2) * len(body)
        assert [mutant for mutant in changed if is_valid(schema, mutant)] == []
    else:
        assert example.name.startswith("cdd_")  # any object
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
    for example in (example for shown in requests.values() for example in shown):
        assert is_valid(schema_of(sender, example.event_type), example.value)
        assert sender.verify(dict(example.headers), example.body, example.secret, NOW_S) is None
        assert json.dumps(example.value, indent=2, ensure_ascii=False) in files["guide.md"]
    assert any(f"\n\n{example.body.decode()}\n" in files["guide.md"] for (example, *_) in requests.values())


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
    assert len(re.findall(r"^\| \d+ \| \d+ (?:s|min|h) \|", guide, re.MULTILINE)) == len(sender.schedule)
    assert ("`traceparent`" in guide) == sender.trace_context == (sender.name == "standard")
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


@pytest.mark.parametrize("sender", SENDERS.values(), ids=list(SENDERS))
def test_guide_says_what_happens_to_a_response(sender: Sender) -> None:
    """The guide has the limits of the code: how much of a response is read and recorded, what the timeout covers."""
    guide = dict(documents_of(sender, "topic", "1"))["guide.md"]
    assert (MAX_BODY_READ, RESPONSE_KEPT) == (64 * 1024, 1024)
    assert "reads up to 64 KiB of the response body, also of a 2xx, and records the first 1 KiB" in guide
    assert "not read" not in guide
    assert "are not complete within 30 s. The time starts with the DNS lookup" in guide
    assert "from connecting" not in guide


@pytest.mark.parametrize("sender", SENDERS.values(), ids=list(SENDERS))
def test_no_template_is_shown_to_receivers(sender: Sender) -> None:
    """A header whose value varies is shown with a value that a request had, never with placeholders."""
    files = dict(documents_of(sender, "topic", "1"))
    tables = files["guide.md"].partition("## Headers")[2].partition("## Body")[0]
    schema = yaml.safe_load(files["asyncapi.yaml"])["components"]["schemas"]["headers"]
    agent = dict(next(iter(examples_of(sender).values()))[0].headers)["User-Agent"]
    assert f"`{agent}`" in tables
    assert agent in {
        schema["properties"]["User-Agent"].get("const"),
        *schema["properties"]["User-Agent"].get("examples", ()),
    }
    assert "{" not in tables + str(schema["properties"]).replace("{'", "")


HEADERS = """
Content-Type = "application/json"
X-Kind = "{kind}"
X-Topic = "v1/{kind}/{event_type}"
X-Whose = "{kind} of {customer_id}"
X-Same = "{same}"
"""


def test_headers_of_an_event_type_are_required_with_their_values(tmp_path: Path, asyncapi: Draft7Validator) -> None:
    """A constant of the event types makes a required header with all its values, alone and inside of a longer value."""
    folder = folder_of(tmp_path / "own", ALL)
    toml = (folder / "sender.toml").read_text(encoding="utf-8")
    toml = toml.replace(
        '"all.kinds" = { trigger = "x" }',
        '"all.kinds" = { trigger = "x", kind = "CDD", same = "s" }\n'
        '"all.others" = { trigger = "y", record = "all.kinds", kind = "RUN", same = "s" }',
    ).replace('User-Agent = "x"\n', HEADERS)
    (folder / "sender.toml").write_text(toml, encoding="utf-8")
    sender = load_sender(folder)
    files = dict(documents_of(sender, "topic", "1"))
    document = yaml.safe_load(files["asyncapi.yaml"])
    assert [error.message for error in asyncapi.iter_errors(document)] == []
    shared = document["components"]["schemas"]["headers"]
    assert shared["required"] == ["Content-Type", "X-Kind", "X-Topic", "X-Whose", "X-Same"]
    assert shared["properties"]["X-Kind"]["enum"] == ["CDD", "RUN"]
    assert shared["properties"]["X-Topic"]["enum"] == ["v1/CDD/all.kinds", "v1/RUN/all.others"]
    assert shared["properties"]["X-Whose"]["examples"] == ["CDD of acme"]
    assert shared["properties"]["X-Same"]["const"] == "s"
    guide = files["guide.md"]
    assert re.search(r"^\| `X-Kind` \| .*`CDD`, `RUN` \| yes \|$", guide, re.MULTILINE)
    assert re.search(r"^\| `X-Whose` \| such as `CDD of acme`, with .* \| yes \|$", guide, re.MULTILINE)
    assert "| `all.others` | y | `RUN` | `v1/RUN/all.others` |" in guide
    for name, (example, *_) in examples_of(sender).items():
        of_type = document["components"]["messages"][f"webhook.{name}"]["headers"]["allOf"][1]
        for schema in (shared, of_type):
            assert Draft202012Validator(schema).is_valid(dict(example.headers))
            wrong = dict(example.headers) | {"X-Kind": "OTHER"}
            assert not Draft202012Validator(schema).is_valid(wrong)


FREE = {"type": "string", "json": "object"}
PAYLOAD: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "description": "An order.",
    "properties": {
        "order_id": {"type": "string", "format": "uuid"},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
        "placed_at": {"type": ["string", "null"], "format": "date-time"},
        "code": {"type": "string", "minLength": 90, "maxLength": 95},
        "short": {"type": "string", "maxLength": 3},
        "percent": {"type": "integer", "minimum": 95, "maximum": 99, "multipleOf": 3},
        "below": {"type": "number", "exclusiveMinimum": -3, "exclusiveMaximum": 0},
    },
    "$defs": {"line": {"type": "object", "properties": {"count": {"type": "integer", "minimum": 1}}}},
}
ENVELOPE = """time_format = "seconds"
[body.envelope]
id = "event_id"
data = "data"
"""


def own_sender(tmp_path: Path, *, envelope: bool = False) -> Path:
    """Return a folder whose payloads are any JSON object."""
    folder = folder_of(tmp_path / "own", FREE)
    if envelope:
        toml = (folder / "sender.toml").read_text(encoding="utf-8")
        toml = toml.replace('form = "payload"\n', "").replace("[headers]", f"{ENVELOPE}[headers]", 1)
        toml = toml.replace("max_bytes = 10000000\n", "", 1).replace("[body]\n", "[body]\nmax_bytes = 10000000\n")
        (folder / "sender.toml").write_text(toml, encoding="utf-8")
    return folder


def put(folder: Path, path: str, value: Any) -> None:
    """Write a file of a folder: text, or anything as JSON."""
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


@pytest.mark.parametrize("envelope", [False, True])
def test_folder_of_a_user_can_document_its_payloads(tmp_path: Path, envelope: bool) -> None:
    """A payload schema and examples of a folder are in all documents, and simulated events have the fields."""
    folder = own_sender(tmp_path, envelope=envelope)
    put(folder, "payloads/all.kinds.schema.json", PAYLOAD)
    sender = load_sender(folder)
    schema = json.loads(dict(documents_of(sender, "topic", "1"))["schemas/all.kinds.schema.json"])
    Draft202012Validator.check_schema(schema)
    described = schema["properties"]["data"] if envelope else schema
    assert described["properties"] == PAYLOAD["properties"]
    assert "The values of the example are made up." in described["description"]
    (made_up,) = examples_of(sender)["all.kinds"]
    data = made_up.value["data"] if envelope else made_up.value
    assert data.keys() == PAYLOAD["properties"].keys()
    assert [line.keys() for line in data["lines"]] == [{"count"}]
    assert is_valid(schema, made_up.value)
    wrong = {"order_id": "x", "lines": [{"count": "many"}]}
    assert not is_valid(schema, made_up.value | ({"data": wrong} if envelope else wrong))
    given = {"order_id": "7d0ae7b0-9a01-4a5c-8cba-8f6f6f3e2b11", "lines": [], "placed_at": None}
    put(folder, "examples/a.json", {"event_type": "all.kinds", "data": given})
    put(folder, "examples/b.json", {"event_type": "all.kinds", "customer_id": "globex", "data": given | {"note": 1}})
    put(folder, "examples/notes.txt", "not an example")
    files = dict(documents_of(sender, "topic", "1"))
    shown = [example.value for example in examples_of(sender)["all.kinds"]]
    assert [value["data"] if envelope else value for value in shown] == [given, given | {"note": 1}]
    assert json.loads(files["schemas/all.kinds.schema.json"])["examples"] == shown
    assert "made up" not in "".join(files.values())
    assert files["guide.md"].count("### all.kinds") == 1


def test_numbers_of_an_example_keep_their_digits(tmp_path: Path) -> None:
    """Integers beyond 64 bits, long decimals and numbers beyond a double are in all documents as they are sent."""
    folder = own_sender(tmp_path)
    digits = "123456789012345678901234567890"
    text = f'{{"a":{digits},"b":1.10,"c":1e400,"d":{"9" * 5000},"e":"\\u2028 é","f":[],"g":{{}}}}'
    put(folder, "examples/a.json", f'{{"event_type": "all.kinds", "data": {text}}}')
    files = dict(documents_of(load_sender(folder), "topic", "1"))
    for file in files.values():
        for number in (digits, "1.10", "1e400", "9" * 5000):
            assert number in file
        assert "Infinity" not in file
        assert ".inf" not in file
    assert '  "f": [],\n  "g": {}\n}' in files["guide.md"]
    yaml.safe_load(files["asyncapi.yaml"].replace("9" * 5000, "9"))


def test_deep_example_is_shown_except_in_yaml(tmp_path: Path) -> None:
    """An example that is nested 500 deep is in guide and JSON Schema. AsyncAPI leaves it out."""
    folder = own_sender(tmp_path)
    deep = '{"a":' * 500 + "1" + "}" * 500
    put(folder, "examples/a.json", json.dumps({"event_type": "all.kinds", "data": deep}))
    put(folder, "examples/.hidden.json", "not an example")
    put(folder, "payloads/.DS_Store", "not a schema")
    files = dict(documents_of(load_sender(folder), "topic", "1"))
    assert f"\n\n{deep}\n" in files["guide.md"]
    assert deep in "".join(files["schemas/all.kinds.schema.json"].split())
    assert "examples" not in yaml.safe_load(files["asyncapi.yaml"])["components"]["messages"]["webhook.all.kinds"]


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("payloads/all.kind.schema.json", PAYLOAD, "no event type has this file; did you mean all.kinds.schema.json?"),
        ("payloads/all.kinds.schema.json", '{"type": "object",\n}', "all.kinds.schema.json:2: not JSON"),
        ("payloads/all.kinds.schema.json", [1], 'a payload is an object: expected {"type": "object", …}'),
        (
            "payloads/all.kinds.schema.json",
            PAYLOAD | {"propertys": {}},
            "propertys: unknown keyword; did you mean properties?",
        ),
        ("payloads/all.kinds.schema.json", PAYLOAD | {"$schema": "http://x"}, "$schema: expected https"),
        (
            "examples/a.json",
            {"event_type": "all.kind", "data": {}},
            'a.json: event 1: event_type: own has no type "all.kind"; did you mean all.kinds?',
        ),
        ("examples/a.json", {"event_type": "all.kinds", "data": [1]}, "data: expected an object"),
        ("examples/a.json", "{", "a.json: not JSON"),
    ],
)
def test_wrong_files_for_documents_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, value: Any, problem: str
) -> None:
    """`senders check` and `senders docs` name file and error. The roles do not read these files."""
    folder = own_sender(tmp_path)
    put(folder, path, value)
    signpost = Commands({"SIGNPOST_SENDERS": json.dumps([str(folder)])}, monkeypatch)
    for command in (("check", str(folder)), ("docs", str(tmp_path / "out"), "own")):
        result = signpost("senders", *command)
        assert result.code == 2
        assert problem in result.err
    assert load_sender(folder).name == "own"


def test_record_describes_its_fields_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A payload schema of a type with an Avro record is an error, because the two could differ."""
    folder = folder_of(tmp_path / "own", NAMED)
    put(folder, "payloads/all.kinds.schema.json", PAYLOAD)
    result = Commands({}, monkeypatch)("senders", "check", str(folder))
    assert result.code == 2
    assert "the Avro record of all.kinds describes its fields; remove this file" in result.err


def test_made_up_values_satisfy_the_rules_of_the_guide(tmp_path: Path) -> None:
    """A made-up example has the values that the conditions of its folder allow, and an item in each array."""
    fields = [
        {"name": "status", "type": "string"},
        {
            "name": "lines",
            "type": {
                "type": "array",
                "items": {"type": "record", "name": "Line", "fields": [{"name": "state", "type": "string"}]},
            },
        },
    ]
    folder = folder_of(tmp_path / "own", {"type": "record", "name": "OrderData", "fields": fields})
    with (folder / "sender.toml").open("a", encoding="utf-8") as toml:
        toml.write('[[conditions]]\nfield = "status"\none_of = ["PAID"]\n')
        toml.write('[[conditions]]\nfield = "lines[].state"\none_of = ["SENT", "LOST"]\n')
    sender = load_sender(folder)
    (example,) = examples_of(sender)["all.kinds"]
    assert example.value["status"] == "PAID"
    assert {line["state"] for line in example.value["lines"]} <= {"SENT", "LOST"}
    assert len(example.value["lines"]) == 1
    assert list(sender.problems("all.kinds", example.value)) == []


def test_command_shows_headers_as_they_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """`senders show` has the headers in the spelling and order of requests."""
    shown = Commands({}, monkeypatch)("senders", "show", "diligent").out
    (line,) = re.findall(r"^headers: +(.*)$", shown, re.MULTILINE)
    (example, *_) = examples_of(SENDERS["diligent"])["search_completed"]
    assert line.split(", ") == [name for name, _ in example.headers]


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
