"""The Onboarding API: its operations and schemas, with the examples of its document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from deploy.reference.headers import Header
from deploy.reference.openapi.events import request
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
from producers.api.onboarding.operations import FLAVOUR
from producers.api.onboarding.requests import TEST_DATA, TEST_TYPE, body_of_test
from producers.api.refusals import STATUSES
from schemas.senders.sender import Sender
from schemas.subscriptions.filters import MAX_FILTERS
from schemas.subscriptions.rules import MAX_DESCRIPTION

_ID: Final = "f67f165d-0d1e-4eb7-81e6-3494a260dcd4"
_UUID: Final = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_TIME: Final[Json] = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}\+00:00$",
}
_CREATED: Final[Json] = {
    "id": _ID,
    "event_type": "screening.completed",
    "webhook_url": "https://api.yourcompany.com/webhooks/screening",
    "secret_key": "whsec_A1B2C3D4E5F6G7H8I9J0K1L2M3N4O5P6Q7R8S9T0U1V2W3X4Y5Z6",
    "message": "Webhook created successfully",
}
_CREATED_AT: Final = "2026-01-19T10:30:00.123456+00:00"
_HEAD: Final[Json] = {
    "id": _ID,
    "event_type": "screening.completed",
    "webhook_url": "https://api.yourcompany.com/webhooks/screening",
    "is_active": True,
    "description": "Production screening webhook",
    "filters": {},
    "created_at": _CREATED_AT,
}
_DELIVERIES: Final[Json] = {
    "stats": {"total_deliveries": 127, "successful_deliveries": 125, "failed_deliveries": 2},
    "last_triggered_at": "2026-01-22T08:15:30.987654+00:00",
}
_SHOWN: Final[Json] = {**_HEAD, "updated_at": _CREATED_AT, **_DELIVERIES}
_OTHER: Final[Json] = {
    "id": "a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d",
    "event_type": "case.resolved",
    "webhook_url": "https://api.yourcompany.com/webhooks/cases",
    "is_active": True,
    "description": "Case resolution notifications",
    "filters": {},
    "created_at": "2026-01-18T14:20:00.123456+00:00",
    "stats": {"total_deliveries": 43, "successful_deliveries": 43, "failed_deliveries": 0},
    "last_triggered_at": "2026-01-21T16:45:22.543210+00:00",
}
_TESTED: Final[Json] = {
    "success": True,
    "message": "Test webhook delivered successfully",
    "log_id": 4821,
    "http_status_code": 200,
}
_NOT_FOUND: Final[Json] = {
    "success": False,
    "message": "Test webhook delivery failed: HTTP 404: Not Found",
    "log_id": 4822,
    "http_status_code": 404,
}
_NO_ANSWER: Final[Json] = {
    "success": False,
    "message": "Test webhook delivery failed: connection timed out",
    "log_id": 4823,
    "http_status_code": None,
}


def _count(description: str) -> Json:
    return {"type": "integer", "minimum": 0, "description": description}


_WEBHOOK_ID: Final = text("The id of the webhook.", format="uuid")
_MESSAGE: Final = text("A sentence for people.")
_URL_SHOWN: Final = text("The endpoint.")
_FILTERS: Final[Json] = {
    "type": "object",
    "description": f"Filters, stored and returned as given. Nothing evaluates them yet. At most {MAX_FILTERS:,} "
    "characters of compact JSON.",
}
_IS_ACTIVE: Final[Json] = {
    "type": "boolean",
    "description": "Whether events are sent. False also after an endpoint answered 410 or failed for days; an update "
    "to `true` enables the webhook again.",
}
_DESCRIPTION: Final = text(
    f"A text for people: at most {MAX_DESCRIPTION:,} printable characters, no space at its beginning or end.",
    maxLength=MAX_DESCRIPTION,
    pattern=r"^([^\u0000-\u0020\u007f-\u00a0]([^\u0000-\u001f\u007f-\u00a0]*[^\u0000-\u0020\u007f-\u00a0])?)?$",
)


def _schemas(sender: Sender) -> Json:
    return {
        "EventType": text(
            f"The type to subscribe to: one type, or `{sender.every_type}` for every type. A webhook for `{TEST_TYPE}` "
            "gets nothing: test events go to the URL of the test request.",
            enum=[sender.every_type, *sender.subscribable],
        ),
        "CreateRequest": {
            "type": "object",
            "description": "Unknown fields are ignored.",
            "properties": {
                "event_type": schema_ref("EventType"),
                "webhook_url": URL,
                "description": _DESCRIPTION,
                "filters": _FILTERS,
            },
            "required": ["event_type", "webhook_url"],
        },
        "UpdateRequest": {
            "type": "object",
            "description": "Only the fields sent change. Unknown fields are ignored.",
            "properties": {
                "webhook_url": URL,
                "is_active": {"type": "boolean", "description": "Switches the webhook on or off."},
                "description": _DESCRIPTION,
                "filters": _FILTERS,
                "event_type": {"not": {}, "description": "Cannot be changed: delete the webhook and create another."},
                "secret_key": {"not": {}, "description": "Cannot be changed: delete the webhook and create another."},
            },
        },
        "TestRequest": {
            "type": "object",
            "description": "Unknown fields are ignored.",
            "properties": {"webhook_url": URL},
            "required": ["webhook_url"],
        },
        **_answers(),
        **_errors(),
    }


def _answers() -> Json:
    return {
        "Created": closed(
            {
                "id": _WEBHOOK_ID,
                "event_type": schema_ref("EventType"),
                "webhook_url": _URL_SHOWN,
                "secret_key": text(
                    "The secret that signs all requests to this webhook. Store it: no other answer has it.",
                    pattern="^whsec_[A-Za-z0-9+/]{52}$",
                ),
                "message": _MESSAGE,
            }
        ),
        **_webhook(),
        "Updated": closed({"message": _MESSAGE, "id": _WEBHOOK_ID}),
        "Deleted": closed({"message": _MESSAGE}),
        "TestResult": closed(
            {
                "success": {"type": "boolean", "description": "Whether the endpoint answered with 2xx."},
                "message": _MESSAGE,
                "log_id": {
                    "type": "integer",
                    "minimum": 1,
                    "description": "The number of this test delivery. Each test is one more, failed ones included.",
                },
                "http_status_code": {
                    "type": ["integer", "null"],
                    "description": "The status of the endpoint's answer; null if there was none.",
                },
            }
        ),
    }


def _webhook() -> Json:
    deliveries = {
        "stats": schema_ref("Stats"),
        "last_triggered_at": {
            **_TIME,
            "type": ["string", "null"],
            "description": "When the latest attempt was made, successful or not; null if there was none.",
        },
    }
    head = {
        "id": _WEBHOOK_ID,
        "event_type": schema_ref("EventType"),
        "webhook_url": _URL_SHOWN,
        "is_active": _IS_ACTIVE,
        "description": text("The text for people."),
        "filters": _FILTERS,
        "created_at": {**_TIME, "description": "When the webhook was created."},
    }
    updated_at = {
        **_TIME,
        "description": "When the last update that named a field was made; at first equal to `created_at`.",
    }
    return {
        "Stats": closed(
            {
                "total_deliveries": _count("Deliveries that ended."),
                "successful_deliveries": _count("Deliveries that the endpoint answered with 2xx."),
                "failed_deliveries": _count("Deliveries that failed for good."),
            },
            "Deliveries of this webhook. A cancelled one does not count.",
        ),
        "WebhookEntry": closed({**head, **deliveries}, "A webhook in a list."),
        "WebhookList": closed(
            {"webhooks": {"type": "array", "items": schema_ref("WebhookEntry"), "description": "The newest first."}}
        ),
        "Webhook": closed({**head, "updated_at": updated_at, **deliveries}),
    }


def _errors() -> Json:
    request_id = text("The id of the request, as in `X-Request-Id`.", format="uuid")
    return {
        "Error": closed(
            {
                "error": _MESSAGE,
                "code": text("The kind of error.", enum=[code for code in STATUSES if code != "validation_error"]),
                "request_id": request_id,
            }
        ),
        "ValidationError": closed(
            {
                "error": _MESSAGE,
                "code": {"const": "validation_error"},
                "request_id": request_id,
                "errors": {
                    "type": "object",
                    "description": "All messages by field. `body` stands for the whole body.",
                    "minProperties": 1,
                    "additionalProperties": {"type": "array", "minItems": 1, "items": {"type": "string"}},
                },
            }
        ),
    }


def _paths(sender: Sender) -> Json:
    id_parameter = {
        "name": "webhook_id",
        "in": "path",
        "required": True,
        "description": "The id of a webhook: a UUID in lower case.",
        "schema": {"type": "string", "format": "uuid", "pattern": _UUID},
    }
    return {
        "/api/v1/webhooks/": {"post": _create(), "get": _list()},
        "/api/v1/webhooks/test/": {"post": _test()},
        "/api/v1/webhooks/{webhook_id}/": {
            "parameters": [id_parameter],
            "get": _get(),
            "patch": _update(),
            "delete": _delete(),
        },
    }


def _create() -> Json:
    wanted = {
        "event_type": "screening.completed",
        "webhook_url": "https://api.yourcompany.com/webhooks/screening",
        "description": "Production screening webhook",
    }
    created = response("The webhook was created.", content(schema_ref("Created"), {"created": example(_CREATED)}))
    return operation(
        "createWebhook",
        "Create a webhook",
        "Each request creates a new webhook, with a new secret. The same URL and type may occur several times. Create "
        "several webhooks for several types or endpoints.",
        body=request_body(schema_ref("CreateRequest"), {"screening": example(wanted)}),
        answers={201: {**created, "links": links("getWebhook", "updateWebhook", "deleteWebhook")}},
        errors=(403,),
    )


def _list() -> Json:
    listed = {"webhooks": [{**_HEAD, **_DELIVERIES}, _OTHER]}
    return operation(
        "listWebhooks",
        "List all webhooks",
        "Returns all webhooks of the customer, the newest first. There are no pages.",
        answers={200: response("The webhooks.", content(schema_ref("WebhookList"), {"two": example(listed)}))},
    )


def _get() -> Json:
    return operation(
        "getWebhook",
        "Get a webhook",
        "Returns a webhook with its delivery statistics.",
        answers={200: response("The webhook.", content(schema_ref("Webhook"), {"webhook": example(_SHOWN)}))},
        errors=(404,),
    )


def _update() -> Json:
    updated = {"message": "Webhook updated", "id": _ID}
    return operation(
        "updateWebhook",
        "Update a webhook",
        "Changes the fields that are sent. The change counts for the next attempt of every delivery. While "
        "`is_active` is false events are skipped, and scheduled retries are cancelled.",
        body=request_body(schema_ref("UpdateRequest"), {"switch_off": example({"is_active": False})}),
        answers={
            200: response("The webhook was updated.", content(schema_ref("Updated"), {"updated": example(updated)}))
        },
        errors=(403, 404),
    )


def _delete() -> Json:
    deleted = {"message": "Webhook deleted successfully"}
    return operation(
        "deleteWebhook",
        "Delete a webhook",
        "Deletes a webhook for good. After the answer no attempt starts, and waiting retries are cancelled.",
        answers={
            200: response("The webhook was deleted.", content(schema_ref("Deleted"), {"deleted": example(deleted)}))
        },
        errors=(403, 404),
    )


def _test() -> Json:
    def of(name: str) -> Json:
        return example({"webhook_url": f"https://api.yourcompany.com/webhooks/{name}"})

    failed = {
        "status": example(_NOT_FOUND, "the endpoint answered with another status than 2xx"),
        "no_answer": example(_NO_ANSWER, "the endpoint did not answer"),
    }
    result = schema_ref("TestResult")
    return operation(
        "testWebhook",
        "Send a test event",
        f"Sends one event of the type `{TEST_TYPE}` to a URL, and answers with the result. There is one attempt. The "
        "secret of your newest active webhook with exactly this URL signs it. Without such a webhook the request is "
        "not signed. A key that may only read cannot send test events.",
        body=request_body(schema_ref("TestRequest"), {"screening": of("screening"), "missing": of("missing")}),
        answers={
            200: response("The test event was delivered.", content(result, {"delivered": example(_TESTED)})),
            502: response("The delivery failed.", content(result, failed)),
        },
        errors=(403,),
    )


def _webhooks(sender: Sender, sent: Sequence[Header]) -> Json:
    # Id and time are in every test event.
    headers = [replace(one, always=False) if one.name == "webhook-signature" else one for one in sent]
    body = json.loads(body_of_test(sender, "8c9d0e1f-2a3b-4c5d-8e6f-708192a3b4c5", "acme", 1_768_818_600.123456))
    data = closed({key: {"const": text} for key, text in TEST_DATA.items()})
    schema = {
        "type": "object",
        "properties": {
            "event_id": text("The id of this test."),
            "event_type": {"const": TEST_TYPE},
            "created_at": _TIME,
            "data": data,
        },
        "required": ["event_id", "event_type", "created_at", "data"],
    }
    return {
        TEST_TYPE: {
            "post": {
                "summary": "a customer requested a test",
                "description": "Sent once by the operation `testWebhook`. It may be unsigned.",
                **request(headers, TEST_TYPE, "an active webhook has exactly this URL"),
                "requestBody": request_body(schema, {"test": example(body)}),
            }
        }
    }


API: Final = Api(
    flavour=FLAVOUR,
    title="Onboarding API: webhooks",
    description="Manage the webhooks of a customer. All paths end in a slash. All bodies are JSON in UTF-8, of at most "
    "256 KiB and 32 levels. Keys of an object occur once.",
    security={
        "apiKey": {
            "type": "http",
            "scheme": "bearer",
            "description": "`Authorization: Bearer <key>`. All keys of a customer see the same webhooks.",
        }
    },
    schemas=_schemas,
    paths=_paths,
    webhooks=_webhooks,
)
