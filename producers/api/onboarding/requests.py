"""Requests of the Onboarding API to drafts, changes and tests. Pure. Refusal has all problems of a request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from producers.api.fields import Fields, Rules
from schemas.events.event import Event
from schemas.senders.sender import Sender
from schemas.subscriptions.changes import Changes
from schemas.subscriptions.rules import KEEP, Draft, Generate
from schemas.subscriptions.subscription import Subscription

TEST_TYPE: Final = "test"
TEST_DATA: Final = {"message": "This is a test event"}  # O36
# Fields with the name and the meaning of a draft's field.
_SAME: Final = ("description", "filters")
# The one spelling that the API itself writes: every webhook has one address.
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_webhook_id(text: str) -> bool:
    """Return whether a path names a webhook: a UUID in its canonical form (O30)."""
    return _UUID.fullmatch(text) is not None


def draft_of(given: Mapping[str, Any], id_: str, customer_id: str, rules: Rules) -> Draft:
    """Return the webhook that a request creates (O16, O20, O24). The server makes its secret (O9)."""
    fields = Fields(given)
    sender = rules.sender
    event_type = fields.name_of("event_type", (sender.every_type, *sender.subscribable), required=True)
    url = fields.url("webhook_url", rules.urls, required=True)
    description = fields.text("description")
    draft = Draft(
        id=id_,
        sender=sender.name,
        customer_id=customer_id,
        url="" if url is KEEP else url,
        event_types=KEEP if event_type is KEEP else (event_type,),
        secret=Generate(),
        filters=fields.json_object("filters"),
        description="" if description is KEEP else description,
    )
    fields.check_draft(draft, rules, _SAME)
    return draft


def changes_of(given: Mapping[str, Any], current: Subscription, rules: Rules) -> Changes:
    """Return the changes that a request makes (O20 to O22)."""
    fields = Fields(given)
    fields.refuse_given("event_type", "secret_key")  # O21
    is_active = fields.flag("is_active")
    changes = Changes(
        url=fields.url("webhook_url", rules.urls),
        paused=KEEP if is_active is KEEP else not is_active,
        description=fields.text("description"),
        filters=fields.json_object("filters"),
    )
    fields.check_draft(changes.of(current), rules, [name for name in _SAME if name in given])
    return changes


def url_to_test(given: Mapping[str, Any], rules: Rules) -> str:
    """Return the URL of a test request (O41)."""
    fields = Fields(given)
    url = fields.url("webhook_url", rules.urls, required=True)
    fields.check()
    assert url is not KEEP
    return url


def signing_webhook(
    oldest_first: Iterable[Subscription], url: str, is_active: Callable[[Subscription], bool]
) -> Subscription | None:
    """Return the webhook whose secret signs a test: the newest active one with exactly this URL (O37)."""
    newest = None
    for subscription in oldest_first:
        if subscription.url == url and is_active(subscription):
            newest = subscription
    return newest


def body_of_test(sender: Sender, event_id: str, customer_id: str, now_s: float) -> bytes:
    """Return the body of a test event: the envelope of every event (O36)."""
    return sender.render(Event(event_id, TEST_TYPE, int(now_s * 1_000_000), customer_id, TEST_DATA))
