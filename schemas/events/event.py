"""Events: what platform teams publish, as every part of Signpost knows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from schemas.avro.json_text import JsonText

# Where a sender takes any type, the one of this name stands for all that have no line of their own.
ANY: Final = "*"
# What ISO 8601 writes with four digits: 0001-01-01T00:00:00Z to 9999-12-31T23:59:59.999999Z.
MIN_TIME_US: Final = -62_135_596_800_000_000
MAX_TIME_US: Final = 253_402_300_799_999_999


@dataclass(slots=True)
class Event:
    """One domain event.

    `data` is as JSON has it, once it was decoded with the fields of its type's schema in their order. Where the schema
    says that it is text, or holds some, that is a JsonText.
    """

    event_id: str
    event_type: str
    created_at_us: int
    customer_id: str
    data: dict[str, Any] | JsonText
