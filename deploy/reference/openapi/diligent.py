"""Diligent's API: its operations and schemas, with the examples of its document."""

from __future__ import annotations

from typing import Final, get_args

from deploy.reference.openapi.parts import (
    URL,
    Api,
    Json,
    closed,
    content,
    example,
    links,
    operation,
    request_body,
    response,
    schema_ref,
    text,
)
from producers.api.diligent.operations import FLAVOUR, WITHOUT_TOTALS
from producers.api.refusals import ProblemCode
from schemas.senders.sender import Sender
from schemas.senders.signing import HmacSha256Hex

_CREATED: Final[Json] = {
    "id": "df89eb16-4c6a-439f-b668-7cca0cd786fa",
    "webhook_url": "https://your-server.com/webhooks",
    "is_active": True,
    "has_secret": True,
    "status": "active",
    "last_delivery_at": None,
    "last_delivery_status": None,
    "events": ["cdd_state_changed", "alert_remediated"],
}
_UPDATED: Final[Json] = {
    **_CREATED,
    "is_active": False,
    "status": "disabled",
    "events": ["cdd_state_changed", "alert_remediated", "search_completed"],
}


def _schemas(sender: Sender) -> Json:
    return {
        "EventType": {"type": "string", "enum": list(sender.subscribable)},
        **_requests(sender),
        "Webhook": closed(
            {
                "id": text("The id of the webhook."),
                "webhook_url": text("The endpoint."),
                "is_active": {
                    "type": "boolean",
                    "description": "Whether events are sent. False also after an endpoint answered 410 or failed for "
                    "days; an update to `true` enables the webhook again.",
                },
                "has_secret": {"type": "boolean", "description": "Whether requests are signed."},
                "status": text(
                    "`disabled` if `is_active` is false; else `failing` if the last attempt got no 2xx; else `active`.",
                    enum=["active", "failing", "disabled"],
                ),
                "last_delivery_at": {
                    "type": ["string", "null"],
                    "format": "date-time",
                    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
                    "description": "When the latest attempt was made; null if there was none.",
                },
                "last_delivery_status": {
                    "type": ["integer", "null"],
                    "description": "The HTTP status of the latest attempt; null if there was no attempt or no answer.",
                },
                "events": {"type": "array", "items": schema_ref("EventType"), "description": "The subscribed types."},
            },
            "A webhook. No answer contains its secret.",
        ),
        "WebhookList": {"type": "array", "items": schema_ref("Webhook"), "description": "The oldest first."},
        "Error": closed({"error": text("A sentence for people.")}),
        "ValidationError": closed(
            {
                "error": {
                    "type": "array",
                    "minItems": 1,
                    "items": closed(
                        {
                            "code": text("The kind of error.", enum=list(get_args(ProblemCode))),
                            "path": {
                                "type": "array",
                                "items": {"type": ["string", "integer"]},
                                "description": "The field, and the index in a list; empty for the whole body.",
                            },
                            "message": text("A sentence for people."),
                        }
                    ),
                }
            }
        ),
    }


def _requests(sender: Sender) -> Json:
    scheme = sender.signature
    longest = scheme.longest_secret if isinstance(scheme, HmacSha256Hex) else None
    secret: Json = {"type": "string"} if longest is None else {"type": "string", "maxLength": longest}
    most = "" if longest is None else f", at most {longest} characters"
    fields = {
        "webhook_url": URL,
        "secret": {
            **secret,
            "writeOnly": True,
            "description": f'The secret that signs requests{most}. `""` means no secret: requests are not signed. No '
            "answer contains it.",
        },
        "is_active": {"type": "boolean", "description": "Switches the webhook on or off.", "default": True},
        "events": {
            "type": "array",
            "items": schema_ref("EventType"),
            "default": [],
            "description": "The types to subscribe to. A repeated type is kept once. No type means no events.",
        },
    }
    updated = {name: {key: part for key, part in field.items() if key != "default"} for name, field in fields.items()}
    return {
        "CreateRequest": {
            "type": "object",
            "description": "Unknown fields are ignored.",
            "properties": fields,
            "required": ["webhook_url"],
        },
        "UpdateRequest": {
            "type": "object",
            "description": "Only the fields sent change. `events` replaces the whole list. Unknown fields are ignored.",
            "properties": updated,
        },
    }


def _paths(sender: Sender) -> Json:
    id_parameter = {
        "name": "webhook_id",
        "in": "path",
        "required": True,
        "description": "The id of a webhook.",
        "schema": {"type": "string", "minLength": 1},
    }
    return {
        "/webhooks": {"post": _create(sender), "get": _list()},
        "/webhooks/{webhook_id}": {
            "parameters": [id_parameter],
            "get": _get(),
            "patch": _update(),
            "delete": _delete(),
        },
    }


def _create(sender: Sender) -> Json:
    request = {
        "webhook_url": "https://your-server.com/webhooks",
        "is_active": True,
        "secret": "your-secret",
        "events": ["cdd_state_changed", "alert_remediated"],
    }
    created = response("The webhook was created.", content(schema_ref("Webhook"), {"created": example(_CREATED)}))
    return operation(
        "createWebhook",
        "Create a webhook",
        "Each request creates a new webhook; none updates an existing one. A customer can have at most "
        f"{sender.max_subscriptions} webhooks, inactive ones included. The answer to one more is 400.",
        body=request_body(schema_ref("CreateRequest"), {"two_types": example(request)}),
        answers={201: {**created, "links": links("getWebhook", "updateWebhook", "deleteWebhook")}},
        errors=(403,),
    )


def _list() -> Json:
    listed = content(schema_ref("WebhookList"), {"one": example([_CREATED])})
    return operation(
        "listWebhooks",
        "List all webhooks",
        "Returns all webhooks of the customer as an array, the oldest first.",
        answers={200: response("The webhooks.", listed)},
    )


def _get() -> Json:
    return operation(
        "getWebhook",
        "Get a webhook",
        "Returns a webhook with its latest delivery attempt.",
        answers={200: response("The webhook.", content(schema_ref("Webhook"), {"webhook": example(_CREATED)}))},
        errors=(404,),
    )


def _update() -> Json:
    request = {"events": ["cdd_state_changed", "alert_remediated", "search_completed"], "is_active": False}
    body = content(schema_ref("Webhook"), {"updated": example(_UPDATED)})
    return operation(
        "updateWebhook",
        "Update a webhook",
        'Changes the fields that are sent. A `secret` that is omitted stays, `""` removes it. The next attempt of '
        "every delivery uses the current URL and secret. While `is_active` is false events are skipped, and scheduled "
        "retries are cancelled.",
        body=request_body(schema_ref("UpdateRequest"), {"switch_off": example(request)}),
        answers={200: response("The updated webhook.", body, [name for name, _ in WITHOUT_TOTALS])},
        errors=(403, 404),
    )


def _delete() -> Json:
    return operation(
        "deleteWebhook",
        "Delete a webhook",
        "Deletes a webhook for good. After the answer no attempt starts.",
        answers={204: response("The webhook was deleted.")},
        errors=(403, 404),
    )


API: Final = Api(
    flavour=FLAVOUR,
    title="Diligent AI: webhooks",
    description="Manage the webhooks of a customer. Paths do not end in a slash. All bodies are JSON in UTF-8, of at "
    "most 256 KiB and 32 levels. Keys of an object occur once.",
    security={
        "apiKey": {
            "type": "apiKey",
            "in": "header",
            "name": FLAVOUR.challenge,
            "description": "`X-API-KEY: <key>`. All keys of a customer see the same webhooks.",
        }
    },
    schemas=_schemas,
    paths=_paths,
)
