"""The OpenAPI document of a sender that has an API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from deploy.reference.examples import examples_of, sample_headers
from deploy.reference.headers import headers_of
from deploy.reference.openapi import diligent, onboarding
from deploy.reference.openapi.events import event_schemas, webhooks
from deploy.reference.openapi.parts import Api, Json, headers, responses
from deploy.reference.payloads import notes_of
from schemas.senders.payload_schemas import payload_schemas
from schemas.senders.sender import Sender, load_senders

VERSION: Final = "3.1.0"
APIS: Final[Mapping[str, Api]] = {one.flavour.name: one for one in (onboarding.API, diligent.API)}
# In files, which do not know where the API is. The document that the API serves has its own address.
UNKNOWN_SERVER: Final[Json] = {
    "url": "https://{host}",
    "description": "The address of the API.",
    "variables": {"host": {"default": "webhooks.example.com"}},
}
SAME_SERVER: Final[Json] = {"url": "/"}


def has_api(sender: Sender) -> bool:
    """Return whether a sender has a REST API. A custom sender has none."""
    return sender.name in APIS and sender.name in load_senders()


def openapi(sender: Sender, *, version: str, server: Json = UNKNOWN_SERVER) -> Json:
    """Return the document. Its texts of JSON are JsonText: `payloads.as_text` writes them."""
    api = APIS[sender.name]
    payloads = payload_schemas(sender)
    examples = examples_of(sender)
    sent = headers_of(sender, sample_headers(sender))
    return {
        "openapi": VERSION,
        "info": {"title": api.title, "version": version, "description": api.description},
        "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base",
        "servers": [server],
        "security": [{name: []} for name in api.security],
        "paths": api.paths(sender),
        "webhooks": {
            **webhooks(sender, sent, examples, notes_of(sender, payloads, examples)),
            **api.webhooks(sender, sent),
        },
        "components": {
            "securitySchemes": dict(api.security),
            "headers": headers(),
            "responses": responses(api.flavour),
            "schemas": {**api.schemas(sender), **event_schemas(sender, payloads)},
        },
    }
