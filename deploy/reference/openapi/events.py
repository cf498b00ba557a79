"""The section `webhooks`: the requests to a customer's endpoint, one for each event type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from deploy.reference.asyncapi import message_id
from deploy.reference.examples import Example
from deploy.reference.headers import Header
from deploy.reference.openapi.parts import Json, example, request_body, schema_ref
from deploy.reference.payloads import body_schema
from schemas.avro.json_text import JsonText
from schemas.events.event import ANY
from schemas.events.event_type import EventType
from schemas.senders.payload_schemas import Schema
from schemas.senders.sender import Sender

RESPONSES: Final[Json] = {
    "2XX": {"description": "Delivered. Answer as soon as the request is stored."},
    "410": {"description": "The event is never sent again, and the webhook may be disabled."},
    "default": {
        "description": "Failed, as without an answer in time. The request is repeated on a schedule. A `Retry-After` "
        "of 429 and 503 is honoured. Redirects are not followed."
    },
}
# OpenAPI ignores parameters with these names: they belong to the body and to authentication.
_NO_PARAMETERS: Final = {"accept", "content-type", "authorization"}


def webhooks(
    sender: Sender,
    headers: Iterable[Header],
    examples: Mapping[str, Sequence[Example]],
    notes: Mapping[str, str],
) -> Json:
    """Return a webhook for each event type. The bodies are schemas of `event_schemas`."""
    found = list(headers)
    return {message_id(one): _webhook(one, found, examples.get(one.name, ()), notes) for one in sender.all_types}


def event_schemas(sender: Sender, payloads: Mapping[str, Schema]) -> Json:
    """Return the schemas of all bodies by their names in the document."""
    return {
        name: _embedded(body_schema(sender, event_type, payloads.get(event_type.name)), f"#/components/schemas/{name}")
        for event_type in sender.all_types
        for name in [_schema_name(event_type)]
    }


def request(headers: Iterable[Header], event_type: str | None, when_signed: str) -> Json:
    """Return the headers of a webhook as parameters, with their values for the event type, and what to answer.

    `when_signed` says which requests have the signature's headers, if not all have them.
    """
    return {
        "parameters": [
            {
                "name": header.name,
                "in": "header",
                "required": header.always,
                "description": header.meaning + ("" if header.always else f"; only if {when_signed}"),
                "schema": _schema(header, event_type),
            }
            for header in headers
            if header.name.lower() not in _NO_PARAMETERS
        ],
        "security": [],
        "responses": RESPONSES,
    }


def _schema_name(event_type: EventType) -> str:
    return f"event.{message_id(event_type)}"


def _webhook(
    event_type: EventType, headers: Sequence[Header], examples: Sequence[Example], notes: Mapping[str, str]
) -> Json:
    note = notes.get(event_type.name, "")
    shown = {
        f"example{number}": example(JsonText(one.body.decode()), note) for number, one in enumerate(examples, start=1)
    }
    name = None if event_type.name == ANY else event_type.name
    return {
        "post": {
            "summary": event_type.trigger,
            **request(headers, name, "the webhook has a secret"),
            "requestBody": request_body(schema_ref(_schema_name(event_type)), shown),
        }
    }


def _schema(header: Header, event_type: str | None) -> Json:
    value = header.constant if event_type is None else header.by_type.get(event_type, header.constant)
    if value is not None:
        return {"type": "string", "const": value}
    schema: Json = {"type": "string"}
    if header.values:
        schema["enum"] = list(header.values)
    return schema if header.example is None else {**schema, "examples": [header.example]}


def _embedded(schema: Any, root: str) -> Any:
    """Return a schema as a part of the document: its references lead to its own definitions at `root`."""
    if isinstance(schema, list):
        return [_embedded(one, root) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: root + value.removeprefix("#") if key == "$ref" and isinstance(value, str) else _embedded(value, root)
        for key, value in schema.items()
        if key != "$schema"
    }
