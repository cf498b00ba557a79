"""What may stand in a header: ids and names that come from outside can hold anything, a line break among it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Protocol
from urllib.parse import quote

from schemas.records.delivery import uuid5

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}").fullmatch
_PLAIN: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?").fullmatch


class Attempt(Protocol):
    """What a header can say about an attempt: schemas.records.delivery.Job has it."""

    @property
    def job_id(self) -> str:
        """The same in all attempts of one event for one subscription."""
        ...

    @property
    def event_id(self) -> str:
        """Whatever the source gave."""
        ...

    @property
    def event_type(self) -> str:
        """The type as it is published."""
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
    """Return an event's id as it goes into a header: itself, or the uuid5 of one that has other characters."""
    return event_id if _ID(event_id) else uuid5(event_id)


# A process sends the same few customers, types and subscriptions again and again.
@lru_cache(maxsize=4_096)
def header_text(text: str) -> str:
    """Return a text as it goes into a header: itself, or percent-encoded UTF-8 where it is not printable ASCII."""
    return text if _PLAIN(text) else quote(text, safe="", errors="surrogateescape")
