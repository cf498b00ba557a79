"""AsyncAPI 3.0 of a sender: the topic from which Signpost reads its events, and the webhooks that it sends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import yaml

from deploy.reference.examples import Example
from deploy.reference.headers import Header
from deploy.reference.payloads import depth_of
from schemas.avro.json_text import ExactFloat, JsonText
from schemas.events.event import ANY
from schemas.events.event_type import EventType
from schemas.senders.sender import Sender

VERSION: Final = "3.0.0"
# The YAML writer calls itself about six times per level, and Python allows 1,000 calls.
_MAX_DEPTH: Final = 50
_AVRO: Final = "application/vnd.apache.avro+json;version=1.9.0"


def asyncapi(
    sender: Sender,
    *,
    topic: str,
    headers: list[Header],
    examples: Mapping[str, Sequence[Example]],
    notes: Mapping[str, str],
    schema_file: Callable[[EventType], str],
    version: str,
) -> dict[str, Any]:
    """Return the document. `schema_file` returns a reference to the JSON Schema of a type's bodies.

    `notes` say of which types the examples are made up.
    """
    webhooks = {
        message_id(event_type): _webhook(
            event_type,
            schema_file(event_type),
            headers,
            [
                _example(example, notes.get(event_type.name))
                for example in examples.get(event_type.name, ())
                if depth_of(example.body.decode()) <= _MAX_DEPTH
            ],
        )
        for event_type in sender.all_types
    }
    events = {message_id(event_type): _event(sender, event_type) for event_type in sender.all_types}
    return {
        "asyncapi": VERSION,
        "info": {
            "title": f"{sender.title} webhooks",
            "version": version,
            "description": f"Signpost reads the events of {sender.title} from Kafka and delivers them as webhooks.",
        },
        "defaultContentType": "application/json",
        "channels": _channels(topic, list(events)),
        "operations": {
            "receiveEvents": {"action": "receive", "channel": {"$ref": "#/channels/events"}},
            "sendWebhooks": {
                "action": "send",
                "channel": {"$ref": "#/channels/webhooks"},
                "bindings": {"http": {"method": "POST", "bindingVersion": "0.3.0"}},
            },
        },
        "components": {
            "schemas": {"headers": _headers(headers)},
            "messages": {
                **{f"event.{name}": message for name, message in events.items()},
                **{f"webhook.{name}": message for name, message in webhooks.items()},
            },
        },
    }


def _channels(topic: str, names: Iterable[str]) -> dict[str, Any]:
    return {
        "events": {
            "address": topic,
            "title": "Events",
            "description": "Events of platform teams, in Avro's single-object encoding, or in Confluent's wire format "
            "with a schema registry.",
            "messages": {name: {"$ref": f"#/components/messages/event.{name}"} for name in names},
            "bindings": {"kafka": {"topic": topic, "bindingVersion": "0.5.0"}},
        },
        "webhooks": {
            "address": None,
            "title": "Webhooks",
            "description": "The URL of a subscription, chosen by its receiver.",
            "messages": {name: {"$ref": f"#/components/messages/webhook.{name}"} for name in names},
        },
    }


def as_yaml(document: Any) -> str:
    """Return a document as YAML, with keys in their order and without aliases."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(
    ExactFloat, lambda dumper, number: dumper.represent_scalar("tag:yaml.org,2002:float", number.text)
)
_Dumper.add_representer(JsonText, lambda dumper, number: dumper.represent_scalar("tag:yaml.org,2002:int", number.text))


def message_id(event_type: EventType) -> str:
    """Return the name of a type in documents, which do not allow `*`."""
    return "any" if event_type.name == ANY else event_type.name


def _webhook(
    event_type: EventType, schema_file: str, headers: list[Header], examples: list[dict[str, Any]]
) -> dict[str, Any]:
    of_type = {
        header.name: {"const": header.by_type[event_type.name]}
        for header in headers
        if event_type.name in header.by_type
    }
    shared = {"$ref": "#/components/schemas/headers"}
    message: dict[str, Any] = {
        "name": message_id(event_type),
        "summary": event_type.trigger,
        "contentType": "application/json",
        "headers": {"type": "object", "allOf": [shared, {"properties": of_type}]} if of_type else shared,
        "payload": {"$ref": schema_file},
    }
    return message | ({"examples": examples} if examples else {})


def _example(example: Example, note: str | None) -> dict[str, Any]:
    shown = {"headers": dict(example.headers), "payload": example.value}
    return shown if note is None else {"summary": note, **shown}


def _event(sender: Sender, event_type: EventType) -> dict[str, Any]:
    fields = sender.key_fields_of.get(event_type.name, sender.key_fields)
    key_description = f"the first of {', '.join(fields)} in data that has a value, else the event's id"
    return {
        "name": message_id(event_type),
        "summary": event_type.trigger,
        "contentType": "avro/binary",
        "payload": {"schemaFormat": _AVRO, "schema": event_type.schema},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": key_description if fields else "the event's id"},
                "bindingVersion": "0.5.0",
            }
        },
    }


def _headers(headers: list[Header]) -> dict[str, Any]:
    required = [header.name for header in headers if header.always]
    return {"type": "object", "properties": {header.name: _header(header) for header in headers}, "required": required}


def _header(header: Header) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if header.constant is not None:
        schema["const"] = header.constant
    elif header.by_type:
        schema["enum"] = list(header.values)
    schema["description"] = header.meaning
    return schema | ({"examples": [header.example]} if header.example is not None else {})
