"""Request bodies: an envelope with its keys in order, or the payload alone; and the formats of times."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, Literal, TypeAlias

import orjson

from schemas.avro.json_text import JsonText, embedded
from schemas.events.event import Event

TimeFormat: TypeAlias = Literal["seconds", "milliseconds", "microseconds", "microseconds_offset"]
EventField: TypeAlias = Literal["event_id", "event_type", "created_at", "customer_id", "data"]
Render: TypeAlias = Callable[[Event], bytes]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE_US: Final = 60_000_000


def envelope(keys: Mapping[str, EventField], time_format: TimeFormat) -> Render:
    """Return a function that renders a body with these keys: compact JSON in UTF-8.

    It raises TypeError, ValueError or OverflowError if a value has no JSON form.
    """
    values: dict[EventField, Callable[[Event], Any]] = {
        "event_id": attrgetter("event_id"),
        "event_type": attrgetter("event_type"),
        "created_at": TIMES[time_format],
        "customer_id": attrgetter("customer_id"),
        "data": attrgetter("data"),
    }
    parts = tuple((key, values[field]) for key, field in keys.items())

    def render(event: Event) -> bytes:
        return orjson.dumps({key: value(event) for key, value in parts}, embedded)

    return render


def payload(event: Event) -> bytes:
    """Return the payload alone as a body. JSON text stays unchanged."""
    if isinstance(event.data, JsonText):
        return event.data.text.encode()
    return orjson.dumps(event.data, embedded)


# The events of a batch share few minutes, and a cache hit is much cheaper than formatting.
@lru_cache(maxsize=4096)
def _minute(minutes: int) -> str:
    # strftime does not pad years below 1000; isoformat does.
    return (_EPOCH + timedelta(minutes=minutes)).isoformat()[:17]


def _split(event: Event) -> tuple[str, int]:
    """Return `2026-02-16T10:01:` and the remaining µs. Formats truncate finer digits and never round up."""
    minutes, rest_us = divmod(event.created_at_us, _MINUTE_US)
    try:
        return _minute(minutes), rest_us
    except OverflowError as error:
        raise ValueError(f"created_at is outside the years 1 to 9999: {event.created_at_us} µs") from error


def _seconds(event: Event) -> str:
    minute, rest_us = _split(event)
    return f"{minute}{rest_us // 1_000_000:02d}Z"


def _milliseconds(event: Event) -> str:
    minute, rest_us = _split(event)
    seconds, rest_us = divmod(rest_us, 1_000_000)
    return f"{minute}{seconds:02d}.{rest_us // 1_000:03d}Z"


def _microseconds(event: Event) -> str:
    minute, rest_us = _split(event)
    seconds, rest_us = divmod(rest_us, 1_000_000)
    return f"{minute}{seconds:02d}.{rest_us:06d}Z"


def _microseconds_offset(event: Event) -> str:
    minute, rest_us = _split(event)
    seconds, rest_us = divmod(rest_us, 1_000_000)
    return f"{minute}{seconds:02d}.{rest_us:06d}+00:00"


TIMES: Final[Mapping[TimeFormat, Callable[[Event], str]]] = {
    "seconds": _seconds,
    "milliseconds": _milliseconds,
    "microseconds": _microseconds,
    "microseconds_offset": _microseconds_offset,
}
