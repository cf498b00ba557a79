"""Safe header values: ids and names from events can contain any characters, even line breaks."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Protocol
from urllib.parse import quote

from schemas.records.delivery import uuid5

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}").fullmatch
_PLAIN: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?").fullmatch


class AttemptValues(Protocol):
    """The values of an attempt for headers; schemas.records.delivery.Job has them."""

    @property
    def job_id(self) -> str:
        """The same in all attempts of one event for one subscription."""
        ...

    @property
    def event_id(self) -> str:
        """The event id as published: any text."""
        ...

    @property
    def event_type(self) -> str:
        """The event type as published."""
        ...

    @property
    def customer_id(self) -> str:
        """Signpost's customer id."""
        ...

    @property
    def subscription_id(self) -> str:
        """Signpost's subscription id."""
        ...


def header_id(event_id: str) -> str:
    """Return an event id for a header: unchanged, or its uuid5 if it contains other characters."""
    return event_id if _ID(event_id) else uuid5(event_id)


# A process sends the same few customers, event types and subscriptions repeatedly.
@lru_cache(maxsize=4_096)
def header_text(text: str) -> str:
    """Return a text for a header: unchanged, or percent-encoded UTF-8 if it is not printable ASCII."""
    return text if _PLAIN(text) else quote(text, safe="", errors="surrogateescape")
