"""Conversion of the JSON forms of an event to the native keys event_id, event_type, created_at, customer_id, data.

native      the five native keys, for every sender
envelope    the keys of the sender's request body, such as event_at, with an optional customer_id
request     {"headers": {…}, "payload": …}: a whole request; the payload is the body or its text
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from producers.events.validation import did_you_mean, short
from schemas.avro.json_check import object_text
from schemas.senders.sender import Sender

NATIVE: Final = ("event_id", "event_type", "created_at", "customer_id", "data")
_REQUEST: Final = ("headers", "payload")
# The placeholder of documents for a value that they do not show.
_ELIDED: Final = "..."


@dataclass(slots=True)
class GivenEvent:
    """An event as given: values by native key, the given key of each, and errors in the form."""

    values: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def key(self, name: str) -> str:
        """Return the given key of a value."""
        return self.keys.get(name, name)

    def put(self, name: str, value: Any, key: str) -> None:
        """Add a value; a value under two keys is an error."""
        if name in self.values:
            self.problems.append(f"{key}: {self.keys[name]} has the same meaning; give one of them")
        else:
            self.values[name] = value
            self.keys[name] = key


class EventForms:
    """Reads the forms of one sender."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._keys = {**{name: name for name in NATIVE}, **sender.envelope_keys}
        # Headers of the sender's requests that consist of a single value.
        self._headers = {
            name.lower(): template[1:-1]
            for name, template in sender.header_templates.items()
            if template in {"{event_type}", "{EVENT_TYPE}", "{customer_id}"}
        }
        self._names = {**sender.aliases}
        for name in sender.event_types:
            self._names |= {name: name, name.upper(): name}

    def read(self, document: Mapping[str, Any], parse: Any) -> GivenEvent:
        """Convert an object to the native keys; `parse` parses JSON text or raises ValueError."""
        given = GivenEvent()
        if all(key in document for key in _REQUEST):
            self._take_request(given, document, parse)
        else:
            self._take(given, document)
        return given

    def _take(self, given: GivenEvent, document: Mapping[str, Any], prefix: str = "") -> None:
        for key, value in document.items():
            name = self._keys.get(key)
            if name is None:
                known = did_you_mean(str(key), self._keys)
                given.problems.append(f"{prefix}{short(key)[1:-1]}: an event has no such field{known}")
            else:
                given.put(name, value, f"{prefix}{key}")

    def _take_request(self, given: GivenEvent, document: Mapping[str, Any], parse: Any) -> None:
        headers = document["headers"]
        payload = document["payload"]
        self._take(given, {key: value for key, value in document.items() if key not in _REQUEST})
        if isinstance(headers, Mapping):
            given.problems += self._take_headers(given, headers)
        else:
            given.problems.append(f"headers: expected an object, found {short(headers)}")
        if not self._sender.envelope_keys:
            given.put("data", payload, "payload")
            return
        if isinstance(payload, str):
            try:
                payload = parse(object_text(payload).text)
            except ValueError as error:
                given.problems.append(f"payload: {error}")
                return
        if isinstance(payload, Mapping):
            self._take(given, payload, "payload.")
        else:
            given.problems.append(f"payload: expected an object, found {short(payload)}")

    def _take_headers(self, given: GivenEvent, headers: Mapping[str, Any]) -> Iterator[str]:
        for name, value in headers.items():
            meaning = self._headers.get(str(name).lower())
            if meaning is None or value == _ELIDED:
                continue
            key = f"headers.{name}"
            if meaning == "customer_id":
                given.values.setdefault("customer_id", value)
                given.keys.setdefault("customer_id", key)
            elif value in self._names:
                given.put("event_type", self._names[value], key)
            else:
                given.put("event_type", None, key)
                yield f"{key}: {self._sender.name} has no type {short(value)}{did_you_mean(str(value), self._names)}"
