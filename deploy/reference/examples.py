"""Example requests, one per event type, with constant ids, times and secrets."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from deploy.demo.simulator import Simulator
from schemas.catalog.errors import EventError, UnreadableRecord
from schemas.events.event import ANY, Event
from schemas.records.delivery import uuid5
from schemas.senders.event_codec import EventDecoder, encode_event
from schemas.senders.sender import Sender
from schemas.senders.signing import HmacSha256Hex
from schemas.senders.standard_webhooks import PRIVATE, SYMMETRIC

NOW_S: Final = 1_771_236_060
_CREATED_US: Final = 1_771_236_059_123_456
_CUSTOMER: Final = "acme"
# Enough for every type of a story with rare branches. A type that never occurs has no example.
_MAX_EVENTS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Example:
    """A request: its headers in order, its body, and the secret that signs it."""

    event_type: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    secret: str

    @property
    def value(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class _Attempt:
    job_id: str
    event_id: str
    event_type: str
    customer_id: str = _CUSTOMER
    subscription_id: str = "acme-1"


def examples_of(sender: Sender) -> Mapping[str, Example]:
    """Return examples by type name, in the order of the types. `*` has the example of a type that is not listed.

    A type without valid generated values has no example, for instance if its schema is recursive.
    """
    events = Simulator(1, [_CUSTOMER], lambda: _CREATED_US, sender).events()
    wanted = {event_type.name for event_type in sender.all_types}
    found: dict[str, Event] = {}
    for event in islice(events, _MAX_EVENTS):
        name = event.event_type if event.event_type in sender.event_types else ANY
        if name in wanted:
            found.setdefault(name, event)
        if len(found) == len(wanted):
            break
    made = {name: example for name in found if (example := _example(sender, found[name])) is not None}
    return {event_type.name: made[event_type.name] for event_type in sender.all_types if event_type.name in made}


def example_secret(sender: Sender) -> str:
    """Return a public secret for examples."""
    if isinstance(sender.signature, HmacSha256Hex):
        return "secret-of-the-examples"[: sender.signature.longest_secret]
    key = base64.b64encode(bytes(range(32))).decode()
    return (SYMMETRIC if "v1" in sender.signature.versions else PRIVATE) + key


def _example(sender: Sender, event: Event) -> Example | None:
    event = replace(event, event_id=f"evt_{uuid5(event.event_type).replace('-', '')[:20]}")
    try:
        body = sender.render(EventDecoder(sender).decode(encode_event(sender, event), str))
    except (EventError, UnreadableRecord):
        return None
    secret = example_secret(sender)
    attempt = _Attempt(uuid5(event.event_id), event.event_id, event.event_type)
    lines = sender.headers(attempt, body, [sender.signing_key(secret)], NOW_S)
    headers = tuple((name, value) for name, _, value in (line.decode().partition(": ") for line in lines))
    return Example(event.event_type, headers, body, secret)
