"""Requests of Diligent's API to drafts and changes. Pure. Refusal has all problems of a request (D12, D15)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from producers.api.fields import Fields, Rules
from schemas.subscriptions.changes import Changes
from schemas.subscriptions.rules import KEEP, Draft, Given, NoSecret, SecretSource
from schemas.subscriptions.subscription import Subscription

# The field with the name and the meaning of a draft's field.
_SAME: Final = ("secret",)


def draft_of(given: Mapping[str, Any], id_: str, customer_id: str, rules: Rules) -> Draft:
    """Return the webhook that a request creates."""
    fields = Fields(given)
    url = fields.url("webhook_url", rules.urls, required=True)
    secret = _secret(fields)
    is_active = fields.flag("is_active")
    events = fields.names_of("events", rules.sender.subscribable)
    draft = Draft(
        id=id_,
        sender=rules.sender.name,
        customer_id=customer_id,
        url="" if url is KEEP else url,
        event_types=() if events is KEEP else events,
        secret=NoSecret() if secret is None else secret,
        paused=is_active is False,
    )
    fields.check_draft(draft, rules, _SAME)
    return draft


def changes_of(given: Mapping[str, Any], current: Subscription, rules: Rules) -> Changes:
    """Return the changes that a request makes: only the fields sent change, and `events` as a whole (D11)."""
    fields = Fields(given)
    url = fields.url("webhook_url", rules.urls)
    secret = _secret(fields)
    is_active = fields.flag("is_active")
    changes = Changes(
        url=url,
        event_types=fields.names_of("events", rules.sender.subscribable),
        secret=secret,
        paused=KEEP if is_active is KEEP else not is_active,
    )
    fields.check_draft(changes.of(current), rules, _SAME)
    return changes


def _secret(fields: Fields) -> SecretSource:
    """Return the secret of a request: None if it is omitted, no secret if it is empty."""
    secret = fields.text("secret")
    if secret is KEEP:
        return None
    return Given(secret) if secret else NoSecret()
