"""The story of a sender without one of its own: events of all its types in a random order.

Their data are an example of the sender's folder, else values for each field of the Avro record or JSON Schema.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any, Final, assert_never

from deploy.demo.stories import Story, StoryMaker, company, iso_ms, token, uuid
from deploy.demo.vocabulary import NOTES
from producers.events.examples import example_events
from schemas.avro.json_form import embedding, is_members
from schemas.avro.json_parser import parse
from schemas.avro.json_text import JsonText
from schemas.avro.types import Array, AvroType, Enum, Fixed, Map, Primitive, Record, Reference, Union, is_recursive
from schemas.events.event import ANY
from schemas.senders.conditions import Condition
from schemas.senders.payload_schemas import Schema, payload_schemas
from schemas.senders.sender import Sender

_ANY_TYPES: Final = ("invoice.paid", "invoice.voided", "user.created", "order.shipped")
# References of a JSON Schema are followed this deep: schemas may be recursive.
_MAX_DEPTH: Final = 8


def of_any_sender(sender: Sender) -> StoryMaker:
    """Return the story; SenderError or EventError if a payload schema or an example of the folder is invalid."""
    examples = example_events(sender)
    payloads = payload_schemas(sender)
    others = dict.fromkeys(event.event_type for event in examples.get(ANY, ()))
    types = [*sender.event_types, *others] or list(_ANY_TYPES)

    def story(random: Random, now: datetime) -> Story:
        for event_type in random.sample(types, len(types)):
            known = sender.type_of(event_type)
            assert known is not None
            given = [event for event in examples.get(known.name, ()) if event.event_type == event_type]
            if given:
                yield event_type, _with_own_key(sender, event_type, _plain(random.choice(given).data), random)
                continue
            schema = payloads.get(known.name)
            if schema is not None:
                data = _SchemaValues(schema, random, now).of(schema)
            elif known.data_fields is None:
                data = {"id": token(random), "name": company(random)}
            else:
                data = _value(known.data, random)
            for condition in sender.conditions:
                _satisfy(data, condition, event_type, random)
            yield event_type, data

    return story


def _with_own_key(sender: Sender, event_type: str, data: Any, random: Random) -> dict[str, Any]:
    """Return the data of an example with another Kafka key: with one key, all events would be on one partition."""
    for field in sender.key_fields_of.get(event_type, sender.key_fields):
        if isinstance(data.get(field), str):
            return {**data, field: token(random)}
    return dict(data)


def _plain(value: Any) -> Any:
    """Return a value with every JsonText parsed."""
    if isinstance(value, JsonText):
        return parse(value.text)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _satisfy(data: Any, condition: Condition, event_type: str, random: Random) -> None:
    if condition.event_types is None or event_type in condition.event_types:
        _put(data, condition.field.split("."), condition.one_of or (token(random),), random)


def _put(value: Any, path: Sequence[str], choices: Sequence[str], random: Random) -> None:
    """Set a field to one of the values that its condition allows; each element of an array, if there is one."""
    if not isinstance(value, dict):
        return
    name, rest = path[0].removesuffix("[]"), path[1:]
    if path[0].endswith("[]"):
        items = value.get(name)
        if not isinstance(items, list):
            return
        if rest:
            for item in items:
                _put(item, rest, choices, random)
        else:
            value[name] = [random.choice(choices) for _ in items]
    elif rest:
        _put(value.setdefault(name, {}), rest, choices, random)
    else:
        value[name] = random.choice(choices)


@dataclass(frozen=True, slots=True)
class _SchemaValues:
    """Makes values of a JSON Schema: an example of it, else one of its type. Objects have all their properties.

    Values keep to limits of numbers and lengths, but not to `pattern`.
    """

    root: Schema
    random: Random
    now: datetime

    def of(self, schema: Any, depth: int = 0) -> Any:
        """Return a value of a schema."""
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            return None
        if "$ref" in schema:
            return self.of(self.root["$defs"][schema["$ref"].rpartition("/")[2]], depth + 1)
        if "const" in schema:
            return schema["const"]
        if choices := schema.get("examples") or schema.get("enum"):
            return deepcopy(self.random.choice(choices))
        if branches := schema.get("anyOf") or schema.get("oneOf"):
            return self.of(branches[0], depth + 1)
        types = schema.get("type", "object")
        return self._of_type(types if isinstance(types, str) else types[0], schema, depth)

    def _of_type(self, name: str, schema: Mapping[str, Any], depth: int) -> Any:
        match name:
            case "object":
                return {key: self.of(inner, depth + 1) for key, inner in schema.get("properties", {}).items()}
            case "array":
                return [self.of(schema["items"], depth + 1)] if "items" in schema else []
            case "string":
                text = self._text(schema.get("format")).ljust(schema.get("minLength", 0), "x")
                return text[: schema.get("maxLength")]
            case "integer" | "number":
                return self._number(schema)
            case "boolean":
                return self.random.random() < 0.5
            case _:
                return None

    def _number(self, schema: Mapping[str, Any]) -> Any:
        step = schema.get("multipleOf", 1)
        lowest = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        highest = schema.get("maximum", schema.get("exclusiveMaximum", lowest + 101) - 1)
        multiple = -(-lowest // step) * step + step * self.random.randint(0, 100)
        return multiple if multiple <= highest else -(-lowest // step) * step

    def _text(self, form: str | None) -> str:
        match form:
            case "date-time":
                return iso_ms(self.now)
            case "date":
                return f"{self.now:%Y-%m-%d}"
            case "uuid":
                return uuid(self.random)
            case _:
                return self.random.choice(NOTES)


def _value(node: AvroType, random: Random) -> Any:
    """Return a value of a type in its JSON form; null, which may not fit, for a recursive type."""
    value: Any
    match node:
        case Primitive():
            value = _embedded(node, random) if embedding(node) else _primitive(node, random)
        case Record():
            value = {field.name: _value(field.type, random) for field in node.fields if not is_members(field)}
        case Union():
            value = _value(node.others[0], random) if node.others else None
        case Enum():
            value = random.choice(node.symbols)
        case Array():
            value = [] if is_recursive(node.items) else [_value(node.items, random)]
        case Map():
            value = {} if is_recursive(node.values) else {token(random, 6): _value(node.values, random)}
        case Reference():
            value = None if node.is_recursive else _value(node.target, random)
        case Fixed():
            value = None  # JSON has no bytes
        case _:
            assert_never(node)
    return value


def _embedded(node: Primitive, random: Random) -> Any:
    return random.randint(0, 1_000) if embedding(node) in {"integer", "decimal"} else {"note": random.choice(NOTES)}


def _primitive(node: Primitive, random: Random) -> Any:
    match node.name:
        case "string":
            return uuid(random) if node.logical_type == "uuid" else random.choice(NOTES)
        case "boolean":
            return random.random() < 0.5
        case "float" | "double":
            return 0.5
        case "int" | "long":
            return random.randint(0, 100)
        case "null" | "bytes":
            return None
        case _:
            assert_never(node.name)
