"""Example requests of each event type: of the sender's folder, else made up. Ids, times and secrets are constant."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from deploy.demo.simulator import Simulator
from producers.events.examples import CREATED_US, CUSTOMER, example_events, example_id
from schemas.avro.json_parser import integer
from schemas.avro.json_text import ExactFloat
from schemas.catalog.errors import EventError, UnreadableRecord
from schemas.events.event import ANY, Event
from schemas.records.delivery import uuid5
from schemas.senders.event_codec import EventDecoder, encode_event
from schemas.senders.sender import Sender
from schemas.senders.signing import HmacSha256Hex
from schemas.senders.standard_webhooks import PRIVATE, SYMMETRIC

NOW_S: Final = 1_771_236_060
# Enough for every type of a story with rare branches. A type that never occurs has no example.
_MAX_EVENTS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Example:
    """A request: its headers in order, its body, and the secret that signs it. `made_up`: not from the folder."""

    event_type: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    secret: str
    made_up: bool

    @property
    def value(self) -> Any:
        """The body as JSON. Numbers keep their digits."""
        return json.loads(self.body, parse_float=ExactFloat.of, parse_int=integer)


@dataclass(frozen=True, slots=True)
class _ExampleAttempt:
    job_id: str
    event_id: str
    event_type: str
    customer_id: str
    subscription_id: str = "acme-1"


def examples_of(sender: Sender) -> Mapping[str, tuple[Example, ...]]:
    """Return examples by type name, in the order of the types. `*` has the examples of types that are not listed.

    EventError names the file of an example that cannot be sent. A type without an example in the folder and without
    valid made-up values has none, for instance if its schema is recursive.
    """
    given = example_events(sender)
    found = {name: tuple(_given(sender, event) for event in events) for name, events in given.items()}
    lacking = {event_type.name for event_type in sender.all_types} - found.keys()
    for name, event in _simulated(sender, lacking):
        try:
            found[name] = (_request(sender, replace(event, event_id=example_id(event.event_type)), made_up=True),)
        except (EventError, UnreadableRecord):
            continue
    return {event_type.name: found[event_type.name] for event_type in sender.all_types if event_type.name in found}


def sample_headers(sender: Sender) -> Mapping[str, str]:
    """Return the headers of some request, with a body of no meaning."""
    name = next(iter(sender.event_types), "order.created")
    return dict(_headers(sender, Event("evt_1", name, CREATED_US, CUSTOMER, {}), b"{}"))


def example_secret(sender: Sender) -> str:
    """Return a public secret for examples."""
    if isinstance(sender.signature, HmacSha256Hex):
        return "secret-of-the-examples"[: sender.signature.longest_secret]
    key = base64.b64encode(bytes(range(32))).decode()
    return (SYMMETRIC if "v1" in sender.signature.versions else PRIVATE) + key


def _given(sender: Sender, event: Event) -> Example:
    try:
        return _request(sender, event, made_up=False)
    except UnreadableRecord as error:
        raise EventError(f"{sender.folder / 'examples'}: {event.event_type} cannot be sent: {error}") from error


def _simulated(sender: Sender, wanted: set[str]) -> Iterator[tuple[str, Event]]:
    """Yield one simulated event of each wanted type."""
    events = Simulator(1, [CUSTOMER], lambda: CREATED_US, sender).events()
    wanted = set(wanted)
    for event in islice(events, _MAX_EVENTS) if wanted else ():
        name = event.event_type if event.event_type in sender.event_types else ANY
        if name in wanted:
            wanted.remove(name)
            yield name, event
        if not wanted:
            return


def _request(sender: Sender, event: Event, *, made_up: bool) -> Example:
    body = sender.render(EventDecoder(sender).decode(encode_event(sender, event), str))
    return Example(event.event_type, tuple(_headers(sender, event, body)), body, example_secret(sender), made_up)


def _headers(sender: Sender, event: Event, body: bytes) -> Iterator[tuple[str, str]]:
    attempt = _ExampleAttempt(uuid5(event.event_id), event.event_id, event.event_type, event.customer_id)
    for line in sender.headers(attempt, body, [sender.signing_key(example_secret(sender))], NOW_S):
        name, _, value = line.decode().partition(": ")
        yield name, value
