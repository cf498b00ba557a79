"""The fields before `data` of an event's record, which all event types share: enough to name an event.

They can be read even if the rest of the record is invalid.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final, NamedTuple

import fastavro

from schemas.avro.codec import COMPILED
from schemas.events.event_type import ENVELOPE

_HEAD: Final[Any] = fastavro.parse_schema(
    {
        "type": "record",
        "name": "signpost.Head",
        "fields": [
            # Without a logical type: a time outside of the years 1 to 9999 has no datetime.
            {"name": name, "type": "long" if name == "created_at" else kind}
            for name, kind in ENVELOPE.items()
        ],
    }
)


class EventHead(NamedTuple):
    """The names of an event; `event_id` is empty if the event has none."""

    event_id: str
    event_type: str
    customer_id: str


def read_head(value: bytes, start: int) -> EventHead | None:
    """Read the head of a record that begins at `start`; None if the bytes do not contain one."""
    stream = BytesIO(value)
    stream.seek(start)
    try:
        return head_of(COMPILED(stream, _HEAD, None))
    except Exception:  # fastavro raises anything on hostile bytes
        return None


def head_of(record: dict[str, Any]) -> EventHead | None:
    """Return the head of a decoded record; None if it lacks a field."""
    names = [record.get("event_id") or "", record.get("event_type"), record.get("customer_id")]
    texts = [name for name in names if isinstance(name, str)]
    return EventHead(*texts) if len(texts) == len(names) else None
