"""Events as JSON, in any of the forms of producers/events/forms.py: each example of a contract is one as it stands.

All that is wrong with a document is said at once, each with the event and the field that it is about.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from producers.events.forms import EventForms, Given
from producers.events.validation import did_you_mean, is_text, problems, short
from schemas.avro.json_form import embedding
from schemas.avro.json_text import ExactFloat, JsonText, object_text
from schemas.catalog.errors import EventError
from schemas.events.event import Event
from schemas.senders.sender import Sender

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Enough to see a pattern, few enough to read.
_MAX_PROBLEMS: Final = 20
# Python's int takes no more digits; a number may have them where it is passed through.
_MOST_DIGITS: Final = 4_000


@dataclass(frozen=True, slots=True)
class EventReader:
    """Turns JSON into events of a sender; what is missing is filled in from `now_us` (µs since 1970) and `new_id`.

    `customer_id` is the customer of events that name none.
    """

    sender: Sender
    now_us: Callable[[], int]
    new_id: Callable[[], str]
    customer_id: str | None = None
    _forms: EventForms = field(init=False)

    def __post_init__(self) -> None:
        """Prepare what depends on the sender alone."""
        object.__setattr__(self, "_forms", EventForms(self.sender))

    def read(self, text: str, file: str) -> list[Event]:
        """Read one object, an array of objects or JSON Lines; EventError names `file` and all that is wrong."""
        events: list[Event] = []
        lines: list[str] = []
        for index, document in enumerate(_documents(text, file), start=1):
            given = self._given(document)
            found = list(self._problems(given))
            name = given.values.get("event_id")
            where = f"{file}: event {index}" + (f" ({short(name)[1:-1]})" if isinstance(name, str) and name else "")
            lines += [f"{where}: {problem}" for problem in found]
            if not lines:
                events.append(self._event(given))
        if lines:
            more = len(lines) - _MAX_PROBLEMS
            raise EventError("\n".join(lines[:_MAX_PROBLEMS] + ([f"{file}: and {more} more"] if more > 0 else [])))
        return events

    def event(self, document: Mapping[str, Any]) -> Event:
        """Turn one object into an event; EventError has a line for each thing that is wrong with it."""
        given = self._given(document)
        found = list(self._problems(given))
        if found:
            name = short(given.values.get("event_id"))
            raise EventError("\n".join(f"event {name}: {problem}" for problem in found))
        return self._event(given)

    def data_problems(self, event_type: str, data: Any, name: str = "data") -> Iterator[str]:
        """Yield a sentence for each thing in `data` that does not fit a known event type, or its conditions."""
        known = self.sender.type_of(event_type)
        assert known is not None
        found = list(problems(known.data, data, name))
        yield from found
        if not found and self.sender.conditions:
            if embedding(known.data) is not None and isinstance(data, str | JsonText):
                data = json.loads(data if isinstance(data, str) else data.text)
            yield from self.sender.problems(event_type, data)

    def _given(self, document: Any) -> Given:
        if not isinstance(document, Mapping):
            return Given(problems=[f"expected an object, found {short(document)}"])
        return self._forms.read(document, _parse)

    def _problems(self, given: Given) -> Iterator[str]:
        yield from given.problems
        if given.problems and not given.values:
            return
        event_id, customer_id = given.values.get("event_id"), given.values.get("customer_id")
        if event_id is not None and not (event_id and is_text(event_id)):
            yield f"{given.key('event_id')}: expected a string of one character or more, found {short(event_id)}"
        if customer_id is None and self.customer_id is None:
            yield "customer_id: expected a string, found nothing; write it into the event or give --customer"
        elif customer_id is not None and not (customer_id and is_text(customer_id)):
            yield f"{given.key('customer_id')}: expected a string of one character or more, found {short(customer_id)}"
        if given.values.get("created_at") is not None:
            try:
                parse_time(given.values["created_at"])
            except ValueError as error:
                yield f"{given.key('created_at')}: {error}"
        yield from self._type_problems(given)

    def _type_problems(self, given: Given) -> Iterator[str]:
        event_type, known, key = given.values.get("event_type"), self.sender.event_types, given.key("event_type")
        if event_type is None and key != "event_type":  # it was a header, about which all is said
            return
        if not isinstance(event_type, str):
            found = "nothing" if "event_type" not in given.values else short(event_type)
            yield f"{key}: expected a string, found {found}"
        elif self.sender.type_of(event_type) is None and self.sender.any_type is not None:
            yield f"{key}: {short(event_type)} is no type: expected letters, digits, '.', '_' and '-', and not 'all'"
        elif self.sender.type_of(event_type) is None:
            yield f"{key}: {self.sender.name} has no type {short(event_type)}{did_you_mean(event_type, known)}"
        elif "data" not in given.values:
            yield "data: expected an object, found nothing"
        else:
            yield from self.data_problems(event_type, given.values["data"], given.key("data"))

    def _event(self, given: Given) -> Event:
        created_at, data = given.values.get("created_at"), given.values["data"]
        customer_id = given.values.get("customer_id")
        if self.customer_id is not None and given.key("customer_id").startswith("headers."):
            customer_id = None  # a request that is played again, for the customer who was named
        return Event(
            event_id=given.values.get("event_id") or self.new_id(),
            event_type=given.values["event_type"],
            created_at_us=self.now_us() if created_at is None else parse_time(created_at),
            customer_id=customer_id or self.customer_id or "",
            data=object_text(data) if isinstance(data, str) else data if isinstance(data, JsonText) else dict(data),
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
        return json.loads(text, object_pairs_hook=_object, parse_float=ExactFloat.of, parse_int=_integer)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _integer(text: str) -> int | JsonText:
    return int(text) if len(text) < _MOST_DIGITS else JsonText(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object; a key that comes twice is an error, where the last would win silently."""
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {short(twice)} is there twice")
    return result
