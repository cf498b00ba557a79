"""Reader of events in JSON, in any form of producers/events/forms.py. The examples of the contracts can be read too.

All errors in a document are reported together, each with its event and field.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from producers.events.forms import EventForms, GivenEvent
from producers.events.validation import did_you_mean, problems, short, text_problem
from schemas.avro.json_check import object_text
from schemas.avro.json_form import embedding
from schemas.avro.json_parser import parse
from schemas.avro.json_text import JsonText
from schemas.catalog.errors import EventError
from schemas.events.event import Event
from schemas.senders.sender import Sender

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Enough to show a pattern, and few enough to read.
_MAX_PROBLEMS: Final = 20
_SPACE: Final = " \t\r"


@dataclass(frozen=True, slots=True)
class EventReader:
    """Converts JSON to events of a sender. `now_us` (µs since 1970) and `new_id` supply a missing time and id.

    `customer_id` is the customer of events that do not name one. `others` are senders whose events may have been given
    by mistake; errors name the right one.
    """

    sender: Sender
    now_us: Callable[[], int]
    new_id: Callable[[], str]
    customer_id: str | None = None
    others: Mapping[str, Sender] = field(default_factory=dict)
    _forms: EventForms = field(init=False)

    def __post_init__(self) -> None:
        """Build the parts that depend only on the sender."""
        object.__setattr__(self, "_forms", EventForms(self.sender))

    def read(self, text: str, file: str) -> list[Event]:
        """Read one object, an array of objects or JSON Lines; EventError has `file` and all errors."""
        events: list[Event] = []
        lines: list[str] = []
        for index, document in enumerate(_documents(text, file), start=1):
            given = self._given(document)
            found = self._problems_of(document, given)
            name = given.values.get("event_id")
            label = f" ({short(name)[1:-1]})" if isinstance(name, str) and name else ""
            where = f"{file}: event {index}{label}"
            lines += [f"{where}: {problem}" for problem in found]
            if not lines:
                events.append(self._event(given))
        if lines:
            shown = lines[:_MAX_PROBLEMS]
            if len(lines) > len(shown):
                shown.append(f"{file}: and {len(lines) - len(shown)} more")
            raise EventError("\n".join(shown))
        return events

    def event(self, document: Mapping[str, Any]) -> Event:
        """Convert one object to an event; EventError has one line per error."""
        given = self._given(document)
        found = self._problems_of(document, given)
        if found:
            name = short(given.values.get("event_id"))
            raise EventError("\n".join(f"event {name}: {problem}" for problem in found))
        return self._event(given)

    def data_problems(self, event_type: str, data: Any, name: str = "data") -> Iterator[str]:
        """Yield a sentence for each error in the `data` of a known event type, including violated conditions."""
        known = self.sender.type_of(event_type)
        assert known is not None
        found = problems(known.data, data, name)
        yield from found
        if not found and self.sender.conditions:
            if embedding(known.data) is not None and isinstance(data, str | JsonText):
                data = parse(data if isinstance(data, str) else data.text)
            yield from self.sender.problems(event_type, data)

    def _given(self, document: Any) -> GivenEvent:
        if not isinstance(document, Mapping):
            return GivenEvent(problems=[f"expected an object, found {short(document)}"])
        return self._forms.read(document, _parse)

    def _problems_of(self, document: Any, given: GivenEvent) -> list[str]:
        """Return the errors of an event; a single one if its type is that of another sender."""
        found = list(self._problems(given))
        if not found or not isinstance(document, Mapping) or self._has_type(document, self.sender):
            return found
        right = [name for name, other in self.others.items() if self._has_type(document, other)]
        if not right:
            return found
        options = " or ".join(f"--sender {name}" for name in right)
        return [f"{self.sender.name} is the wrong sender: this is an event of {', '.join(right)}; give {options}"]

    def _has_type(self, document: Mapping[str, Any], sender: Sender) -> bool:
        """Return whether a sender lists the type of an event that is given in a form of that sender."""
        event_type = EventForms(sender).read(document, _parse).values.get("event_type")
        return isinstance(event_type, str) and event_type in sender.event_types

    def _problems(self, given: GivenEvent) -> Iterator[str]:
        yield from given.problems
        if given.problems and not given.values:
            return
        event_id = given.values.get("event_id")
        customer_id = given.values.get("customer_id")
        if event_id is not None:
            yield from text_problem(given.key("event_id"), event_id)
        if customer_id is None and self.customer_id is None:
            yield "customer_id: expected a string, found nothing; write it into the event or give --customer"
        elif customer_id is not None:
            yield from text_problem(given.key("customer_id"), customer_id)
        if given.values.get("created_at") is not None:
            try:
                parse_time(given.values["created_at"])
            except ValueError as error:
                yield f"{given.key('created_at')}: {error}"
        yield from self._type_problems(given)

    def _type_problems(self, given: GivenEvent) -> Iterator[str]:
        event_type = given.values.get("event_type")
        key = given.key("event_type")
        if event_type is None and key != "event_type":  # it came from a header, and its error is already reported
            return
        if not isinstance(event_type, str):
            found = "nothing" if "event_type" not in given.values else short(event_type)
            yield f"{key}: expected a string, found {found}"
        elif self.sender.type_of(event_type) is None and self.sender.any_type is not None:
            expected = "letters, digits, '.', '_' and '-', and not 'all'"
            yield f"{key}: {short(event_type)} is not an event type: expected {expected}"
        elif self.sender.type_of(event_type) is None:
            suggestion = did_you_mean(event_type, self.sender.event_types)
            yield f"{key}: {self.sender.name} has no type {short(event_type)}{suggestion}"
        elif "data" not in given.values:
            yield "data: expected an object, found nothing"
        else:
            yield from self.data_problems(event_type, given.values["data"], given.key("data"))

    def _event(self, given: GivenEvent) -> Event:
        created_at = given.values.get("created_at")
        data = given.values["data"]
        if isinstance(data, str):
            data = object_text(data)
        elif not isinstance(data, JsonText):
            data = dict(data)
        customer_id = given.values.get("customer_id")
        if self.customer_id is not None and given.key("customer_id").startswith("headers."):
            customer_id = None  # a recorded request; the customer of the reader replaces that of the request
        return Event(
            event_id=given.values.get("event_id") or self.new_id(),
            event_type=given.values["event_type"],
            created_at_us=self.now_us() if created_at is None else parse_time(created_at),
            customer_id=customer_id or self.customer_id or "",
            data=data,
        )


def parse_time(value: Any) -> int:
    """Parse ISO 8601 with an offset to µs since 1970; finer digits are truncated. ValueError describes an error."""
    try:
        time = datetime.fromisoformat(value)
        if time.tzinfo is None:
            raise ValueError
        return (time - _EPOCH) // timedelta(microseconds=1)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"expected a time such as 2026-02-16T10:01:00Z, found {short(value)}") from None


def _documents(text: str, file: str) -> list[Any]:
    """Return the objects of a JSON document (an object or an array) or of JSON Lines."""
    try:
        document = _parse(text)
    except ValueError as error:
        # Only \n ends a line of JSON Lines. Strings may contain U+2028, U+0085 and other line separators of Unicode.
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip(_SPACE)]
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
    return parse(text, _object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object. A duplicate key is an error; otherwise the last one would win silently."""
    result = dict(pairs)
    if len(result) < len(pairs):
        [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {short(twice)} occurs twice")
    return result
