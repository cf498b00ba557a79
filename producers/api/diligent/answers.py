"""Answers of Diligent's API: bytes with the keys in the order of the document. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from producers.api.refusals import Refusal
from producers.api.times import milliseconds
from producers.api.webhooks import Webhook, names_every_type


def shown(webhook: Webhook, every_type: Sequence[str]) -> bytes:
    """Return a webhook: the answer to a create, a get and an update (D7, D8)."""
    return orjson.dumps(_object(webhook, every_type))


def listed(webhooks: Iterable[Webhook], every_type: Sequence[str]) -> bytes:
    """Return the answer to a list: an array, in the order of `webhooks` (D8)."""
    return orjson.dumps([_object(webhook, every_type) for webhook in webhooks])


def status_of(webhook: Webhook) -> str:
    """Return the status of a webhook.

    The latest attempt of any event decides between `failing` and `active` (D24). An attempt without an HTTP answer
    failed (D23).
    """
    if not webhook.is_active:
        return "disabled"
    totals = webhook.totals
    if totals.last_at_ms is None or (totals.last_status is not None and 200 <= totals.last_status < 300):
        return "active"
    return "failing"


def error_body(refusal: Refusal, _request_id: str) -> bytes:
    """Return the body of an error (D12). The document leaves no room for the request's id, which is in a header."""
    if refusal.code != "validation_error":
        return orjson.dumps({"error": refusal.message})
    problems = ({"code": one.code, "path": one.path, "message": one.message} for one in refusal.problems)
    return orjson.dumps({"error": list(problems)})


def _object(webhook: Webhook, every_type: Sequence[str]) -> dict[str, Any]:
    subscription = webhook.subscription
    totals = webhook.totals
    events = subscription.event_types
    return {
        "id": subscription.id,
        "webhook_url": subscription.url,
        "is_active": webhook.is_active,
        "has_secret": bool(subscription.secrets),
        "status": status_of(webhook),
        "last_delivery_at": None if totals.last_at_ms is None else milliseconds(totals.last_at_ms),
        "last_delivery_status": totals.last_status,
        "events": every_type if names_every_type(events) else events,
    }
