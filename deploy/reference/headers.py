"""Descriptions of a sender's headers for documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from schemas.senders.header_lines import OF_ATTEMPT, PLACEHOLDER
from schemas.senders.sender import Sender
from schemas.senders.signing import HmacSha256Hex

_ID: Final = "the event's id, or its uuid5 if the id has characters other than letters, digits, - and _"
_MEANINGS: Final[Mapping[str, str]] = {
    "version": "the version of Signpost",
    "event_id": _ID,
    "job_id": "the id of this delivery, the same in all attempts of one event for one subscription",
    "event_type": "the event's type",
    "EVENT_TYPE": "the event's type in upper case",
    "customer_id": "the customer's id",
    "subscription_id": "the subscription's id",
}
_IDS: Final = ("event_id", "job_id")


@dataclass(frozen=True, slots=True)
class Header:
    """A header. `constant` is its value if that never changes. `always`: every request has it."""

    name: str
    meaning: str
    constant: str | None
    always: bool


def headers_of(sender: Sender) -> list[Header]:
    """Return the headers in the order of the request, signature headers last."""
    return [*(_template(name, text) for name, text in sender.header_templates.items()), *_signature(sender)]


def id_header(sender: Sender) -> str | None:
    """Return the header that is the same in all deliveries of an event, None if there is none."""
    if not isinstance(sender.signature, HmacSha256Hex):
        return "webhook-id"
    whole = {f"{{{placeholder}}}" for placeholder in _IDS}
    return next((name for name, template in sender.header_templates.items() if template in whole), None)


def _template(name: str, template: str) -> Header:
    placeholders = PLACEHOLDER.findall(template)
    if not placeholders:
        return Header(name, "the same in every request", template, True)
    meanings = [_MEANINGS.get(placeholder, f"{placeholder} of the event's type") for placeholder in placeholders]
    text = ", ".join(meanings) if template == f"{{{placeholders[0]}}}" else f"{', '.join(meanings)}, as in {template}"
    known = {"version", *OF_ATTEMPT}
    return Header(name, text, None, known.issuperset(placeholders))


def _signature(sender: Sender) -> list[Header]:
    scheme = sender.signature
    if isinstance(scheme, HmacSha256Hex):
        shown = f"{scheme.prefix}…" if scheme.prefix else "…"
        meaning = f"{shown}: HMAC-SHA256 of the body in lower-case hexadecimal"
        return [Header(scheme.header, meaning, None, scheme.required)]
    identified = scheme.required or scheme.unsigned == "id_and_timestamp"
    return [
        Header("webhook-id", f"{_ID}; the same in all deliveries of the event", None, identified),
        Header("webhook-timestamp", "when this attempt was made, in Unix seconds", None, identified),
        Header("webhook-signature", "one or more signatures separated by spaces, v1,…", None, scheme.required),
    ]
