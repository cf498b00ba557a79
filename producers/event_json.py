"""Events as JSON: as the contracts' examples write them, with a `customer_id` beside their four keys where it is known.

All that is wrong with a document is said at once, each with the event and the field that it is about.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from producers.validation import Validator, did_you_mean, is_text, short
from schemas.errors import EventError
from schemas.event import Event
from schemas.sender import Sender

_FIELDS: Final = ("event_id", "event_type", "created_at", "customer_id", "data")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Enough to see a pattern, few enough to read.
_MAX_PROBLEMS: Final = 20


@dataclass(frozen=True, slots=True)
class EventReader:
    """Turns JSON into events of a sender; what is missing is filled in from `now_us` (µs since 1970) and `new_id`.

    `customer_id` is the customer of events that name none.
    """

    sender: Sender
    now_us: Callable[[], int]
    new_id: Callable[[], str]
    customer_id: str | None = None
    _validators: dict[str, Validator] = field(default_factory=dict)

    def read(self, text: str, file: str) -> list[Event]:
        """Read one object, an array of objects or JSON Lines; EventError names `file` and all that is wrong."""
        events: list[Event] = []
        problems: list[str] = []
        for index, document in enumerate(_documents(text, file), start=1):
            found = list(self._problems(document))
            name = document.get("event_id") if isinstance(document, dict) else None
            where = f"{file}: event {index}" + (f" ({short(name)[1:-1]})" if isinstance(name, str) and name else "")
            problems += [f"{where}: {problem}" for problem in found]
            if not problems:
                events.append(self._event(document))
        if problems:
            more = len(problems) - _MAX_PROBLEMS
            raise EventError("\n".join(problems[:_MAX_PROBLEMS] + ([f"{file}: and {more} more"] if more > 0 else [])))
        return events

    def event(self, document: Mapping[str, Any]) -> Event:
        """Turn one object into an event; EventError has a line for each thing that is wrong with it."""
        problems = list(self._problems(document))
        if problems:
            raise EventError("\n".join(f"event {short(document.get('event_id'))}: {problem}" for problem in problems))
        return self._event(document)

    def data_problems(self, event_type: str, data: Any) -> Iterator[str]:
        """Yield a sentence for each thing in `data` that does not fit a known event type."""
        validator = self._validators.get(event_type)
        if validator is None:
            schema = self.sender.event_types[event_type].schema["fields"][-1]["type"]
            validator = self._validators.setdefault(event_type, Validator(schema))
        return validator.problems(data, "data")

    def _problems(self, document: Any) -> Iterator[str]:
        if not isinstance(document, Mapping):
            yield f"expected an object, found {short(document)}"
            return
        for key in document:
            if key not in _FIELDS:
                yield f"{short(key)[1:-1]}: an event has no such field{did_you_mean(str(key), _FIELDS)}"
        event_id, customer_id = document.get("event_id"), document.get("customer_id")
        if event_id is not None and not (event_id and is_text(event_id)):
            yield f"event_id: expected a string of one character or more, found {short(event_id)}"
        if customer_id is None and self.customer_id is None:
            yield "customer_id: expected a string, found nothing; write it into the event or give --customer"
        elif customer_id is not None and not (customer_id and is_text(customer_id)):
            yield f"customer_id: expected a string of one character or more, found {short(customer_id)}"
        if document.get("created_at") is not None:
            try:
                parse_time(document["created_at"])
            except ValueError as error:
                yield f"created_at: {error}"
        yield from self._type_problems(document)

    def _type_problems(self, document: Mapping[str, Any]) -> Iterator[str]:
        event_type, known = document.get("event_type"), self.sender.event_types
        if not isinstance(event_type, str):
            found = "nothing" if "event_type" not in document else short(event_type)
            yield f"event_type: expected a string, found {found}"
        elif event_type not in known:
            yield f"event_type: {self.sender.name} has no type {short(event_type)}{did_you_mean(event_type, known)}"
        elif "data" not in document:
            yield "data: expected an object, found nothing"
        else:
            yield from self.data_problems(event_type, document["data"])

    def _event(self, document: Mapping[str, Any]) -> Event:
        created_at = document.get("created_at")
        return Event(
            event_id=document.get("event_id") or self.new_id(),
            event_type=document["event_type"],
            created_at_us=self.now_us() if created_at is None else parse_time(created_at),
            customer_id=document.get("customer_id") or self.customer_id or "",
            data=dict(document["data"]),
        )


def parse_time(value: Any) -> int:
    """Read ISO 8601 with an offset as µs since 1970, finer digits cut; ValueError says what is wrong."""
    try:
        time = datetime.fromisoformat(value)
        if time.tzinfo is None:
            raise ValueError
        return (time - _EPOCH) // timedelta(microseconds=1)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"expected a time such as 2026-02-16T10:01:00Z, found {short(value)}") from None


def _documents(text: str, file: str) -> list[Any]:
    """Return the objects of one JSON document (an object, an array) or of JSON Lines."""
    try:
        document = _parse(text)
    except ValueError as error:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
        if not lines:
            raise EventError(f"{file}: the file is empty") from error
        if len(lines) == 1 or not str(error).startswith("Extra data"):
            raise EventError(f"{file}: not JSON: {error}") from error
        return [_parse_line(line, f"{file}: line {number}") for number, line in lines]
    return document if isinstance(document, list) else [document]


def _parse_line(line: str, where: str) -> Any:
    try:
        return _parse(line)
    except ValueError as error:
        raise EventError(f"{where}: not JSON: {error}") from error


def _parse(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object; a key that comes twice is an error, where the last would win silently."""
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {short(twice)} is there twice")
    return result
