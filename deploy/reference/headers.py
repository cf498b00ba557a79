"""Descriptions of a sender's headers for documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from schemas.events.event import ANY
from schemas.senders.header_lines import KNOWN, PLACEHOLDER
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
_OF_TYPE: Final = "a value that depends on the event's type"
_IDS: Final = ("event_id", "job_id")


@dataclass(frozen=True, slots=True)
class Header:
    """A header. `always`: every request has it, otherwise only requests of subscriptions with a secret.

    `constant` is its value if that never changes. `by_type` has its value for each event type if the type decides it.
    `example` is a value of a header whose form is not obvious.
    """

    name: str
    meaning: str
    always: bool
    constant: str | None = None
    by_type: Mapping[str, str] = field(default_factory=dict)
    example: str | None = None

    @property
    def values(self) -> tuple[str, ...]:
        """All values that the header can have; empty if there are others."""
        return tuple(dict.fromkeys(self.by_type.values())) if self.constant is None else (self.constant,)


def headers_of(sender: Sender, sample: Mapping[str, str]) -> list[Header]:
    """Return the headers in the order of the request, signature headers last. `sample` are headers of a request."""
    templates = (_template(sender, name, text, sample.get(name)) for name, text in sender.header_templates.items())
    return [*templates, *_signature(sender)]


def id_header(sender: Sender) -> str | None:
    """Return the header that is the same in all deliveries of an event, None if there is none."""
    if not isinstance(sender.signature, HmacSha256Hex):
        return "webhook-id"
    whole = {f"{{{placeholder}}}" for placeholder in _IDS}
    return next((name for name, template in sender.header_templates.items() if template in whole), None)


def _template(sender: Sender, name: str, template: str, sample: str | None) -> Header:
    # sender.toml has a value of each placeholder for every event type, so no request lacks the header.
    placeholders = PLACEHOLDER.findall(template)
    if not placeholders:
        return Header(name, "the same in every request", always=True, constant=template)
    by_type = _by_type(sender, template, placeholders)
    if by_type and len({*by_type.values()}) == 1:
        return Header(name, "the same in every request", always=True, constant=next(iter(by_type.values())))
    meaning = ", ".join(dict.fromkeys(_MEANINGS.get(one, _OF_TYPE) for one in placeholders))
    is_whole = template == f"{{{placeholders[0]}}}"
    return Header(name, meaning, always=True, by_type=by_type, example=None if is_whole else sample)


def _by_type(sender: Sender, template: str, placeholders: list[str]) -> Mapping[str, str]:
    """Return the value for each event type; empty if something other than the type decides."""
    values = {}
    for event_type in sender.all_types:
        name = event_type.name
        known = {} if name == ANY else {"event_type": name, "EVENT_TYPE": name.upper()}
        for placeholder, constants in sender.header_constants.items():
            if placeholder not in KNOWN and name in constants:
                known[placeholder] = constants[name]
        value = template
        for placeholder in placeholders:
            if placeholder not in known:
                return {}
            value = value.replace(f"{{{placeholder}}}", known[placeholder])
        values[name] = value
    return values


def _signature(sender: Sender) -> list[Header]:
    scheme = sender.signature
    if isinstance(scheme, HmacSha256Hex):
        shown = f"{scheme.prefix}…" if scheme.prefix else "…"
        meaning = f"{shown}: HMAC-SHA256 of the body in lower-case hexadecimal"
        return [Header(scheme.header, meaning, always=scheme.required)]
    forms = " or ".join(f"{version},…" for version in scheme.versions)
    identified = scheme.required or scheme.unsigned == "id_and_timestamp"
    return [
        Header("webhook-id", f"{_ID}; the same in all deliveries of the event", always=identified),
        Header("webhook-timestamp", "when this attempt was made, in Unix seconds", always=identified),
        Header("webhook-signature", f"one or more signatures, {forms}, separated by spaces", always=scheme.required),
    ]
