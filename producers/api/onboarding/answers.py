"""Answers of the Onboarding API: bytes with the keys in the order of the document. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

import orjson

from producers.api.ports import TestResult
from producers.api.refusals import Refusal
from producers.api.times import microseconds_offset
from producers.api.webhooks import Webhook, names_every_type
from schemas.catalog.errors import InvalidInput
from schemas.subscriptions.filters import NO_FILTERS, read_filters
from schemas.subscriptions.subscription import Subscription

DELETED: Final = orjson.dumps({"message": "Webhook deleted successfully"})
_FAILED: Final = "Test webhook delivery failed: "


def created(subscription: Subscription, secret: str) -> bytes:
    """Return the answer to a creation: the only one with the secret."""
    return orjson.dumps(
        {
            "id": subscription.id,
            "event_type": _event_type(subscription),
            "webhook_url": subscription.url,
            "secret_key": secret,
            "message": "Webhook created successfully",
        }
    )


def listed(webhooks: Iterable[Webhook]) -> bytes:
    """Return the answer to a list, in the order of `webhooks`."""
    return orjson.dumps({"webhooks": [{**_head(webhook), **_deliveries(webhook)} for webhook in webhooks]})


def shown(webhook: Webhook) -> bytes:
    """Return the answer to a get: an entry of the list, with `updated_at` after `created_at` (O23)."""
    updated_at = microseconds_offset(webhook.subscription.updated_at_ms)
    return orjson.dumps({**_head(webhook), "updated_at": updated_at, **_deliveries(webhook)})


def updated(id_: str) -> bytes:
    """Return the answer to an update."""
    return orjson.dumps({"message": "Webhook updated", "id": id_})


def is_delivered(result: TestResult) -> bool:
    """Return whether a test delivery succeeded: any 2xx (O32)."""
    return result.status is not None and 200 <= result.status < 300


def tested(result: TestResult) -> bytes:
    """Return the answer to a test (O39, O40)."""
    success = is_delivered(result)
    return orjson.dumps(
        {
            "success": success,
            "message": "Test webhook delivered successfully" if success else _FAILED + _reason(result),
            "log_id": result.log_id,
            "http_status_code": result.status,
        }
    )


def error_body(refusal: Refusal, request_id: str) -> bytes:
    """Return the body of an error (O2, O3): messages by field if the request is invalid."""
    body: dict[str, Any] = {"error": refusal.message, "code": refusal.code, "request_id": request_id}
    if refusal.code == "validation_error":
        errors: dict[str, list[str]] = {}
        for problem in refusal.problems:
            name = str(problem.path[0]) if problem.path else "body"
            errors.setdefault(name, []).append(problem.message)
        body["errors"] = errors
    return orjson.dumps(body)


def _head(webhook: Webhook) -> dict[str, Any]:
    subscription = webhook.subscription
    return {
        "id": subscription.id,
        "event_type": _event_type(subscription),
        "webhook_url": subscription.url,
        "is_active": webhook.is_active,
        "description": subscription.description,
        "filters": _filters(subscription.filters),
        "created_at": microseconds_offset(subscription.created_at_ms),
    }


def _deliveries(webhook: Webhook) -> dict[str, Any]:
    totals = webhook.totals
    return {
        # A run counts when it is delivered or dead (O26).
        "stats": {
            "total_deliveries": totals.delivered + totals.dead,
            "successful_deliveries": totals.delivered,
            "failed_deliveries": totals.dead,
        },
        # The latest attempt, successful or not (O27).
        "last_triggered_at": None if totals.last_at_ms is None else microseconds_offset(totals.last_at_ms),
    }


def _event_type(subscription: Subscription) -> str:
    """Return the one event type. Commands can write records with several, which the API cannot."""
    return "all" if names_every_type(subscription.event_types) else ", ".join(subscription.event_types)


# Webhooks share few filters, and most have none.
@lru_cache(maxsize=4_096)
def _filters(text: str | None) -> orjson.Fragment:
    """Return the object as it was stored. A text that is no object, which the API cannot write, reads as empty."""
    try:
        return orjson.Fragment(read_filters(NO_FILTERS if text is None else text))
    except InvalidInput:
        return orjson.Fragment(NO_FILTERS)


def _reason(result: TestResult) -> str:
    if result.status is None:
        return result.reason
    try:
        phrase = HTTPStatus(result.status).phrase
    except ValueError:
        phrase = "Unknown Status"
    return f"HTTP {result.status}: {phrase}"
