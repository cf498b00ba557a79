"""Events as platform teams publish them: the type that all parts of Signpost share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from schemas.avro.json_text import JsonText

# The event type with this name applies to all types that a sender does not list.
ANY: Final = "*"
# The range of ISO 8601 with four-digit years: 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999Z.
MIN_TIME_US: Final = -62_135_596_800_000_000
MAX_TIME_US: Final = 253_402_300_799_999_999


@dataclass(slots=True)
class Event:
    """One domain event.

    `data` is in its JSON form, with the fields in the order of the schema. It is or contains a JsonText where the
    schema declares JSON text.
    """

    event_id: str
    event_type: str
    created_at_us: int
    customer_id: str
    data: dict[str, Any] | JsonText
